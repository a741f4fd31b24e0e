"""``magnetar boot``: run the weights and judge them, or let them write, or compare routings, or make a fingerprint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from magnetar.cli.options.display import DisplayFlags, finish, open_screen
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.machine_flags import MachineFlags
from magnetar.cli.options.shared import ManifestChoice, WeightsPath
from magnetar.cli.several_processes import finish_together, refuse_several_processes
from magnetar.errors import UsageError
from magnetar.model.checks.levels import Level

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.model.boot.boot_report import BootReport
    from magnetar.model.machine.machine import Machine

EXAMPLES = (
    "Examples: magnetar boot mixtral-hf; "
    "magnetar boot mixtral-hf --prompt 'It is a truth'; "
    "magnetar boot mixtral-hf --against http://127.0.0.1:8080; "
    "torchrun --nproc-per-node 2 -m magnetar boot mixtral-hf"
)
ALL_ROUTINGS = "all"


@dataclass(frozen=True, slots=True)
class CheckFlags:
    """What is asked of the weights."""

    manifest: ManifestChoice = None
    level: Annotated[
        list[Level] | None,
        option("--level", help="Check only this level. Repeatable. By default, all that apply."),
    ] = None
    routing: Annotated[
        str,
        option(
            "--routing",
            metavar="NAME",
            help="How experts are chosen for a token: trained, top1, top2, top3, all-weighed, all-then-choose or "
            "random. all: compare the score under each, and check nothing else.",
        ),
    ] = "trained"
    no_diagnosis: Annotated[
        bool, option("--no-diagnosis", help="If the weights do not work, do not try which known mistake explains it.")
    ] = False
    against: Annotated[
        str | None,
        option(
            "--against",
            metavar="PATH|URL",
            help="Compare the answers with those of another checkpoint, or of a server that gives log probabilities.",
        ),
    ] = None
    report: Annotated[
        Path | None, option("--report", metavar="FILE", dir_okay=False, help="Write the result as an HTML page too.")
    ] = None


@dataclass(frozen=True, slots=True)
class PromptFlags:
    """A text that the model continues."""

    prompt: Annotated[
        str | None, option("--prompt", metavar="TEXT", help="Let the model continue this text, and check nothing.")
    ] = None
    max_tokens: Annotated[
        int, option("--max-tokens", metavar="NUMBER", min=0, help="With --prompt: stop after this many tokens.")
    ] = 128
    temperature: Annotated[
        float,
        option(
            "--temperature",
            metavar="NUMBER",
            min=0.0,
            help="With --prompt: how freely tokens are drawn. 0 always takes the likeliest one.",
        ),
    ] = 0.8
    seed: Annotated[
        int,
        option("--seed", metavar="NUMBER", help="With --prompt: start of the random numbers. Same seed, same text."),
    ] = 0


@flag_groups
def boot(
    check: CheckFlags,
    writing: PromptFlags,
    machine: MachineFlags,
    display: DisplayFlags,
    path: WeightsPath,
    golden: Annotated[
        Path | None,
        option(
            "--make-golden",
            metavar="FILE",
            help="Write the fingerprint of healthy weights, with which copies can be compared, and check nothing else.",
        ),
    ] = None,
) -> None:
    """Run the weights in the bundled model and say whether they work. Exit 7: they do not."""
    if writing.prompt is None and golden is None and check.routing != ALL_ROUTINGS:
        _judge(path, check, machine, display)
    refuse_several_processes("each of --prompt, --make-golden and --routing all")
    if check.report is not None or check.against is not None:
        raise UsageError("--report and --against do not go with --prompt, --make-golden or --routing all")
    if writing.prompt is not None:
        _continue_prompt(path, writing.prompt, writing, machine, display)
    if golden is not None:
        _make_fingerprint(path, golden, display)
    _compare_routings(path, machine, display)


def _judge(path: Path, check: CheckFlags, machine: MachineFlags, display: DisplayFlags) -> NoReturn:
    """Boot at all levels, alone or as one of several processes."""
    from magnetar.model.boot.boot_request import BootRequest
    from magnetar.pipeline.boot import boot_release, choose_other, write_page
    from magnetar.render.commands.boot import draw_boot

    def work(machine: "Machine", emit: "Emit") -> "BootReport":
        request = BootRequest(
            path,
            levels=tuple(check.level or Level),
            routing=check.routing,
            machine=machine,
            against=choose_other(check.against) if check.against else None,
            diagnose=not check.no_diagnosis,
        )
        booted = boot_release(request, manifest=check.manifest, emit=emit)
        if check.report is not None and machine.group.rank == 0:
            write_page(booted, path.resolve().name, check.report)
        return booted

    finish_together("boot", display, machine.machine(), work, draw_boot)


def _continue_prompt(
    path: Path, prompt: str, writing: PromptFlags, machine: MachineFlags, display: DisplayFlags
) -> NoReturn:
    """Show the text while the model writes it."""
    from magnetar.model.boot.boot_request import PromptRequest
    from magnetar.pipeline.boot import continue_prompt
    from magnetar.render.commands.boot import draw_written_on

    screen = open_screen("boot", display)
    request = PromptRequest(path, prompt, writing.max_tokens, writing.temperature, writing.seed, machine.machine())
    with screen.streaming() as show:
        code = screen.run(lambda _: continue_prompt(request, show), draw_written_on)
    raise typer.Exit(code)


def _make_fingerprint(path: Path, golden: Path, display: DisplayFlags) -> NoReturn:
    from magnetar.pipeline.boot import write_fingerprint
    from magnetar.render.commands.boot import draw_golden

    finish("boot", display, lambda emit: write_fingerprint(path, golden, emit), draw_golden)


def _compare_routings(path: Path, machine: MachineFlags, display: DisplayFlags) -> NoReturn:
    from magnetar.model.boot.boot_request import RoutingRequest
    from magnetar.pipeline.boot import compare_release_routings
    from magnetar.render.commands.boot import draw_routings

    request = RoutingRequest(path, machine=machine.machine())
    finish("boot", display, lambda emit: compare_release_routings(request, emit), draw_routings)
