"""The command line: each command parses, calls one function, hands the result to the screen, and exits.

Nothing heavy is imported up here: ``magnetar --help`` should answer before the finger has left the key.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from magnetar import __version__, cli_boot, cli_catalog, cli_manifest, cli_publish, cli_repair
from magnetar.cli_options import (
    Directory,
    ManifestChoice,
    Showing,
    TargetFormat,
    TargetText,
    finish,
    gathers,
    open_screen,
    option,
    parse_amount,
)
from magnetar.cli_signer import Demanding
from magnetar.cli_swarm import Fetching, Serving
from magnetar.errors import ExitCode, MagnetarError

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.fetch.download import Fetched
    from magnetar.fetch.plan import FetchPlan
    from magnetar.fetch.seed import Seeding

app = typer.Typer(
    name="magnetar",
    epilog="Start with: magnetar demo. Every option can come from the environment: MAGNETAR_FETCH_DIR, and so on.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "MAGNETAR"},
)
app.add_typer(cli_catalog.app, name="catalog")
app.add_typer(cli_manifest.app, name="manifest")
cli_publish.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of ``ExitCode``."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(args=words, prog_name="magnetar", standalone_mode=False)
    except typer.TyperException as error:
        code = _refuse(words, ExitCode.USAGE, "UsageError", error.format_message())
    except MagnetarError as error:
        code = _refuse(words, error.exit_code, type(error).__name__, error.message, error.hint)
    sys.exit(code or 0)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    from magnetar.render import Terminated

    raise Terminated


def _refuse(words: Sequence[str], code: ExitCode, kind: str, message: str, hint: str = "") -> int:
    """Say what is wrong with the words of the command line, or with the configuration behind them."""
    command = next((word for word in words if not word.startswith("-")), "")
    known = command in {info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands}
    screen = open_screen(command, Showing(as_json="--json" in words))
    return screen.fail(code, kind, message, hint or (f"magnetar {command} --help" if known else "magnetar --help"))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"magnetar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """From a magnet link to model weights that are proven to be the release, converted, and shown to work."""
    from magnetar.cli_config import load_config

    commands = getattr(context.command, "commands", {})
    context.default_map = load_config({name: _options(command) for name, command in commands.items()})


def _options(command: Any) -> dict[str, str]:
    """The options of a command by their long names, with the parameters that they set."""
    pairs = ((text, parameter.name) for parameter in command.params for text in parameter.opts)
    return {text.removeprefix("--"): name for text, name in pairs if text.startswith("--") and text != "--help"}


@app.command(epilog="Example: magnetar demo --keep --dir /tmp/magnetar-demo")
@gathers("showing", Showing)
def demo(
    showing: Showing,
    keep: Annotated[bool, option("--keep", help="Leave the folders for a look around.")] = False,
    directory: Annotated[
        Path | None, option("--dir", "-d", help="Work there, not in a temporary folder.", file_okay=False)
    ] = None,
) -> None:
    """Offline: seed the bundled release on 127.0.0.1, get it by its magnet link, prove it and boot it."""
    from magnetar.pipeline_demo import demonstrate
    from magnetar.render_path import draw_demo

    finish("demo", showing, lambda emit: demonstrate(directory, keep=keep, emit=emit), draw_demo)


@app.command(epilog="Examples: magnetar get mixtral-8x7b-v0.1 --dir /data; magnetar get 'magnet:?xt=...' --no-boot")
@gathers("showing", Showing)
@gathers("fetching", Fetching)
def get(
    showing: Showing,
    fetching: Fetching,
    target: TargetText,
    to: TargetFormat = "hf",
    directory: Directory = Path(),
    no_verify: Annotated[bool, option("--no-verify", help="Do not hold the files against a manifest.")] = False,
    no_convert: Annotated[bool, option("--no-convert", help="Leave the files as they were published.")] = False,
    no_boot: Annotated[bool, option("--no-boot", help="Do not run the weights.")] = False,
) -> None:
    """Fetch, verify, convert and boot in one go; run again, it does only what is missing."""
    from magnetar import pipeline
    from magnetar.pipeline_fetch import resolve_target
    from magnetar.render_path import draw_got

    def work(emit: "Emit") -> pipeline.Got:
        return pipeline.get(
            resolve_target(target, proxy=fetching.proxy),
            directory,
            target=None if no_convert else to,
            check=not no_verify,
            smoke_test=not no_boot,
            options=fetching.options(),
            use_mirrors=fetching.mirrors,
            emit=emit,
        )

    finish("get", showing, work, draw_got)


@app.command(epilog="Examples: magnetar fetch mistral-7b-v0.1 -d /data; magnetar fetch release.torrent --no-dht")
@gathers("showing", Showing)
@gathers("fetching", Fetching)
def fetch(
    showing: Showing,
    fetching: Fetching,
    target: TargetText,
    directory: Directory = Path(),
    dry_run: Annotated[
        bool, option("--dry-run", help="Show files, sizes, space and peers, and write nothing.")
    ] = False,
) -> None:
    """Get a release from the swarm. Done means that every piece was checked; stopped at any moment, it resumes."""
    from magnetar.pipeline_fetch import fetch_release, plan_release, resolve_target
    from magnetar.render_swarm import draw_fetch_plan, draw_fetched

    options = fetching.options()
    screen = open_screen("fetch", showing)

    def work(emit: "Emit", finished: "Callable[[Fetched], None]" = lambda _fetched: None) -> "Fetched":
        wanted = resolve_target(target, proxy=fetching.proxy)
        return fetch_release(wanted, directory, options, fetching.mirrors, finished, emit)

    def look(emit: "Emit") -> "FetchPlan":
        return plan_release(resolve_target(target, proxy=fetching.proxy), directory, options, emit)

    def arrived(fetched: "Fetched") -> None:
        screen.show(fetched, draw_fetched, ExitCode.GOOD)

    if dry_run:
        raise typer.Exit(screen.run(look, draw_fetch_plan))
    if options.stays:
        raise typer.Exit(screen.stay(lambda emit: work(emit, arrived)))
    raise typer.Exit(screen.run(work, draw_fetched))


@app.command(epilog="Examples: magnetar verify mixtral-8x7b-32kseqlen; magnetar verify model.gguf -m austen-moe")
@gathers("showing", Showing)
@gathers("demanding", Demanding)
def verify(
    showing: Showing,
    demanding: Demanding,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A release's folder, or a converted copy of it.")],
    manifest: ManifestChoice = None,
    reference: Annotated[
        Path | None, option("--reference", metavar="PATH", help="The release, for the error of a quantised copy.")
    ] = None,
    quick: Annotated[bool, option("--quick", help="Believe an earlier run of files unchanged since.")] = False,
    strict: Annotated[bool, option("--strict", help="Files that the release does not have are wrong.")] = False,
    fail_fast: Annotated[bool, option("--fail-fast", help="Stop at the first thing that is wrong.")] = False,
) -> None:
    """Hold every file against its digests; of a converted copy, every tensor. Exit 5: not the release; 8: not all."""
    from magnetar.pipeline_signed import verify_signed
    from magnetar.pipeline_verify import Asked
    from magnetar.render_ledger import draw_verified

    asked = Asked(quick, strict, fail_fast, reference)

    finish(
        "verify",
        showing,
        lambda emit: verify_signed(path, manifest, demanding.demand(), asked, emit=emit),
        draw_verified,
    )


app.command(epilog=cli_repair.EXAMPLES)(cli_repair.repair)


@app.command(epilog="Example: magnetar same mixtral-8x7b-32kseqlen Mixtral-8x7B-v0.1")
@gathers("showing", Showing)
def same(
    showing: Showing,
    first: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint, in any layout.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, in any layout.")],
) -> None:
    """Whether two checkpoints hold the same weights, and which tensors differ, and how. Exit 5: they differ."""
    from magnetar.convert.same import same as compare
    from magnetar.render_weights import draw_sameness

    finish("same", showing, lambda emit: compare(first, second, emit=emit), draw_sameness)


@app.command(epilog="Example: magnetar convert mixtral-8x7b-32kseqlen mixtral-gguf --to gguf --dtype q8_0")
@gathers("showing", Showing)
def convert(
    showing: Showing,
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of weights, or one checkpoint file.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.", file_okay=False)],
    to: TargetFormat = "hf",
    from_layout: Annotated[
        str | None, option("--from-layout", metavar="LAYOUT", help="Insist on this layout of the source.")
    ] = None,
    dtype: Annotated[
        str | None, option("--dtype", metavar="DTYPE", help="Write the numbers as f32, f16, bf16, q8_0, …")
    ] = None,
    allow_overflow: Annotated[
        bool, option("--allow-overflow", help="Numbers too large for --dtype become infinite.")
    ] = False,
    shard_size: Annotated[
        int | None, option("--shard-size", parser=parse_amount, metavar="SIZE", help="Largest file, like 5G.")
    ] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    no_compare: Annotated[
        bool, option("--no-compare", help="Do not read the output back to compare it with the source.")
    ] = False,
    no_check: Annotated[
        bool, option("--no-check", help="Believe the source: leave its checksums and our digests out.")
    ] = False,
) -> None:
    """Rewrite a checkpoint for another runtime: bit-exact, no pickle executed, in little memory."""
    from magnetar.convert.run import plan_conversion
    from magnetar.pipeline import convert_release
    from magnetar.render_weights import draw_converted, draw_forecast

    wish: Any = {"target": to, "from_layout": from_layout, "shard_size": shard_size, "dtype": dtype}
    proof: Any = {"allow_overflow": allow_overflow, "verify": not no_compare, "check": not no_check}
    if dry_run:
        finish("convert", showing, lambda _: plan_conversion(source, destination, **wish), draw_forecast)
    finish(
        "convert",
        showing,
        lambda emit: convert_release(source, destination, **wish, **proof, emit=emit),
        draw_converted,
    )


app.command(epilog=cli_boot.EXAMPLES)(cli_boot.boot)


@app.command(epilog="Examples: magnetar inspect 'magnet:?xt=...'; magnetar inspect weights.pth --tensors")
@gathers("showing", Showing)
def inspect(
    showing: Showing,
    target: Annotated[str, typer.Argument(metavar="TARGET|PATH", help="A link, a .torrent, a name, or weights.")],
    tensors: Annotated[bool, option("--tensors", help="List every tensor.")] = False,
) -> None:
    """Look without fetching or running: trackers after healing, files and sizes, tensors, layout, parameters."""
    from magnetar.pipeline_inspect import inspect as look
    from magnetar.render_weights import draw_inspection

    finish("inspect", showing, lambda _: look(target, tensors=tensors), draw_inspection)


@app.command(epilog="Example: magnetar seed mixtral-8x7b-32kseqlen mixtral-8x22b --upload-limit 20M --seed-time 7d")
@gathers("showing", Showing)
@gathers("serving", Serving)
def seed(
    showing: Showing,
    serving: Serving,
    folders: Annotated[list[Path], typer.Argument(metavar="PATH...", help="The folders to serve.")],
) -> None:
    """Serve folders, and print their magnet links: a release of the catalog under its own. Ctrl-C ends it."""
    from magnetar.pipeline_seed import seed_releases
    from magnetar.render_swarm import draw_seeding, draw_served

    screen = open_screen("seed", showing)

    def listening(seeding: "Seeding") -> None:
        screen.show(seeding, draw_seeding, ExitCode.GOOD)

    def work(emit: "Emit") -> None:
        with screen.board(draw_served) as watch:
            seed_releases(folders, serving.options(), listening, watch, emit)

    raise typer.Exit(screen.stay(work))
