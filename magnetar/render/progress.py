"""Progress: totals, rates and time left, kept in one place, and shown as bars, as lines, or as JSON."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from magnetar.events import (
    Adopted,
    Began,
    Emit,
    Ended,
    Event,
    Fact,
    FileSeen,
    FoundWrong,
    LinkHealed,
    MirrorDropped,
    Moved,
    ProgressStyle,
    Remarked,
    Resumed,
    SignerFound,
    Skipped,
    Step,
    SwarmSeen,
    TrackerAnswered,
)
from magnetar.render.text import Hanging, amount, clean, clock, pace, several

PLAIN_INTERVAL = 10.0
"""Seconds between two lines of one step in a log."""
MAX_FILE_BARS = 8
"""Bars for single files that are shown at once. When a file is complete, the next takes its place."""
NAME_WIDTH = 20


@contextmanager
def watch(console: Console, style: ProgressStyle) -> Iterator[Emit]:
    """An ``Emit`` that shows events on ``console`` for as long as the context lasts, in any style but NONE.

    Safe to call from any thread.
    """
    if style is ProgressStyle.JSON:
        yield _json_lines(console)
    elif style is ProgressStyle.PLAIN or not console.is_terminal or console.no_color:
        yield PlainProgress(lambda line: console.print(Group(Hanging(line)), soft_wrap=not console.is_terminal))
    else:
        with LiveProgress(console) as live:
            yield live


def _json_lines(console: Console) -> Emit:
    from magnetar.render.json_shapes.progress import event_line

    lock = threading.Lock()

    def emit(event: Event) -> None:
        with lock:
            print(event_line(event), file=console.file, flush=True)

    return emit


@dataclass(slots=True)
class Meter:
    """How far a step is: ``done`` of ``total`` in ``unit``.

    ``began``, and ``written`` for its last line, are seconds of a monotonic clock.
    """

    total: int | None
    unit: str
    began: float
    done: int = 0
    written: float = 0.0

    def describe(self, now: float) -> str:
        """``12.0 MB of 8.4 GB (0 %), 3.1 MB/s, 45:12 left``."""
        speed = pace(self.done, now - self.began, self.unit)
        if not self.total:
            return f"{amount(self.done, self.unit)}, {speed}"
        share = 100 * self.done // self.total
        reached = f"{amount(self.done, self.unit)} of {amount(self.total, self.unit)} ({share} %), {speed}"
        if not 0 < self.done < self.total:
            return reached
        return f"{reached}, {clock((self.total - self.done) * (now - self.began) / self.done)} left"

    def conclude(self, now: float) -> str:
        """``8.4 GB in 2:13, 63.0 MB/s``."""
        seconds = now - self.began
        return f"{amount(self.done, self.unit)} in {clock(seconds)}, {pace(self.done, seconds, self.unit)}"


class PlainProgress:
    """A line for each step and interval, for logs and pipes. Bad news is written at once."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._now = now
        self._meters: dict[Step, Meter] = {}
        self._files: dict[str, float] = {}
        self._swarm = ""
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        now = self._now()
        if isinstance(event, Fact):
            self._write(describe(event))
            return
        match event:
            case Began(step, total, unit):
                self._meters[step] = Meter(total, unit, began=now, written=now)
            case Moved(step, moved):
                self._move(step, moved, now)
            case Ended(step):
                meter = self._meters.pop(step, None)
                if meter and meter.done:
                    self._write(f"{step}: {meter.conclude(now)}")
                self._swarm = ""
            case SwarmSeen():
                self._swarm = describe(event)
                for step, meter in self._meters.items():  # while nothing moves, the peers are the news
                    self._write_if_due(step, meter, now)
            case FileSeen(path, done, total):
                self._see_file(path, total, now, whole=done == total)
            case _:
                assert_never(event)

    def _move(self, step: Step, moved: int, now: float) -> None:
        meter = self._meters.get(step)
        if meter is None:
            return
        meter.done += moved
        self._write_if_due(step, meter, now)

    def _write_if_due(self, step: Step, meter: Meter, now: float) -> None:
        if now - meter.written < PLAIN_INTERVAL:
            return
        meter.written = now
        state = meter.describe(now) if meter.done else clock(now - meter.began)
        self._write("; ".join(filter(None, (f"{step}: {state}", self._swarm))))

    def _see_file(self, path: str, total: int, now: float, *, whole: bool) -> None:
        """Write that a file is complete, unless it came so fast that a line for each would fill the log."""
        began = self._files.setdefault(path, now)
        if whole and now - began >= PLAIN_INTERVAL:
            self._write(f"{clean(path)}: all {decimal(total)} here")


