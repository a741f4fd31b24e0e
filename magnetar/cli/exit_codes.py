"""From what a command found to the exit code of the process. No other place knows both."""

from magnetar.errors import ExitCode
from magnetar.findings import Outcome, Question

BAD_CODES = {Question.BYTES: ExitCode.WRONG_BYTES, Question.FUNCTION: ExitCode.UNHEALTHY}


def exit_code_of(result: object) -> ExitCode:
    """The exit code for ``result``. One that is no judgement (``magnetar.findings.Judgement``) is good."""
    match getattr(result, "outcome", Outcome.GOOD):
        case Outcome.GOOD:
            return ExitCode.GOOD
        case Outcome.BAD:
            return BAD_CODES[getattr(result, "question", Question.BYTES)]
        case _:
            return ExitCode.NOT_ALL_CHECKED
