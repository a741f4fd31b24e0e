"""``magnetar repair``: fetch again only what is damaged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.shared import ManifestChoice
from magnetar.cli.options.swarm import DownloadFlags

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.pipeline.repair import RepairedRelease, ReplacedRelease

EXAMPLES = "Examples: magnetar repair mixtral-8x7b-32kseqlen; magnetar repair my-copy --adopt /mnt/backup"


@flag_groups
def repair(
    download: DownloadFlags,
    display: DisplayFlags,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a release that was fetched.")],
    manifest: ManifestChoice = None,
    torrent: Annotated[
        Path | None,
        option(
            "--torrent",
            metavar="FILE",
            dir_okay=False,
            help="The torrent of the release. By default, the one that the folder was fetched by, or the release's.",
        ),
    ] = None,
) -> None:
    """Fetch again only the damaged pieces, or without a torrent whole files. Stopped, it goes on when run again."""
    from magnetar.pipeline.folder.release_folder import require_folder
    from magnetar.pipeline.repair import RepairRequest, repair_release
    from magnetar.render.commands.repair import draw_repaired

    options = download.options()

    def work(emit: "Emit") -> "RepairedRelease | ReplacedRelease":
        request = RepairRequest(
            folder=require_folder(path, hint="name the folder of a release"),
            named=manifest,
            torrent=torrent,
            options=options,
            use_mirrors=download.mirrors,
        )
        return repair_release(request, emit)

    finish("repair", display, work, draw_repaired)
