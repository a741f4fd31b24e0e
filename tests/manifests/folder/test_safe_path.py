from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import MalformedError
from magnetar.manifests.folder.safe_path import MAX_PART_LENGTH, MAX_PATH_LENGTH, safe_path

LONG = "/".join(["x" * 99] * (MAX_PATH_LENGTH // 100))
"""A path with one character less than is allowed."""


@pytest.mark.parametrize(
    "text", ["weights.bin", "a/b/c", "..a", "a..", "...", ".gitignore", "ä/ö", "x" * MAX_PART_LENGTH]
)
def test_plain_relative_paths_are_kept_as_they_are(text: str) -> None:
    assert safe_path(text) == PurePosixPath(text)
    assert str(safe_path(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/etc/passwd", "a//b", "a/", ".", "..", "./a", "a/./b", "a/../b", "a/.."),
        *("C:/x", "c:x", "a\\b", "\\\\server\\share", "a\0b", "a\nb", "a\x1b[31m", "a\x7f"),
    ],
)
def test_paths_that_could_leave_the_folder_or_mean_two_things_are_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="not a safe relative path"):
        safe_path(text)


@pytest.mark.parametrize("text", [".magnetar/x", "a/.magnetar", ".MAGNETAR/x", ".git/hooks/x", "a/.Git./x", ".git ./x"])
def test_paths_into_state_folders_are_refused_in_any_case_of_letters(text: str) -> None:
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


@given(st.text(alphabet="ab./\\ :~\0CG", max_size=12))
def test_whatever_is_accepted_stays_below_the_folder(text: str) -> None:
    try:
        path = safe_path(text)
    except MalformedError:
        return
    folder = Path("/somewhere/release")
    assert (folder / path).resolve().is_relative_to(folder)
    assert len(path.parts) == text.count("/") + 1
