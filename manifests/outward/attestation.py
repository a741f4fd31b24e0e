"""A verification as an in-toto statement (v1), for programs that act on it.

The predicate is SLSA's verification summary (https://slsa.dev/verification_summary/v1, as of SLSA 1.2), and has the
whole ledger in a field of its own, ``LEDGER``. The subjects are the files whose digest is known. Nothing is signed
here: whoever believes the statement, believes whom it came from.

A summary knows only PASSED and FAILED. PASSED is the one verdict *the release*: everything that a runtime could load
was read in this run, is proven by digests better than MD5 and SHA-1, and somebody whom the user chose vouches for that.
Whatever is less is FAILED, so that nobody takes *undamaged, by its own word* for more. The ledger has the verdict in
words, and says why.
"""

import json
from dataclasses import fields
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from magnetar.errors import UsageError
from magnetar.manifests.checking.ledger import Ledger, Row, RowState, Subject, Verdict
from magnetar.manifests.hashing.digests import Digest
from magnetar.version import __version__

PREDICATE = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION = "1.2"
VERIFIER = "https://magnetar/verify"
POLICY = "https://magnetar/policy/the-release/v1"
LEDGER = "https://magnetar/ledger/v1"
"""Names, which lead to no page: the specification wants a URI."""

FILE_DIGESTS = ("sha256", "blake3")
"""What a digest of a subject may be. Another is not strong, or is not one of the file as a whole."""


def attest(ledger: Ledger, *, release: str, manifest_digest: str, now: datetime, resource: str = "") -> bytes:
    """The statement, as JSON.

    ``release`` is the name of the release that the folder was held against, ``manifest_digest`` the SHA-256 of its
    manifest in hex (empty: there is none but the link). ``resource`` is a URI of the release, such as its magnet link;
    empty makes a package URL of its name. ``now`` is when it was verified, with a time zone. Subjects are the files in
    state *proven* or *wrong* that have a digest in their row; of a wrong one, that of the bytes that were found.

    Raises ``UsageError`` if there is no subject, or the extra ``attest`` is not installed.
    """
    library = _load_library()
    subjects = [
        library.resource_descriptor.ResourceDescriptor(name=_plain(row.name), digest=_digest_of(row)).pb
        for row in ledger.rows
        if row.subject is Subject.FILE and row.state in (RowState.PROVEN, RowState.WRONG) and _digest_of(row)
    ]
    if not subjects:
        raise UsageError(
            "there is nothing to attest: of no file is the SHA-256 or BLAKE3 known",
            hint="hold the folder against a manifest that has one, and without --quick",
        )
    passed = ledger.verdict is Verdict.RELEASE
    digest = {"sha256": manifest_digest} if manifest_digest else {}
    summary = {
        "verifier": {"id": VERIFIER, "version": {"magnetar": __version__}},
        "timeVerified": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resourceUri": _plain(resource) or f"pkg:generic/{quote(_plain(release), safe='')}",
        "policy": {"uri": POLICY, "digest": digest} if digest else {"uri": POLICY},
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED" if passed else "FAILED"],
        "slsaVersion": SLSA_VERSION,
    }
    statement = library.statement.Statement(subjects, PREDICATE, summary)
    statement.validate()
    made = library.json_format.MessageToDict(statement.pb)
    # The library holds every number of a predicate as a float, and takes long for many rows.
    made["predicate"][LEDGER] = {
        "release": _plain(release),
        "outcome": str(ledger.outcome),
        "verdict": str(ledger.verdict),
        "rows": [_row_as_json(row) for row in ledger.rows],
    }
    return json.dumps(made).encode() + b"\n"


def _digest_of(row: Row) -> dict[str, str]:
    """The digest as in-toto writes it; empty if the row has none that says which file it is."""
    if not row.digest:
        return {}
    digest = Digest.parse(row.digest)
    return {digest.algorithm: digest.hex} if digest.algorithm in FILE_DIGESTS else {}


def _row_as_json(row: Row) -> dict[str, Any]:
    """Every field of a row by its name. Null is what is not known."""
    told = ((field.name, getattr(row, field.name)) for field in fields(row))
    return {name: _plain(value) if isinstance(value, str) else value for name, value in told}


def _plain(text: str) -> str:
    """Text that can be written as UTF-8: bytes of a name that are none are spelled out."""
    return str(text).encode("utf-8", "backslashreplace").decode()


class _Library:
    """The parts of ``in_toto_attestation`` that are used."""

    def __init__(self) -> None:
        self.statement: Any = import_module("in_toto_attestation.v1.statement")
        self.resource_descriptor: Any = import_module("in_toto_attestation.v1.resource_descriptor")
        self.json_format: Any = import_module("google.protobuf.json_format")


def _load_library() -> _Library:
    if find_spec("in_toto_attestation") is None:
        raise UsageError(
            "in-toto-attestation is not installed, and attesting needs it", hint="install magnetar[attest]"
        )
    return _Library()
