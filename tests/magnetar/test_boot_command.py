"""``magnetar boot``, as it is typed."""

from pathlib import Path

import pytest

from magnetar.convert.run import convert
from magnetar.model.bundled import bundled_release
from tests.magnetar.conftest import Run
from tests.model.servers import redirect, serve

BUNDLED = bundled_release()


def test_two_copies_of_one_release_are_shown_side_by_side(magnetar: Run, tmp_path: Path) -> None:
    convert(BUNDLED, tmp_path / "hf", target="hf")
    done = magnetar("boot", BUNDLED, "--against", tmp_path / "hf", "--level", "structure")
    assert done.code == 0, done.err
    assert f"against {tmp_path / 'hf'}" in done.out
    assert "100.0%" in done.out
    assert "0.0001 is allowed" in done.out


def test_a_server_that_redirects_makes_exit_7_with_what_was_tested(magnetar: Run) -> None:
    with serve(redirect) as url:
        done = magnetar("boot", BUNDLED, "--against", url, "--level", "content", "--json")
    assert done.code == 7
    result = done.document["result"]
    assert [(level["name"], level["verdict"]) for level in result["levels"]] == [
        ("content", "good"),
        ("against", "skipped"),
    ]
    assert result["agreement"] is None


@pytest.mark.parametrize(
    ("other", "code"), [("ftp://host/model", 2), ("http://user:key@host", 2), ("nowhere", 2), (str(Path(__file__)), 6)]
)
def test_what_can_be_no_other_is_refused_before_anything_is_run(other: str, code: int, magnetar: Run) -> None:
    done = magnetar("boot", BUNDLED, "--against", other)
    assert done.code == code
    assert "hint:" in done.err
    assert "structure" not in done.out
