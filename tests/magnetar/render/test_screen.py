import errno
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from magnetar.cli.exit_codes import exit_code_of
from magnetar.errors import NoSpace, UsageError
from magnetar.events import (
    Began,
    Emit,
    Ended,
    Event,
    FileSeen,
    FoundWrong,
    Moved,
    ProgressStyle,
    Remarked,
    Step,
    SwarmSeen,
    TrackerAnswered,
)
from magnetar.findings import Finding
from magnetar.manifests.checking.ledger import Ledger, Row, RowState, Subject, Voucher
from magnetar.pipeline.catalog import Removed
from magnetar.pipeline.proving.verify_copy import ProvenCopy
from magnetar.render.progress import MAX_FILE_BARS, LiveProgress, PlainProgress, watch
from magnetar.render.screen import HIDDEN_IN_A_LINE, Screen, Terminated, show_traceback
from magnetar.render.text import GOOD, INDENT, amount, clean, clock, count, foreign, new_table, note, verdict


def removed(name: str = "mine") -> Removed:
    return Removed(name, forgotten=False)


def bad_copy() -> ProvenCopy:
    """A result that is bad: a copy of which one file is wrong."""
    row = Row(subject=Subject.FILE, name="x", file="x", state=RowState.WRONG)
    return ProvenCopy("/a", "mine", "it was named", Voucher.CATALOG, (), Ledger((row,)))


def screen(command: str = "catalog remove", *, as_json: bool = False) -> Screen:
    return Screen(command, as_json=as_json, quiet=True, progress=ProgressStyle.AUTO, exit_code_of=exit_code_of)


@given(st.text())
def test_foreign_text_reaches_the_screen_as_one_line_without_control_characters(text: str) -> None:
    assert clean(text).isprintable()


FOLDED = st.text(st.sampled_from("ab  [漢\n"), min_size=1, max_size=200)


def in_a_table(text: str) -> Table:
    table = new_table("file", ">size")
    table.add_row(foreign(text), "12 MB")
    return table


@given(FOLDED, st.integers(25, 60))
def test_wherever_foreign_text_is_folded_its_further_lines_are_indented(text: str, width: int) -> None:
    for drawn in (foreign(f"x{text}"), verdict("good", GOOD, text), note(text), in_a_table(f"x{text}")):
        console = Console(file=io.StringIO(), width=width)
        console.print(Group(drawn))
        lines = console.file.getvalue().split("\n")  # type: ignore[attr-defined]
        first = 2 if isinstance(drawn, Table) else 1  # below the headings
        assert [line for line in lines[first:] if line.strip() and not line.startswith(INDENT)] == []


