"""``magnetar repair``: fetch again only what is damaged."""

from pathlib import Path
from typing import Annotated

import typer

from magnetar.cli.options.shared import ManifestChoice, Showing, finish, gathers, option
from magnetar.cli.options.swarm import Taking

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
    from magnetar.pipeline.repair import repair_release
    from magnetar.render.swarm import draw_repaired

    options = taking.options()
    finish(
        "repair",
        showing,
        lambda emit: repair_release(
            path, named=manifest, torrent=torrent, options=options, use_mirrors=taking.mirrors, emit=emit
        ),
        draw_repaired,
    )
