"""Options of ``magnetar publish``: what the publisher says, how the torrent is made, and how the manifest is signed."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from magnetar.cli.options.amounts import parse_power_of_two
from magnetar.cli.options.groups import option
from magnetar.errors import UsageError

if TYPE_CHECKING:
    from magnetar.fetch.torrent.create_torrent import TorrentOptions
    from magnetar.manifests.signing.sign import Signing
    from magnetar.pipeline.publish import Claims

claim_option = partial(option, rich_help_panel="What the publisher says")
torrent_option = partial(option, rich_help_panel="The torrent")
signing_option = partial(option, rich_help_panel="The signature")


@dataclass(frozen=True, slots=True)
class ClaimFlags:
    """What the publisher says of the release."""

    name: Annotated[
        str,
        claim_option(
            "--name",
            help="The name of the release: small letters, digits, and . _ -. By default, made of the folder's name.",
        ),
    ] = ""
    title: Annotated[
        str, claim_option("--title", help="The name for people, with spaces. By default, the folder's name.")
    ] = ""
    publisher: Annotated[
        str, claim_option("--publisher", help="The publisher: a person or an organisation. By default, unknown.")
    ] = ""
    licence: Annotated[
        str, claim_option("--licence", help="The licence, as an SPDX identifier: Apache-2.0. By default, unknown.")
    ] = ""
    summary: Annotated[str, claim_option("--summary", help="What the release is, in one line.")] = ""
    published: Annotated[
        datetime | None,
        claim_option(
            "--published",
            metavar="YYYY-MM-DD",
            formats=["%Y-%m-%d"],
            help="The date of publication. By default, the manifest has none.",
        ),
    ] = None

    def claims(self) -> "Claims":
        """The claims as ``publish`` takes them."""
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
class TorrentFlags:
    """How the torrent of the release is made."""

    torrent_version: Annotated[
        Literal["hybrid", "v2", "v1"],
        torrent_option(
            "--torrent-version",
            help="The version of the BitTorrent format. hybrid serves clients of both; some tools, such as aria2c, "
            "read v1 only.",
        ),
    ] = "hybrid"
    tracker: Annotated[
        list[str] | None,
        torrent_option("--tracker", metavar="URL", help="Name this tracker in the torrent and the link. Repeatable."),
    ] = None
    web_seed: Annotated[
        list[str] | None,
        torrent_option(
            "--web-seed",
            metavar="URL",
            help="Name this HTTP server in the torrent: a file is at URL/DIR/FILE. Repeatable.",
        ),
    ] = None
    comment: Annotated[str, torrent_option("--comment", help="A comment in the torrent, which clients show.")] = ""
    piece_length: Annotated[
        int | None,
        torrent_option(
            "--piece-length",
            parser=parse_power_of_two,
            metavar="SIZE",
            help="The length of a piece: a power of two, like 4M. By default it is chosen by the size of the release.",
        ),
    ] = None
    private: Annotated[
        bool,
        torrent_option("--private", help="Make a private torrent: peers are found through its own trackers only."),
    ] = False

    def options(self) -> "TorrentOptions":
        """The torrent as it is to be made."""
        from magnetar.fetch.torrent.create_torrent import TorrentOptions

        return TorrentOptions(
            version=self.torrent_version,
            piece_length=self.piece_length,
            trackers=tuple(self.tracker or ()),
            web_seeds=tuple(self.web_seed or ()),
            comment=self.comment,
            private=self.private,
        )


@dataclass(frozen=True, slots=True)
class SigningFlags:
    """How the manifest is signed."""

    sign: Annotated[
        Literal["key", "certificate", "sigstore"] | None,
        signing_option(
            "--sign",
            help="Sign with --key; with --key and its --certificate; or with Sigstore, which [bold]publishes your "
            "e-mail address[/bold] in a public log. A key or certificate signs the manifest and the files (model.sig), "
            "Sigstore the manifest. By default, nothing is signed. Needs magnetar\\[sign].",
        ),
    ] = None
    key: Annotated[
        Path | None,
        signing_option("--key", metavar="FILE", help="The private key: PEM, on the curve P-256, P-384 or P-521."),
    ] = None
    certificate: Annotated[
        Path | None, signing_option("--certificate", metavar="FILE", help="The certificate of the key (PEM).")
    ] = None
    chain: Annotated[
        list[Path] | None,
        signing_option(
            "--chain",
            metavar="FILE",
            help="A certificate (PEM) between the key's own and a root, or that root. Repeatable.",
        ),
    ] = None
    identity_token: Annotated[
        str,
        signing_option(
            "--identity-token",
            metavar="TOKEN",
            help="An OpenID Connect token for Sigstore. By default, a browser is opened to get one.",
        ),
    ] = ""

    def signing(self) -> "Signing | None":
        """The way of signing as ``publish`` takes it. Raises ``UsageError`` for what does not go together."""
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