@given(st.text(max_size=30))
def test_folded_text_has_lost_no_character_but_spaces(text: str) -> None:
    console = Console(file=io.StringIO(), width=12)
    console.print(Group(foreign(text)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "".join(shown.split()) == "".join(clean(text).split())


class Unclean:
    """A drawing that somebody forgot to clean."""

    def __rich__(self) -> str:
        return "\x1b[2J\x9b31m[bold]\u202eevil[/bold] :smile:"


def test_what_somebody_forgot_to_clean_moves_no_cursor_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    screen().run(lambda _emit: removed(), lambda _: Unclean())
    assert capsys.readouterr().out == "\\x1b[2J\\x9b31m[bold]\\u202eevil[/bold] :smile:\n"


def test_an_error_is_one_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_emit: Emit) -> Removed:
        raise UsageError("a\ngood: the release\x1b[2J", hint="b\u2028good: the release")

    assert screen().run(work, str) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: a\\ngood: the release\\x1b[2J",
        "hint:  b\\u2028good: the release",
    ]


def test_the_traceback_of_a_bug_is_shown_and_its_message_is_one_clean_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise KeyError("\x1b[2J")
        except KeyError as error:
            error.add_note("noted\ngood: the release")
            raise ValueError("a\ngood: the release\x9b") from error
    except ValueError as error:
        show_traceback(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err
    assert HIDDEN_IN_A_LINE.search(shown) is None
    assert "ValueError: a\\ngood: the release\\x9b" in shown.splitlines()
    assert "noted\\ngood: the release" in shown
    assert 'raise ValueError("a' in shown
    assert not any(line.startswith("good") for line in shown.splitlines())


def test_a_text_that_a_model_writes_begins_no_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    with screen().streaming() as show:
        for piece in ("It is", "\nhealthy  1.2", "\x1b[2J\n", "not"):
            show(piece)
    assert capsys.readouterr().out == "It is\n    healthy  1.2\\x1b[2J\n    not"


def test_escape_codes_and_markup_in_foreign_text_are_only_text() -> None:
    assert clean("\x1b[31mred\x07 \u202egnp.exe") == "\\x1b[31mred\\x07 \\u202egnp.exe"
    console = Console(file=io.StringIO(), force_terminal=False)
    console.print(Text(clean("[bold]name[/bold] [link=file:///etc]x[/link]")))
    assert console.file.getvalue() == "[bold]name[/bold] [link=file:///etc]x[/link]\n"  # type: ignore[attr-defined]


def test_a_result_is_one_json_object_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    code = screen("verify", as_json=True).run(lambda _emit: bad_copy(), lambda _: "drawn")
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert code == 5
    assert {key: value for key, value in document.items() if key != "result"} == {
        "format": 1,
        "command": "verify",
        "ok": False,
        "exit": 5,
    }
    assert (document["result"]["path"], document["result"]["outcome"]) == ("/a", "bad")
    assert err == ""


def test_an_error_is_one_json_object_with_its_kind_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_emit: Emit) -> Removed:
        raise NoSpace("full", hint="make space", path=Path("/a"), needed=3, free=0)

    assert screen(as_json=True).run(work, str) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["error"] == {
        "kind": "NoSpace",
        "message": "full",
        "hint": "make space",
        "details": {"path": "/a", "needed": 3, "free": 0},
    }
    assert (document["ok"], document["exit"]) == (False, 4)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOSPC])
def test_a_disk_that_fails_where_nobody_expected_it_is_no_bug(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work(_emit: Emit) -> Removed:
        raise OSError(number, os.strerror(number), "/some/folder")

    assert screen().run(work, str) == 4
    assert "error: /some/folder: " in capsys.readouterr().err


def test_an_error_of_the_system_that_no_disk_explains_is_a_bug() -> None:
    def work(_emit: Emit) -> Removed:
        raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="Invalid argument"):
        screen().run(work, str)


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_being_stopped_is_told_with_its_exit_code_and_how_to_go_on(
    raised: type[BaseException], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_emit: Emit) -> Removed:
        raise raised

    assert screen().run(work, str) == code
    assert "run the same command again" in capsys.readouterr().err
    assert screen(as_json=True).run(work, str) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["details"]) == ({130: "Interrupted", 143: "Terminated"}[code], {})


def test_a_bug_is_not_hidden() -> None:
    def work(_emit: Emit) -> Removed:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        screen().run(work, str)


def test_a_name_that_is_no_text_is_printed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    screen(as_json=True).run(lambda _emit: removed("bad\udcff"), lambda _: "drawn")
    assert json.loads(capsys.readouterr().out)["result"]["name"] == "bad\\udcff"


def test_plain_progress_tells_bad_news_at_once_and_the_rest_at_intervals() -> None:
    lines: list[str] = []
    times = iter([0.0, 1.0, 2.0, 11.0, 12.0, 12.0, 20.0])
    emit = PlainProgress(lines.append, lambda: next(times))
    emit(Began("payload", 1000))
    emit(Moved("payload", 100))
    emit(FoundWrong(Finding("missing", "a\x1b", "gone")))
    emit(Moved("payload", 400))
    emit(Moved("payload", 100))
    emit(SwarmSeen(1, 1, 0, 0))
    emit(Ended("payload"))
    assert lines == [
        "missing: a\\x1b: gone",
        "payload: 500 bytes of 1.0 kB (50 %), 45 bytes/s, 11 s left",
        "payload: 600 bytes in 20 s, 30 bytes/s",
    ]


