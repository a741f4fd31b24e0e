"""``magnetar publish``: a folder of weights becomes a release."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from magnetar.cli.options.shared import Showing, finish, gathers, option, parse_power_of_two
from magnetar.events import ProgressStyle

if TYPE_CHECKING:
    from magnetar.manifests.signing.sign import Signing
    from magnetar.pipeline.publish import Claims

EXAMPLES = (
    "Examples: magnetar publish my-model --publisher 'My Lab' --licence MIT --tracker udp://t.example:1337; "
    "magnetar publish my-model --sign key --key lab.pem"
)

claim = partial(option, rich_help_panel="What the publisher says")
torrent = partial(option, rich_help_panel="The torrent")
signature = partial(option, rich_help_panel="The signature")


@dataclass(frozen=True, slots=True)
class Claiming:
    """What the publisher says of the release."""

    name: Annotated[str, claim("--name", help="Its name; the default is that of the folder.")] = ""
    title: Annotated[str, claim("--title", help="Its name as people say it.")] = ""
    publisher: Annotated[str, claim("--publisher", help="Who publishes it.")] = ""
    licence: Annotated[str, claim("--licence", help="An SPDX identifier: Apache-2.0.")] = ""
    summary: Annotated[str, claim("--summary", help="What it is, in a line.")] = ""
    published: Annotated[datetime | None, claim("--published", formats=["%Y-%m-%d"], help="The day.")] = None

    def claims(self) -> "Claims":
        """The same, as ``publish`` takes it."""
        from magnetar.pipeline.publish import Claims

        return Claims(
            name=self.name,
            title=self.title,
            publisher=self.publisher,
            licence=self.licence,
            summary=self.summary,
            published=self.published.date() if self.published else None,
        )


@dataclass(frozen=True, slots=True)
class Signs:
    """How the manifest is signed."""

    sign: Annotated[
        Literal["key", "certificate", "sigstore"] | None,
        signature(
            "--sign",
            help="With --key; with --key and --certificate; or with Sigstore, which [bold]publishes your e-mail "
            "address[/bold] in a public log. Needs magnetar\\[sign].",
        ),
    ] = None
    key: Annotated[
        Path | None,
        signature("--key", metavar="FILE", help="A private key: PEM, P-256 to P-521."),
    ] = None
    certificate: Annotated[Path | None, signature("--certificate", metavar="FILE", help="The key's certificate.")] = (
        None
    )
    chain: Annotated[
        list[Path] | None,
        signature("--chain", metavar="FILE", help="What leads from it to a root. Repeatable."),
    ] = None
    identity_token: Annotated[str, signature("--identity-token", help="For Sigstore without a browser.")] = ""

    def signing(self) -> "Signing | None":
        """The same, as ``publish`` takes it. Raises ``UsageError`` for what does not go together."""
        from magnetar.errors import UsageError
        from magnetar.manifests.signing.sign import CertificateSigning, KeySigning, SigstoreSigning

        match self.sign, self.key, self.certificate:
            case None, None, None:
                return None
            case "key", Path() as key, None:
                return KeySigning(key)
            case "certificate", Path() as key, Path() as certificate:
                return CertificateSigning(key, certificate, tuple(self.chain or ()))
            case "sigstore", None, None:
                return SigstoreSigning(self.identity_token)
        raise UsageError(
            "these options of signing do not go together",
            hint="--sign key --key FILE; --sign certificate --key FILE --certificate FILE; or --sign sigstore",
        )


@gathers("showing", Showing)
@gathers("claiming", Claiming)
@gathers("signs", Signs)
def publish(
    showing: Showing,
    claiming: Claiming,
    signs: Signs,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the release. No file in it is touched.")],
    out: Annotated[
        Path | None, option("--out", "-o", metavar="DIR", help="Write there, not to DIR.magnetar.", file_okay=False)
    ] = None,
    torrent_version: Annotated[
        Literal["hybrid", "v2", "v1"],
        torrent(
            "--torrent-version", help="Hybrid serves clients of both versions. aria2c and other v1-only tools want v1."
        ),
    ] = "hybrid",
    tracker: Annotated[list[str] | None, torrent("--tracker", metavar="URL", help="Repeatable.")] = None,
    web_seed: Annotated[
        list[str] | None,
        torrent("--web-seed", metavar="URL", help="Where the folder lies by HTTP: URL/DIR/FILE. Repeatable."),
    ] = None,
    comment: Annotated[str, torrent("--comment", help="A line for whoever opens it.")] = "",
    piece_length: Annotated[
        int | None,
        torrent(
            "--piece-length",
            parser=parse_power_of_two,
            metavar="SIZE",
            help="A power of two, like 4M. Else it is chosen, and explained.",
        ),
    ] = None,
    private: Annotated[bool, torrent("--private", help="Peers come from its trackers alone.")] = False,
    no_tensors: Annotated[
        bool, option("--no-tensors", help="No digests of tensors: a converted copy cannot be proven.")
    ] = False,
    boot: Annotated[bool, option("--boot", help="Run the weights, and publish score and fingerprint.")] = False,
    golden: Annotated[
        Path | None, option("--golden", metavar="FILE", help="Publish this fingerprint: boot --make-golden.")
    ] = None,
) -> None:
    """Make a release of a folder: manifest, torrent, link, checksums, page, signature. Same folder, same bytes."""
    from magnetar.fetch.torrent.create import TorrentWish
    from magnetar.manifests.signing.sign import E_MAIL_IS_PUBLISHED
    from magnetar.pipeline.publish import Published, PublishRequest
    from magnetar.pipeline.publish import publish as make_public
    from magnetar.render.publish import draw_published, release_page

    def work(emit: Any) -> Published:
        wanted = TorrentWish(
            torrent_version, piece_length, tuple(tracker or ()), tuple(web_seed or ()), comment, private
        )
        request = PublishRequest(
            folder=folder,
            claims=claiming.claims(),
            torrent=wanted,
            out=out,
            signing=signs.signing(),
            tensors=not no_tensors,
            boot=boot,
            golden=golden,
        )
        return make_public(request, release_page, emit)

    if signs.sign == "sigstore" and (showing.quiet or showing.progress is ProgressStyle.NONE):
        typer.echo(E_MAIL_IS_PUBLISHED, err=True)  # not even the quiet are spared that
    finish("publish", showing, work, draw_published)
