"""Where a command writes: its result to stdout, its progress and errors to stderr, as text or as JSON."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO, TypeVar

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderableType, RenderHook
from rich.segment import Segment

from magnetar.characters import HIDDEN, escape_hidden
from magnetar.errors import ExitCode, MagnetarError
from magnetar.events import Emit, ProgressStyle, ignore
from magnetar.files import outside_failure
from magnetar.render.text import INDENT, Document, Hanging, clean

Result = TypeVar("Result")

HIDDEN_IN_A_LINE = re.compile(rf"(?!\n){HIDDEN.pattern}")

PIPE_WIDTH = 4000
"""The width in columns where there is no terminal: lines in a log or a pipe should not be folded."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came. It is handled like Ctrl-C everywhere, and has another exit code."""


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
        """The failure that an error means."""
        return cls(error.exit_code, type(error).__name__, error.message, error.hint, error)


class Screen:
    """Shows the result and the progress of one command. ``exit_code_of`` says which exit code a result has."""

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
        """Do the work and show its progress, then its result or its error. Returns the exit code."""
        results: list[Result] = []
        failed = self._attempt(lambda emit: results.append(work(emit)))
        if failed is not None:
            return self.fail(failed)
        code: ExitCode = self._exit_code_of(results[0])
        self.show(results[0], draw, code)
        return code

    def stay(self, work: Callable[[Emit], object]) -> ExitCode:
        """Do work that goes on until it is stopped, and that shows its own result. To be stopped is no error then."""
        failed = self._attempt(work)
        if failed is None:
            return ExitCode.GOOD
        if failed.code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            return failed.code
        return self.fail(failed)

    @contextmanager
    def streaming(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows text at once: on stdout, or with ``--json`` on stderr if that is a terminal.

        All lines of the text but the first are indented: a model could else write a verdict on itself.
        """
        watched = self.progress is ProgressStyle.AUTO and self.err.is_terminal
        console = self.err if self.as_json else self.out
        if self.as_json and not watched:
            yield lambda _text: None
            return
        self.progress = ProgressStyle.NONE  # bars would overwrite the text
        yield lambda text: console.out(_clean_lines(text), end="", highlight=False)
        if console is self.err:
            console.out("")

    @contextmanager
    def board(self, draw: Callable[[Result], RenderableType]) -> Iterator[Callable[[Result], None]]:
        """Yield a function that draws its argument on stderr in the place of the one before, if that is a terminal."""
        if self.progress is not ProgressStyle.AUTO or not self.err.is_terminal:
            yield lambda _result: None
            return
        from rich.live import Live

        with Live(console=self.err, auto_refresh=False, transient=True) as live:
            yield lambda result: live.update(draw(result), refresh=True)

    def _attempt(self, work: Callable[[Emit], object]) -> Failure | None:
        """Do the work and show its progress. Returns the failure, or None."""
        try:
            if self.progress is ProgressStyle.NONE:
                work(ignore)
            else:
                from magnetar.render.progress import watch

                with watch(self.err, self.progress) as emit:
                    work(emit)
        except MagnetarError as error:
            return Failure.of(error)
        except OSError as error:
            failed = outside_failure(error)
            if failed is None:
                raise
            return Failure.of(failed)
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
            lines = [Hanging.assemble(("error: ", "bold red"), clean(failed.message))]
            lines += [Hanging.assemble(("hint:  ", "cyan"), clean(failed.hint))] if failed.hint else []
            self.err.print(Group(*lines), soft_wrap=not self.err.is_terminal)
        return failed.code

    def _print(self, drawing: RenderableType) -> None:
        if isinstance(drawing, Document):
            self.out.out(drawing.plain, highlight=False)
            return
        whole = Group(drawing)  # rich makes a plain text of one that is printed by itself, which would not hang
        if self.out.is_terminal:
            self.out.print(whole)
            return
        with self.out.capture() as captured:
            self.out.print(whole)
        # Rich pads columns with spaces to their width, which a reader of a pipe does not want.
        lines = captured.get().removesuffix("\n").split("\n")
        self.out.out("\n".join(line.rstrip() for line in lines), highlight=False)


RESUME_HINT = "what is on disk is kept: run the same command again to go on"


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the traceback of a bug to stderr, as Python does; but the message, which may quote foreign text, is clean.

    It has the form of ``sys.excepthook``.
    """
    told = traceback.TracebackException(kind, error, trace, compact=True)
    _clean_notes(told)
    for part in told.format():
        # Of several lines are the parts that say where in our own code it was. The others may quote anything.
        lines = part.rstrip("\n").split("\n") if part.startswith("  File ") else [part.strip("\n")]
        for line in lines:
            print(clean(line), file=sys.stderr)


def _clean_notes(told: traceback.TracebackException | None) -> None:
    """Make one line of each note, here and in the causes: Python would make several parts of it."""
    if told is not None:
        told.__notes__ = [clean(text) for text in told.__notes__ or ()]
        for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
            _clean_notes(other)


def _clean_lines(text: str) -> str:
    return f"\n{INDENT}".join(map(clean, text.split("\n")))


class _Net(RenderHook):
    """Escapes what reaches a console without having been cleaned. It cannot tell foreign line breaks from ours."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Caught(renderable) for renderable in renderables]


@dataclass(frozen=True, slots=True)
class _Caught:
    """A drawing whose every line is clean."""

    drawing: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.drawing, options):
            if segment.control:
                yield segment
            else:
                yield Segment(HIDDEN_IN_A_LINE.sub(lambda found: escape_hidden(found[0]), segment.text), segment.style)


class _Console(Console):
    """A console whose reader may close the pipe. It then prints nothing more, and the exit code is not changed."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # The interpreter flushes the stream once more when it exits, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _console(stream: TextIO) -> Console:
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}  # a string is only a string
    if stream.isatty():
        console = _Console(file=stream, **plain)
    else:
        console = _Console(file=stream, width=PIPE_WIDTH, force_terminal=False, no_color=True, **plain)
    console.push_render_hook(_Net())
    return console
