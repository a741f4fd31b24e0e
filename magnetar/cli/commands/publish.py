"""``magnetar publish``: a folder of weights becomes a release."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.publishing import ClaimFlags, SigningFlags, TorrentFlags
from magnetar.events import ProgressStyle

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.pipeline.publish import Published

EXAMPLES = (
    "Examples: magnetar publish my-model --publisher 'My Lab' --licence MIT --tracker udp://t.example:1337; "
    "magnetar publish my-model --sign key --key lab.pem"
)


@flag_groups
def publish(
    claim: ClaimFlags,
    torrent: TorrentFlags,
    signing: SigningFlags,
    display: DisplayFlags,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the release. No file in it is changed.")],
    out: Annotated[
        Path | None,
        option("--out", "-o", metavar="DIR", file_okay=False, help="The folder to write. By default, DIR.magnetar."),
    ] = None,
    no_tensors: Annotated[
        bool, option("--no-tensors", help="Compute no digests of tensors. Converted copies then cannot be proven.")
    ] = False,
    boot: Annotated[
        bool, option("--boot", help="Run the weights, and publish their score and fingerprint. Needs magnetar\\[boot].")
    ] = False,
    golden: Annotated[
        Path | None,
        option("--golden", metavar="FILE", help="Publish this fingerprint, which `boot --make-golden` made."),
    ] = None,
) -> None:
    """Make a release of a folder: manifest, torrent, link, checksums, page, signature. Same folder, same bytes."""
    from magnetar.manifests.signing.sign import E_MAIL_IS_PUBLISHED
    from magnetar.pipeline.publish import PublishRequest
    from magnetar.pipeline.publish import publish as make_public
    from magnetar.render.commands.publish import draw_published, release_page

    def work(emit: "Emit") -> "Published":
        request = PublishRequest(
            folder=folder,
            claims=claim.claims(),
            torrent=torrent.options(),
            out=out,
            signing=signing.signing(),
            tensors=not no_tensors,
            boot=boot,
            golden=golden,
        )
        return make_public(request, release_page, emit)

    if signing.sign == "sigstore" and (display.quiet or display.progress is ProgressStyle.NONE):
        typer.echo(E_MAIL_IS_PUBLISHED, err=True)  # shown even where no progress is
    finish("publish", display, work, draw_published)
