"""``magnetar boot``: run the weights, and ask of them what can be asked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.machine import Computing, finish_together, refuse_many
from magnetar.cli.options.shared import ManifestChoice, Showing, finish, gathers, open_screen, option
from magnetar.errors import UsageError
from magnetar.model.checks.levels import Level

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.model.boot.report import BootReport
    from magnetar.model.machine.machine import Machine

EXAMPLES = (
    "Examples: magnetar boot mixtral-hf; "
    "magnetar boot mixtral-hf --prompt 'It is a truth'; "
    "magnetar boot mixtral-hf --against http://127.0.0.1:8080; "
    "torchrun --nproc-per-node 2 -m magnetar boot mixtral-hf"
)


@gathers("showing", Showing)
@gathers("computing", Computing)
def boot(
    showing: Showing,
    computing: Computing,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of weights, or one checkpoint file.")],
    manifest: ManifestChoice = None,
    level: Annotated[
        list[Level] | None,
        option("--level", help="Only these; the default is all that apply. Repeatable."),
    ] = None,
    routing: Annotated[
        str,
        option("--routing", help="trained, top1, top2, top3, all-weighed, all-then-choose, random; or all."),
    ] = "trained",
    no_diagnosis: Annotated[bool, option("--no-diagnosis", help="Do not look for the cure of what is wrong.")] = False,
    against: Annotated[
        str | None, option("--against", metavar="PATH|URL", help="Hold it against a checkpoint, or a server.")
    ] = None,
    prompt: Annotated[
        str | None, option("--prompt", metavar="TEXT", help="Write on from there, and test nothing.")
    ] = None,
    max_tokens: Annotated[int, option("--max-tokens", min=0, help="How far.")] = 128,
    temperature: Annotated[float, option("--temperature", min=0.0, help="0 takes the likeliest.")] = 0.8,
    seed: Annotated[int, option("--seed", help="The same seed, the same text.")] = 0,
    golden: Annotated[
        Path | None, option("--make-golden", metavar="FILE", help="Write the fingerprint of a healthy release.")
    ] = None,
    report: Annotated[
        Path | None, option("--report", metavar="FILE", help="Write it as an HTML page too.", dir_okay=False)
    ] = None,
) -> None:
    """Run the weights in the bundled model and say whether they work. Exit 7: they do not."""
    from magnetar.model.boot.request import BootRequest, PromptRequest, RoutingRequest
    from magnetar.pipeline import boot as booting
    from magnetar.render.boot import draw_boot, draw_golden, draw_routings, draw_written_on

    alone = prompt is not None or golden is not None or routing == "all"
    if alone:
        refuse_many("that")
    if alone and (report is not None or against is not None):
        raise UsageError("--report and --against are of a boot alone, not of a prompt, a fingerprint or all routings")
    if prompt is not None:
        screen = open_screen("boot", showing)
        asked = PromptRequest(path, prompt, max_tokens, temperature, seed, computing.machine())
        with screen.streaming() as show:
            raise typer.Exit(screen.run(lambda _: booting.continue_prompt(asked, show), draw_written_on))
    if golden is not None:
        finish("boot", showing, lambda emit: booting.write_fingerprint(path, golden, emit), draw_golden)
    if routing == "all":
        compared = RoutingRequest(path, machine=computing.machine())
        finish("boot", showing, lambda emit: booting.compare_release_routings(compared, emit), draw_routings)

    def work(machine: "Machine", emit: "Emit") -> "BootReport":
        request = BootRequest(
            path,
            levels=tuple(level or Level),
            routing=routing,
            machine=machine,
            against=booting.choose_other(against) if against else None,
            diagnose=not no_diagnosis,
        )
        booted = booting.boot_release(request, manifest=manifest, emit=emit)
        if report is not None and machine.group.rank == 0:
            booting.write_page(booted, path.resolve().name, report)
        return booted

    finish_together("boot", showing, computing, work, draw_boot)
