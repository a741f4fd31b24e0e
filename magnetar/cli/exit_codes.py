"""The one place that turns a result into the exit code of the process."""

from magnetar.errors import ExitCode
from magnetar.findings import Outcome, Question

BAD_CODES = {Question.BYTES: ExitCode.WRONG_BYTES, Question.FUNCTION: ExitCode.UNHEALTHY}


def exit_code_of(result: object) -> ExitCode:
    """The exit code for ``result``. A result that is no ``magnetar.findings.Judgement`` counts as good."""
    match getattr(result, "outcome", Outcome.GOOD):
        case Outcome.GOOD:
            return ExitCode.GOOD
        case Outcome.BAD:
            return BAD_CODES[getattr(result, "question", Question.BYTES)]
        case _:
            return ExitCode.NOT_ALL_CHECKED
