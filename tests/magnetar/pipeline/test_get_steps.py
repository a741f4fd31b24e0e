from pathlib import Path
from typing import Any

import pytest

from magnetar.cli.exit_codes import exit_code_of
from magnetar.findings import Finding, Outcome
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verify_report import FileFault, FileResult, FileState, VerifyReport
from magnetar.pipeline.get import GetRequest, Got, get


@pytest.mark.parametrize(
    ("target", "smoke_test", "not_done"),
    [("hf", True, ("convert", "boot")), (None, True, ("boot",)), ("hf", False, ("convert",)), (None, False, ())],
)
def test_bytes_that_are_not_the_release_end_it_and_only_what_was_wanted_is_not_done(
    target: str | None, smoke_test: bool, not_done: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding(FileFault.MISSING, "params.json", "there is no such file")
    report = VerifyReport("x", "x", "named", Voucher.CATALOG, (), (finding,), ())
    unused: Any = None
    monkeypatch.setattr("magnetar.pipeline.get._fetch", lambda *_: Got(Path("x"), unused, report))
    got = get(GetRequest(wanted=unused, parent=Path(), target=target, smoke_test=smoke_test))
    assert (got.outcome, got.not_done) == (Outcome.BAD, not_done)


def test_bytes_that_could_not_be_read_are_neither_converted_nor_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    file = FileResult("params.json", 2, FileState.UNREADABLE, detail="Input/output error")
    report = VerifyReport("x", "x", "named", Voucher.CATALOG, (file,), (), ())
    unused: Any = None
    monkeypatch.setattr("magnetar.pipeline.get._fetch", lambda *_: Got(Path("x"), unused, report))
    got = get(GetRequest(wanted=unused, parent=Path()))
    assert (got.outcome, got.not_done, exit_code_of(got)) == (Outcome.FAILED, ("convert", "boot"), 4)
