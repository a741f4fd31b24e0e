"""``magnetar get``: fetch, verify, convert and boot in one go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.shared import ParentFolder, TargetFormat, TargetText
from magnetar.cli.options.swarm import FetchFlags

if TYPE_CHECKING:
    from magnetar.events import Emit

EXAMPLES = "Examples: magnetar get mixtral-8x7b-v0.1 --dir /data; magnetar get 'magnet:?xt=...' --no-boot"


@flag_groups
def get(
    fetching: FetchFlags,
    display: DisplayFlags,
    target: TargetText,
    to: TargetFormat = "hf",
    directory: ParentFolder = Path(),
    no_verify: Annotated[bool, option("--no-verify", help="Do not check the files against a manifest.")] = False,
    no_convert: Annotated[bool, option("--no-convert", help="Leave the files as they were published.")] = False,
    no_boot: Annotated[bool, option("--no-boot", help="Do not run the weights.")] = False,
) -> None:
    """Fetch, verify, convert and boot in one go. Run again, it does only what is missing."""
    from magnetar.pipeline.get import GetRequest, Got, check_format
    from magnetar.pipeline.get import get as get_release
    from magnetar.pipeline.target import identify_target
    from magnetar.render.commands.get import draw_got

    def work(emit: "Emit") -> Got:
        if not no_convert:
            check_format(to)  # first: to tell what TARGET means may take a download
        request = GetRequest(
            wanted=identify_target(target, proxy=fetching.proxy),
            parent=directory,
            target=None if no_convert else to,
            check=not no_verify,
            smoke_test=not no_boot,
            options=fetching.options(),
            use_mirrors=fetching.mirrors,
        )
        return get_release(request, emit)

    finish("get", display, work, draw_got)
