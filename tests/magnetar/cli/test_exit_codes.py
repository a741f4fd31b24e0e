from dataclasses import dataclass

import pytest

from magnetar.cli.exit_codes import exit_code_of
from magnetar.findings import Outcome, Question


@dataclass(frozen=True)
class Judged:
    question: Question
    outcome: Outcome


@pytest.mark.parametrize(
    ("question", "outcome", "code"),
    [
        (Question.BYTES, Outcome.GOOD, 0),
        (Question.BYTES, Outcome.BAD, 5),
        (Question.BYTES, Outcome.FAILED, 4),
        (Question.BYTES, Outcome.UNKNOWN, 8),
        (Question.FUNCTION, Outcome.GOOD, 0),
        (Question.FUNCTION, Outcome.BAD, 7),
        (Question.FUNCTION, Outcome.FAILED, 4),
        (Question.FUNCTION, Outcome.UNKNOWN, 8),
    ],
)
def test_what_was_asked_and_what_came_of_it_give_the_exit_code(question: Question, outcome: Outcome, code: int) -> None:
    assert exit_code_of(Judged(question, outcome)) == code


def test_a_result_that_judges_nothing_is_good() -> None:
    assert exit_code_of(object()) == 0
