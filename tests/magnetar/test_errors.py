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
