"""Statements of what was verified: for others to read, and held against what in-toto and SLSA publish."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import UsageError
from magnetar.manifests.checking.ledger import (
    INDEPENDENT,
    Ledger,
    Means,
    Row,
    RowState,
    Subject,
    Verdict,
    Voucher,
)
from magnetar.manifests.outward.attestation import LEDGER, POLICY, VERIFIER, attest
from magnetar.version import __version__

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
SHA = "a" * 64


def row(name: str, state: RowState, **more: Any) -> Row:
    return Row(subject=Subject.FILE, name=name, file=name, state=state, **more)


GOOD = row(
    "weights", RowState.PROVEN, size=(1 << 53) + 1, means=Means.FILE_DIGEST, voucher=Voucher.CATALOG,
    digest=f"sha256:{SHA}",
)  # fmt: skip
README = row("README", RowState.NOT_CHECKED, loadable=False)


def attested(*rows: Row, **more: Any) -> dict[str, Any]:
    words = {"release": "tiny", "manifest_digest": "b" * 64, "now": NOW} | more
    statement: dict[str, Any] = json.loads(attest(Ledger(rows), **words))
    check_against_what_is_published(statement)
    return statement


def check_against_what_is_published(statement: dict[str, Any]) -> None:
    """Parse with in-toto's own protocol buffers, which refuse unknown fields and wrong types.

    Theirs of the summary is that of SLSA 1.0. They hold one level where the specification has a list, know no version
    of the verifier, and no extensions: fields whose names are URIs. What the specification demands besides is asked
    here.
    """
    from google.protobuf import json_format
    from in_toto_attestation.predicates.vsa.v1 import vsa_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    parsed: Any = json_format.Parse(json.dumps(statement), statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/verification_summary/v1"
    predicate = {key: value for key, value in statement["predicate"].items() if ":" not in key}
    (level,) = predicate["verifiedLevels"]
    predicate["verifiedLevels"] = level
    version = predicate["verifier"]["version"]
    assert all(isinstance(value, str) for value in version.values())
    predicate["verifier"] = {"id": predicate["verifier"]["id"]}
    summary: Any = json_format.Parse(json.dumps(predicate), vsa_pb2.VerificationSummary())
    assert summary.verifier.id and summary.resource_uri and summary.policy.uri and summary.time_verified.seconds
    passed = summary.verification_result == "PASSED"
    assert summary.verification_result in ("PASSED", "FAILED")
    assert level == ("SLSA_BUILD_LEVEL_UNEVALUATED" if passed else "FAILED")


def test_what_is_the_release_has_passed_and_its_files_are_the_subjects() -> None:
    statement = attested(GOOD, README, resource="magnet:?xt=urn:btih:1234")
    assert statement["subject"] == [{"name": "weights", "digest": {"sha256": SHA}}]
    predicate = dict(statement["predicate"])
    ledger = predicate.pop(LEDGER)
    assert predicate == {
        "verifier": {"id": VERIFIER, "version": {"magnetar": __version__}},
        "timeVerified": "2026-11-28T12:00:00Z",
        "resourceUri": "magnet:?xt=urn:btih:1234",
        "policy": {"uri": POLICY, "digest": {"sha256": "b" * 64}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED"],
        "slsaVersion": "1.2",
    }
    assert (ledger["release"], ledger["outcome"], ledger["verdict"]) == ("tiny", "good", "the release")
    assert [row["name"] for row in ledger["rows"]] == ["weights", "README"]
    assert ledger["rows"][0]["size"] == (1 << 53) + 1


def test_each_field_of_a_row_is_in_the_ledger_by_its_name() -> None:
    assert attested(replace(GOOD, weak=True, detail="in 2 parts"))["predicate"][LEDGER]["rows"] == [
        {
            "subject": "file", "name": "weights", "file": "weights", "state": "proven", "loadable": True,
            "size": (1 << 53) + 1, "means": "file digest", "voucher": "the catalog", "weak": True,
            "detail": "in 2 parts", "digest": f"sha256:{SHA}",
        }
    ]  # fmt: skip


LESS = {
    "by its own word": (Verdict.UNDAMAGED, (replace(GOOD, voucher=Voucher.FOLDER),)),
    "by the link": (Verdict.UNDAMAGED, (replace(GOOD, voucher=Voucher.LINK),)),
    "weak": (Verdict.WEAK, (replace(GOOD, weak=True),)),
    "unchanged": (Verdict.UNCHANGED, (GOOD, replace(GOOD, name="b", state=RowState.UNCHANGED))),
    "not all checked": (Verdict.NOT_ALL, (GOOD, replace(README, loadable=True))),
    "not all read": (Verdict.NOT_READ, (GOOD, replace(README, state=RowState.UNREADABLE))),
    "wrong": (Verdict.WRONG, (replace(GOOD, state=RowState.WRONG),)),
    "a wrong text": (Verdict.WRONG, (GOOD, replace(README, state=RowState.WRONG))),
    "only the tensors": (
        Verdict.SAME_TENSORS,
        (replace(README, digest=f"sha256:{SHA}", state=RowState.PROVEN), replace(GOOD, subject=Subject.TENSOR),
         replace(GOOD, subject=Subject.KEY, state=RowState.NOT_CHECKED)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LESS)
def test_whatever_is_less_than_the_release_has_failed_and_the_ledger_says_how(case: str) -> None:
    verdict, rows = LESS[case]
    predicate = attested(*rows)["predicate"]
    assert predicate["verificationResult"] == "FAILED"
    assert predicate["verifiedLevels"] == ["FAILED"]
    assert predicate[LEDGER]["verdict"] == verdict


def test_of_a_wrong_file_the_subject_is_what_was_found() -> None:
    found = replace(GOOD, state=RowState.WRONG, digest=f"sha256:{'c' * 64}")
    assert attested(found)["subject"] == [{"name": "weights", "digest": {"sha256": "c" * 64}}]


def test_only_files_whose_digest_is_known_are_subjects() -> None:
    rows = (
        GOOD,
        replace(GOOD, name="blake3", digest=f"blake3:{SHA}"),
        replace(GOOD, name="unknown", digest=""),
        replace(GOOD, name="tree", digest=f"bep52:{SHA}"),
        replace(GOOD, name="md5", digest=f"md5:{'0' * 32}"),
        replace(GOOD, name="tensor", subject=Subject.TENSOR),
        replace(GOOD, name="unread", state=RowState.UNCHANGED),
        replace(GOOD, name="unchecked", state=RowState.NOT_CHECKED),
    )
    assert [entry["name"] for entry in attested(*rows)["subject"]] == ["weights", "blake3"]
    for alone in rows[2:]:
        with pytest.raises(UsageError, match="nothing to attest"):
            attested(alone)
    with pytest.raises(UsageError, match="nothing to attest"):
        attested()


def test_a_release_without_a_link_is_named_by_a_package_url_and_one_without_a_manifest_has_no_digest() -> None:
    predicate = attested(GOOD, release="my model/2", manifest_digest="")["predicate"]
    assert predicate["resourceUri"] == "pkg:generic/my%20model%2F2"
    assert predicate["policy"] == {"uri": POLICY}


def test_the_time_is_told_in_utc() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert attested(GOOD, now=there)["predicate"]["timeVerified"] == "2026-11-28T12:00:00Z"


def test_the_same_ledger_gives_the_same_bytes() -> None:
    words: dict[str, Any] = {"release": "tiny", "manifest_digest": "b" * 64, "now": NOW}
    assert attest(Ledger((GOOD, README)), **words) == attest(Ledger((GOOD, README)), **words)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "in_toto_attestation", None)
    with pytest.raises(UsageError, match="needs it") as caught:
        attested(GOOD)
    assert "magnetar[attest]" in caught.value.hint


texts = st.text(st.characters(), max_size=30)  # surrogates too: names that are not UTF-8
rows = st.builds(
    Row, subject=st.sampled_from(Subject), name=texts, file=texts, state=st.sampled_from(RowState),
    loadable=st.booleans(),
    size=st.none() | st.integers(0, 1 << 62),
    means=st.none() | st.sampled_from(Means),
    voucher=st.none() | st.sampled_from(Voucher), weak=st.booleans(), detail=texts,
    digest=st.sampled_from(["", f"sha256:{SHA}", f"blake3:{SHA}", f"md5:{'0' * 32}"]),
)  # fmt: skip


@given(st.lists(rows, max_size=6), texts)
def test_whatever_a_ledger_holds_the_statement_is_valid_and_says_no_more(found: list[Row], release: str) -> None:
    statement = attested(GOOD, *found, release=release)
    ledger = Ledger((GOOD, *found))
    assert len(statement["predicate"][LEDGER]["rows"]) == len(ledger.rows)
    if statement["predicate"]["verificationResult"] == "PASSED":
        assert all(
            row.state is RowState.PROVEN and row.voucher in INDEPENDENT and not row.weak
            for row in ledger.rows
            if row.loadable
        )
        assert not any(row.state is RowState.WRONG for row in ledger.rows)