class _Bars(Progress):
    """A bar for each task, and below them a line with the state of the swarm."""

    def __init__(self, console: Console) -> None:
        self.swarm = ""
        wide = console.width >= 100
        super().__init__(_NameColumn(), BarColumn(28 if wide else 14), _AmountColumn(), _SpeedColumn(), console=console)

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.swarm:
            yield Text(self.swarm, style="dim", no_wrap=True, overflow="ellipsis")


class LiveProgress:
    """Bars that move, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = _Bars(console)
        self._tasks: dict[Step, TaskID] = {}
        self._files: dict[str, TaskID] = {}

    def __enter__(self) -> "LiveProgress":
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._drop_files()
        self._progress.stop()

    @property
    def files(self) -> tuple[str, ...]:
        """The files that have a bar now."""
        return tuple(self._files)

    def refresh(self) -> None:
        """Draw now, without waiting for the next tick."""
        self._progress.refresh()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Fact):
            self._progress.console.print(Group(Hanging(describe(event))))
            return
        match event:
            case Began(step, total, unit):
                self._tasks[step] = self._progress.add_task(step, total=total, unit=unit)
            case Moved(step, moved):
                if step in self._tasks:
                    self._progress.advance(self._tasks[step], moved)
            case Ended(step):
                self._finish(step)
            case SwarmSeen():
                self._progress.swarm = describe(event) if self._tasks else ""
            case FileSeen(path, done, total):
                self._see_file(path, done, total)
            case _:
                assert_never(event)

    def _see_file(self, path: str, done: int, total: int) -> None:
        """Keep a bar for a file while it is coming, for at most ``MAX_FILE_BARS`` files at once."""
        if done == total:
            if path in self._files:
                self._progress.remove_task(self._files.pop(path))
        elif path in self._files:
            self._progress.update(self._files[path], completed=done)
        elif len(self._files) < MAX_FILE_BARS:
            self._files[path] = self._progress.add_task(path, total=total, completed=done, unit="B", file=True)

    def _drop_files(self) -> None:
        while self._files:
            self._progress.remove_task(self._files.popitem()[1])

    def _finish(self, step: Step) -> None:
        """Fill the bar, even if its total was only a guess. A step that moved nothing leaves no bar."""
        self._drop_files()
        self._progress.swarm = ""
        task = self._tasks.pop(step, None)
        if task is None:
            return
        done = self._progress.tasks[self._progress.task_ids.index(task)].completed
        if done:
            self._progress.update(task, total=done, completed=done)
        else:
            self._progress.remove_task(task)


class _NameColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.fields.get("file"):
            return Text(f"{task.description:<9}", style="bold")
        name = clean(task.description)
        return Text("  " + (name if len(name) <= NAME_WIDTH else "…" + name[1 - NAME_WIDTH :]), style="dim")


class _AmountColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = str(task.fields["unit"])
        done = amount(int(task.completed), unit)
        return Text(done if task.total is None or task.finished else f"{done} of {amount(int(task.total), unit)}")


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        words = pace(speed, 1, str(task.fields["unit"])) if speed else ""
        left = task.time_remaining
        if left and not task.finished:
            words += f", {clock(left)} left"
        return Text(words, style="cyan")


def describe(event: SwarmSeen | Fact) -> str:
    """One line that says what happened."""
    match event:
        case SwarmSeen(peers, seeds, nodes, uploaded, downloaded, mirrored):
            dht = f", {several(nodes, 'DHT node')}" if nodes else ""
            share = f"{100 * mirrored // max(downloaded, 1)} % from mirrors, " if mirrored else ""
            return f"{share}{several(peers, 'peer')} ({several(seeds, 'seed')}){dht}, {decimal(uploaded)} sent"
        case TrackerAnswered(url, peers, error):
            return f"tracker {clean(url)}: {clean(error) if error else several(peers, 'peer')}"
        case FoundWrong(finding):
            return clean(f"{finding.kind}: {finding.describe()}")
        case LinkHealed(repair):
            return clean(repair)
        case Resumed(step, done, total, unit):
            return f"{step}: {amount(done, unit)} of {amount(total, unit)} are done already"
        case Adopted(path, source):
            return f"{clean(path)}: taken from {clean(source)}"
        case MirrorDropped(host, reason, url):
            return f"mirror {clean(url or host)}: {clean(reason)}; it is not asked any more"
        case SignerFound(manifest, signer):
            return f"{clean(manifest)}: signed by {clean(signer)}"
        case Skipped(what, reason, hint):
            return clean(f"{what}: {reason}" + (f"; {hint}" if hint else ""))
        case Remarked(text):
            return clean(text)
        case _:
            assert_never(event)
