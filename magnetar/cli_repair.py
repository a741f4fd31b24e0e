"""``magnetar repair``: fetch again only what is damaged."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli_options import ManifestChoice, Showing, finish, gathers, option
from magnetar.cli_swarm import Meeting, Rate, parse_duration, payload, swarm

if TYPE_CHECKING:
    from magnetar.fetch.options import FetchOptions

EXAMPLES = "Examples: magnetar repair mixtral-8x7b-32kseqlen; magnetar repair my-copy --adopt /mnt/backup"


@dataclass(frozen=True)
class Repairing(Meeting):
    """Where good pieces may come from."""

    adopt: Annotated[
        list[Path] | None,
        payload("--adopt", metavar="PATH", exists=True, help="Take good pieces from there first. Repeatable."),
    ] = None
    mirror: Annotated[
        list[str] | None,
        payload("--mirror", metavar="URL", help="A folder, tar or file to take by HTTP. Repeatable."),
    ] = None
    mirrors: Annotated[bool, payload("--mirrors/--no-mirrors", help="Use the mirrors of the release's manifest.")] = (
        True
    )
    stall_timeout: Annotated[float, swarm(parser=parse_duration, metavar="TIME", help="Longest wait for payload.")] = (
        300.0
    )
    download_limit: Rate = None
    upload: Annotated[bool, swarm("--upload/--no-upload", help="Give while taking.")] = True

    def options(self) -> "FetchOptions":
        """The same, as ``repair`` takes it."""
        from magnetar.fetch.mirror import ReleaseMirror
        from magnetar.fetch.options import FetchOptions

        return FetchOptions(
            **self._shared(),
            adopt=tuple(self.adopt or ()),
            mirrors=tuple(ReleaseMirror(url, named=True) for url in self.mirror or ()),
            stall_timeout=self.stall_timeout,
            download_limit=self.download_limit,
            upload=self.upload,
        )


@gathers("showing", Showing)
@gathers("repairing", Repairing)
def repair(
    showing: Showing,
    repairing: Repairing,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a release that was fetched.")],
    manifest: ManifestChoice = None,
    torrent: Annotated[
        Path | None, option("--torrent", metavar="FILE", dir_okay=False, help="Its torrent, if it remembers none.")
    ] = None,
) -> None:
    """Fetch again only the damaged pieces. No good byte is touched, and a repair that was stopped goes on."""
    from magnetar.pipeline_repair import repair_release
    from magnetar.render_swarm import draw_repaired

    options = repairing.options()
    finish(
        "repair",
        showing,
        lambda emit: repair_release(
            path, named=manifest, torrent=torrent, options=options, use_mirrors=repairing.mirrors, emit=emit
        ),
        draw_repaired,
    )
