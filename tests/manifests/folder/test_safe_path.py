import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.characters import HIDDEN
from magnetar.errors import MalformedError
from magnetar.manifests.folder.safe_path import MAX_PART_LENGTH, MAX_PATH_LENGTH, WINDOWS_DEVICE, safe_path

LONG = "/".join(["x" * 99] * (MAX_PATH_LENGTH // 100))
"""A path with one character less than is allowed."""


@pytest.mark.parametrize(
    "text",
    [
        "weights.bin",
        "a/b/c",
        "..a",
        ".gitignore",
        "git",
        "a.git",
        "git~",
        "a~1",
        "console",
        "auxiliary.pt",
        "com10",
        "C",
        "a b",
        " a",
        "what?",
        "𝄞",
        "\udcff",
        "ä/ö",
        "x" * MAX_PART_LENGTH,
    ],
)
def test_plain_relative_paths_are_kept_as_they_are(text: str) -> None:
    assert safe_path(text) == PurePosixPath(text)
    assert str(safe_path(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/etc/passwd", "a//b", "a/", ".", "..", "./a", "a/./b", "a/../b", "a/.."),
        *("C:/x", "c:x", "a\\b", "\\\\server\\share", "a\0b", "a\nb", "a\x1b[31m", "a\x7f", "a\x85b", "a\u2028b"),
        *("a:stream", "a::$DATA", "sub::$INDEX_ALLOCATION/x", "a.", "a..", "...", "a ", "a. .", "sub./x", "sub /x"),
        *("a\u202eb", "a\u200bb", "a\u200c", "\ufeffa", "a\u00adb", "a\u3164", "a\ufe0f", "a\U000e0041", "\u2066a"),
        *("\ud800", "a\udbffb", "\udcc3\udca9", "\udce2\udc80\udcae"),
        *(
            "nul",
            "NUL",
            "sub/con",
            "aux.bin",
            "COM1.tar.gz",
            "lpt9",
            "com¹",
            "LPT³.x",
            "conin$",
            "CONOUT$.x",
            "nul .x",
            "prn",
        ),
    ],
)
def test_paths_that_could_leave_the_folder_or_mean_two_things_are_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="not a safe relative path"):
        safe_path(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            ".magnetar/x",
            "a/.magnetar",
            ".MAGNETAR/x",
            ".git/hooks/x",
            "a/.Git./x",
            ".git ./x",
            ".git",
            ".git...",
            "GIT~1",
        ),
        *(
            "git~1/hooks/post-checkout",
            "Git~12/x",
            "git~1 /x",
            "GIT~1./x",
            "MAGNET~1/origin.json",
            "magnet~4",
            "a/magnet~2",
        ),
        *("GI7EB2~1/x", "ma0fd1~1/x", "MA0FD1~23"),
    ],
)
def test_paths_into_state_folders_are_refused_by_whatever_name_another_system_knows_them(text: str) -> None:
    with pytest.raises(MalformedError, match="not for payload"):
        safe_path(text)


def test_a_part_has_at_most_255_bytes_of_utf_8() -> None:
    for part in ("x" * 256, "ä" * 128):
        with pytest.raises(MalformedError):
            safe_path(part)
    assert safe_path("ä" * 127 + "x")


def test_a_path_has_at_most_4000_characters() -> None:
    assert len(LONG) == MAX_PATH_LENGTH - 1
    assert safe_path(LONG + "x")
    with pytest.raises(MalformedError):
        safe_path(LONG + "xx")


@pytest.mark.parametrize(
    "text",
    [
        *(
            ".git::$INDEX_ALLOCATION/hooks/x",
            ".git:x",
            ".magnetar::$INDEX_ALLOCATION",
            ".magnetar:$I30:$INDEX_ALLOCATION/x",
        ),
        *(
            ".g\u200cit/x",
            ".\u200dgit/x",
            ".git\u206f/x",
            ".\ufeffgit/x",
            ".gi\u202et",
            ".magne\u200ctar/lock",
            "\u200e.git",
        ),
        *(".git\\hooks\\x", "a\\.git\\x", "GIT~1:x", "\x7f.git", ".git\0"),
    ],
)
def test_spellings_that_have_led_into_git_on_other_systems_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        safe_path(text)


def as_windows_reads(part: str) -> str:
    """Win32 leaves out dots and spaces at the end, and what follows a colon is a stream of the file."""
    return part.split(":")[0].rstrip(" .").lower()


HFS_IGNORED = [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]


def as_hfs_reads(part: str) -> str:
    """HFS+ leaves these characters out (``next_hfs_char`` in git's utf8.c), and is blind to case."""
    return unicodedata.normalize("NFD", part.translate(dict.fromkeys(HFS_IGNORED))).lower()


TRICKS = st.sampled_from(
    [*"./\\: ~1gGiItTmMaAnNeErR\0\u200c\ufeff\u206f$\udcff\ud800", ".git", ".magnetar", "GIT~1", "nul"]
)


@settings(max_examples=1000)
@given(st.lists(TRICKS, max_size=14).map("".join))
def test_what_is_accepted_means_the_same_on_every_system(text: str) -> None:
    try:
        path = safe_path(text)
    except MalformedError:
        return
    for part in path.parts:
        for read in (as_windows_reads, as_hfs_reads):
            assert read(part) == unicodedata.normalize("NFD", part).lower() or read(part) == part.lower()
            assert read(part) not in {"", ".", "..", ".git", ".magnetar", "git~1", "nul"}
        assert not set("\\:/").intersection(part)
    assert os.fsencode(str(path)).decode("utf-8", "surrogateescape") == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_whatever_is_accepted_has_no_character_that_is_not_seen(text: str) -> None:
    try:
        path = safe_path(text)
    except MalformedError:
        return
    assert not HIDDEN.search(str(path))


@given(st.from_regex(r"[A-Za-z0-9_\-]{1,20}(\.[a-z0-9]{1,11}){1,2}", fullmatch=True))
def test_names_as_releases_have_them_are_accepted(name: str) -> None:
    if not WINDOWS_DEVICE.fullmatch(name):
        assert str(safe_path(f"sub/{name}")) == f"sub/{name}"


@given(st.text(alphabet="ab./\\ :~\0CG", max_size=12))
def test_whatever_is_accepted_stays_below_the_folder(text: str) -> None:
    try:
        path = safe_path(text)
    except MalformedError:
        return
    folder = Path("/somewhere/release")
    assert (folder / path).resolve().is_relative_to(folder)
    assert len(path.parts) == text.count("/") + 1