def test_plain_progress_says_who_is_there_while_nothing_moves() -> None:
    lines: list[str] = []
    times = iter([0.0, 5.0, 10.0, 12.0, 20.0])
    emit = PlainProgress(lines.append, lambda: next(times))
    emit(Began("metadata", None))
    for nodes in (0, 7, 8, 9):
        emit(SwarmSeen(0, 0, nodes, 0))
    assert lines == [
        "metadata: 10 s; 0 peers (0 seeds), 7 DHT nodes, 0 bytes sent",
        "metadata: 20 s; 0 peers (0 seeds), 9 DHT nodes, 0 bytes sent",
    ]


def test_plain_progress_tells_the_mirrors_share_and_names_files_that_took_a_while() -> None:
    lines: list[str] = []
    times = iter([0.0, 0.0, 1.0, 1.0, 2.0, 10.0, 12.0])
    emit = PlainProgress(lines.append, lambda: next(times))
    emit(Began("download", 1000))
    emit(FileSeen("large", 10, 900))
    emit(FileSeen("small", 10, 100))
    emit(FileSeen("small", 100, 100))
    emit(SwarmSeen(2, 1, 0, 0, downloaded=200, mirrored=50))
    emit(Moved("download", 500))
    emit(FileSeen("large", 900, 900))
    assert lines == [
        "download: 500 bytes of 1.0 kB (50 %), 50 bytes/s, 10 s left; 25 % from mirrors, 2 peers (1 seed), "
        "0 bytes sent",
        "large: all 900 bytes here",
    ]


def test_live_progress_has_bars_for_the_files_that_are_coming_and_for_no_more_than_fit() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveProgress(console) as emit:
        emit(Began("download", 10_000))
        emit(SwarmSeen(3, 1, 200, 5, downloaded=100, mirrored=30))
        for number in range(MAX_FILE_BARS + 5):
            emit(FileSeen(f"[b]shard\x1b-{number}", 1, 100))
        emit(FileSeen("[b]shard\x1b-0", 100, 100))
        emit(FileSeen("late", 1, 100))
        assert emit.files == (*(f"[b]shard\x1b-{number}" for number in range(1, MAX_FILE_BARS)), "late")
        emit(Moved("download", 10))
        emit.refresh()
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        emit(Ended("download"))
        assert emit.files == ()
    assert "30 % from mirrors" in shown
    assert "[b]shard\\x1b-1" in shown


def test_live_progress_takes_every_event_and_ends_each_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveProgress(console) as emit:
        events: list[Event] = [
            Began("payload", None),
            Moved("payload", 10),
            SwarmSeen(3, 1, 200, 5),
            Remarked("resumed"),
        ]
        events += [TrackerAnswered("udp://t", 0, "dead"), Ended("payload"), Moved("payload", 1), Ended("never began")]
        for event in events:
            emit(event)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "tracker udp://t: dead" in shown
    assert "resumed" in shown


def test_json_progress_is_one_event_a_line() -> None:
    console = Console(file=io.StringIO())
    with watch(console, ProgressStyle.JSON) as emit:
        emit(Moved(Step.DOWNLOAD, 3))
        emit(TrackerAnswered("udp://t", 7))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [json.loads(line) for line in lines] == [
        {"format": 1, "event": "moved", "step": "download", "amount": 3},
        {"format": 1, "event": "tracker", "url": "udp://t", "peers": 7, "error": ""},
    ]


def test_amounts_durations_and_counts_read_as_people_say_them() -> None:
    assert [amount(87_000_000_000, "B"), amount(1739, "tensors")] == ["87.0 GB", "1,739 tensors"]
    assert [clock(0.44), clock(7), clock(133), clock(3765)] == ["0.4 s", "7 s", "2:13", "1:02:45"]
    assert [count(46_702_792_704), count(3_609_728), count(None), count(12)] == ["46.7 B", "3.61 M", "unknown", "12"]
