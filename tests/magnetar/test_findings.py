import pytest

from magnetar.findings import Finding, Judgement, Outcome, Question, worst


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ([Outcome.GOOD, Outcome.UNKNOWN, Outcome.BAD], Outcome.BAD),
        ([Outcome.BAD], Outcome.BAD),
        ([Outcome.GOOD, Outcome.UNKNOWN], Outcome.UNKNOWN),
        ([Outcome.UNKNOWN], Outcome.UNKNOWN),
        ([Outcome.GOOD, Outcome.GOOD], Outcome.GOOD),
        ([], Outcome.UNKNOWN),
    ],
)
def test_the_whole_is_as_bad_as_its_worst_part_and_nothing_is_not_good(outcomes: list[Outcome], whole: Outcome) -> None:
    assert worst(outcomes) is whole


def test_a_finding_is_described_with_its_subject_where_it_has_one() -> None:
    assert Finding("missing", "params.json", "there is no such file").describe() == "params.json: there is no such file"
    assert Finding("guessing", "", "no better than guessing").describe() == "no better than guessing"


def test_a_result_is_a_judgement_if_it_says_what_was_asked_and_what_came_of_it() -> None:
    class Judged:
        question = Question.BYTES
        outcome = Outcome.GOOD

    class Told:
        outcome = Outcome.GOOD

    assert isinstance(Judged(), Judgement)
    assert not isinstance(Told(), Judgement)
