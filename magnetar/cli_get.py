"""``magnetar get``, the whole way in one go, and ``magnetar demo``, the same on this machine alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from magnetar.cli_options import Directory, Showing, TargetFormat, TargetText, finish, gathers, option
from magnetar.cli_swarm import Fetching

if TYPE_CHECKING:
    from magnetar.events import Emit

EXAMPLES = {
    "demo": "Example: magnetar demo --keep --dir /tmp/magnetar-demo",
    "get": "Examples: magnetar get mixtral-8x7b-v0.1 --dir /data; magnetar get 'magnet:?xt=...' --no-boot",
}


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
