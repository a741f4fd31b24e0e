"""The one place that turns a result into the exit code of the process."""

from magnetar.errors import ExitCode
from magnetar.findings import Judgement, Outcome, Question

BAD_CODES = {Question.BYTES: ExitCode.WRONG_BYTES, Question.FUNCTION: ExitCode.UNHEALTHY}


def exit_code_of(result: object) -> ExitCode:
    """The exit code for ``result``. A result that judges nothing counts as good."""
    if not isinstance(result, Judgement) or result.outcome is Outcome.GOOD:
        return ExitCode.GOOD
    if result.outcome is Outcome.BAD:
        return BAD_CODES[result.question]
    return ExitCode.OUTSIDE if result.outcome is Outcome.FAILED else ExitCode.NOT_ALL_CHECKED
