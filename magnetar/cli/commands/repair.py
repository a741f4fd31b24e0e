"""``magnetar repair``: fetch again only what is damaged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.shared import ManifestChoice, Showing, finish, gathers, option
from magnetar.cli.options.swarm import Taking

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.pipeline.repair import RepairedRelease, ReplacedRelease

EXAMPLES = "Examples: magnetar repair mixtral-8x7b-32kseqlen; magnetar repair my-copy --adopt /mnt/backup"


@gathers("showing", Showing)
@gathers("taking", Taking)
def repair(
    showing: Showing,
    taking: Taking,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a release that was fetched.")],
    manifest: ManifestChoice = None,
    torrent: Annotated[
        Path | None, option("--torrent", metavar="FILE", dir_okay=False, help="Its torrent, if it remembers none.")
    ] = None,
) -> None:
    """Fetch again only the damaged pieces; without a torrent, whole files by their digests. A stopped one goes on."""
    from magnetar.pipeline.folder.release_folder import require_folder
    from magnetar.pipeline.repair import RepairRequest, repair_release
    from magnetar.render.swarm import draw_repaired

    def work(emit: "Emit") -> "RepairedRelease | ReplacedRelease":
        request = RepairRequest(
            folder=require_folder(path, hint="name the folder of a release"),
            named=manifest,
            torrent=torrent,
            options=options,
            use_mirrors=taking.mirrors,
        )
        return repair_release(request, emit)

    options = taking.options()
    finish("repair", showing, work, draw_repaired)
