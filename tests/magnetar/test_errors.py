import pickle
from pathlib import Path

import pytest

from magnetar import errors
from magnetar.errors import ExitCode, MagnetarError

CODES = {
    "GOOD": 0, "BUG": 1, "USAGE": 2, "MALFORMED": 3, "OUTSIDE": 4, "WRONG_BYTES": 5, "CANNOT_CONVERT": 6,
    "UNHEALTHY": 7, "NOT_ALL_CHECKED": 8, "INTERRUPTED": 130, "TERMINATED": 143,
}  # fmt: skip


def leaves() -> list[type[MagnetarError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MagnetarError)]


def test_the_exit_codes_are_those_that_callers_rely_on() -> None:
    assert {code.name: code.value for code in ExitCode} == CODES


def test_every_error_has_an_exit_code_and_stands_in_the_tree_of_the_docstring() -> None:
    for kind in leaves():
        assert kind.__name__ in (errors.__doc__ or "")
        if kind is not MagnetarError:
            assert kind.exit_code in ExitCode


def test_an_error_carries_its_message_and_its_hint() -> None:
    error = errors.NoSpace("the disk is full", hint="make space")
    assert (str(error), error.message, error.hint) == ("the disk is full", "the disk is full", "make space")


FOLDER = Path("/data")
FULL = errors.NoSpace("full", hint="make space", path=FOLDER, needed=7, free=3)
CARRIED: list[tuple[MagnetarError, dict[str, object]]] = [
    (errors.ManifestError("m", path=FOLDER, key="files.0.path"), {"path": FOLDER, "key": "files.0.path"}),
    (errors.TorrentError("m", path=FOLDER), {"path": FOLDER}),
    (errors.MetadataTimeout("m", infohash="ab", waited=1.5, peers=2), {"infohash": "ab", "waited": 1.5, "peers": 2}),
    (
        errors.Stalled("m", waited=1.5, missing=3, total=7, paths=("a",)),
        {"waited": 1.5, "missing": 3, "total": 7, "paths": ("a",)},
    ),
    (FULL, {"path": FOLDER, "needed": 7, "free": 3, "hint": "make space"}),
    (errors.DiskError("m", path=FOLDER), {"path": FOLDER}),
    (errors.FolderLocked("m", path=FOLDER), {"path": FOLDER}),
    (errors.RankLost("m", rank=3), {"rank": 3}),
    (errors.WrongBytesError("m", paths=("a", "b")), {"paths": ("a", "b")}),
    (errors.CheckpointError("m", path=FOLDER, tensor="w"), {"path": FOLDER, "tensor": "w"}),
]


@pytest.mark.parametrize(("error", "carried"), CARRIED, ids=lambda value: type(value).__name__)
def test_an_error_carries_data_which_survives_the_way_to_another_process(
    error: MagnetarError, carried: dict[str, object]
) -> None:
    for found in (error, pickle.loads(pickle.dumps(error))):
        assert {name: getattr(found, name) for name in carried} == carried
        assert (str(found), found.message) == (error.message, error.message)


def test_what_an_error_does_not_know_is_none_or_empty() -> None:
    for error, carried in CARRIED:
        bare = type(error)("m")
        assert {name: getattr(bare, name) or None for name in carried} == dict.fromkeys(carried)
