"""The screen: results to stdout, progress and hints to stderr, as text or as one JSON object."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO, TypeVar

from rich.console import Console, Group, RenderableType
from rich.text import Text

from magnetar.errors import ExitCode, MagnetarError
from magnetar.events import Emit, ProgressStyle, ignore
from magnetar.render.text import clean

Result = TypeVar("Result")

PIPE_WIDTH = 4000
"""Columns where no terminal says how many: what goes into a log or a pipe should not fold."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: handled like Ctrl-C everywhere below, and told apart only by its exit code."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command has no result: the exit code, the name of the error, what was wrong, and what to do next.

    ``error`` has further facts as attributes, such as the file at fault.
    """

    code: ExitCode
    kind: str
    message: str
    hint: str = ""
    error: MagnetarError | None = None

    @classmethod
    def of(cls, error: MagnetarError) -> "Failure":
        """The failure that the error tells of."""
        return cls(error.exit_code, type(error).__name__, error.message, error.hint, error)


class Screen:
    """Where one command writes. ``exit_code_of`` tells which code a result stands for."""

    def __init__(
        self,
        command: str,
        *,
        as_json: bool,
        quiet: bool,
        progress: ProgressStyle,
        exit_code_of: Callable[[object], ExitCode],
    ) -> None:
        self._exit_code_of = exit_code_of
        self.command = command
        self.as_json = as_json
        self.progress = ProgressStyle.NONE if quiet else progress
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    def run(self, work: Callable[[Emit], Result], draw: Callable[[Result], RenderableType]) -> ExitCode:
        """Do the work with its progress shown, then show what came of it. Returns the exit code."""
        results: list[Result] = []
        failed = self._attempt(lambda emit: results.append(work(emit)))
        if failed is not None:
            return self.fail(failed)
        code: ExitCode = self._exit_code_of(results[0])
        self.show(results[0], draw, code)
        return code

    def stay(self, work: Callable[[Emit], object]) -> ExitCode:
        """Do work that lasts until it is stopped, and that shows its own result: being stopped is its good end."""
        failed = self._attempt(work)
        if failed is None:
            return ExitCode.GOOD
        if failed.code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            return failed.code
        return self.fail(failed)

    @contextmanager
    def streaming(self) -> Iterator[Callable[[str], None]]:
        """Shows text on stdout as it is written; beside a JSON result on stderr, if somebody looks."""
        watched = self.progress is ProgressStyle.AUTO and self.err.is_terminal
        console = self.err if self.as_json else self.out
        if self.as_json and not watched:
            yield lambda _text: None
            return
        self.progress = ProgressStyle.NONE  # two things that move would write over each other
        yield lambda text: console.out(clean(text), end="", highlight=False)
        if console is self.err:
            console.out("")

    @contextmanager
    def board(self, draw: Callable[[Result], RenderableType]) -> Iterator[Callable[[Result], None]]:
        """A picture on stderr that is drawn anew each time, for work that lasts; none where there is no terminal."""
        if self.progress is not ProgressStyle.AUTO or not self.err.is_terminal:
            yield lambda _result: None
            return
        from rich.live import Live

        with Live(console=self.err, auto_refresh=False, transient=True) as live:
            yield lambda result: live.update(draw(result), refresh=True)

    def _attempt(self, work: Callable[[Emit], object]) -> Failure | None:
        """Do the work with its progress shown. Returns what went wrong, if something did."""
        try:
            if self.progress is ProgressStyle.NONE:
                work(ignore)
            else:
                from magnetar.render.progress import watch

                with watch(self.err, self.progress) as emit:
                    work(emit)
        except MagnetarError as error:
            return Failure.of(error)
        except Terminated:
            return Failure(ExitCode.TERMINATED, "Terminated", "terminated", RESUME_HINT)
        except KeyboardInterrupt:
            return Failure(ExitCode.INTERRUPTED, "Interrupted", "interrupted", RESUME_HINT)
        return None

    def show(self, result: Result, draw: Callable[[Result], RenderableType], code: ExitCode) -> None:
        """Write a result to stdout."""
        if self.as_json:
            from magnetar.render.json_shapes.documents import answer

            self.out.out(answer(self.command, code, result), highlight=False)
        else:
            self._print(draw(result))

    def fail(self, failed: Failure) -> ExitCode:
        """Write an error: for a person to stderr, for a program to stdout. Returns its exit code."""
        if self.as_json:
            from magnetar.render.json_shapes.documents import failure

            words = {"kind": failed.kind, "message": failed.message, "hint": failed.hint}
            self.out.out(failure(self.command, failed.code, **words, facts=failed.error), highlight=False)
        else:
            lines = [Text.assemble(("error: ", "bold red"), clean(failed.message))]
            lines += [Text.assemble(("hint:  ", "cyan"), clean(failed.hint))] if failed.hint else []
            self.err.print(Group(*lines), soft_wrap=True)
        return failed.code

    def _print(self, drawing: RenderableType) -> None:
        if self.out.is_terminal:
            self.out.print(drawing)
            return
        with self.out.capture() as captured:
            self.out.print(drawing)
        # Columns are padded to their width, which is of no use to whoever reads a pipe.
        self.out.out("\n".join(line.rstrip() for line in captured.get().splitlines()), highlight=False)


RESUME_HINT = "what is on disk is kept: run the same command again to go on"


class _Console(Console):
    """A console whose reader may go away: it then says nothing more, and the exit code is what it would have been."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # The interpreter flushes once more at its end, and would complain of the same pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _console(stream: TextIO) -> Console:
    if stream.isatty():
        return _Console(file=stream, highlight=False)
    return _Console(file=stream, highlight=False, width=PIPE_WIDTH, force_terminal=False, no_color=True)
