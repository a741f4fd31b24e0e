"""Options that say by whom a manifest must be signed."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from magnetar.cli.options.shared import option

if TYPE_CHECKING:
    from magnetar.manifests.signing.check import Expected
    from magnetar.pipeline.proving.signed_manifest import SignatureDemand

signer = partial(option, rich_help_panel="By whom the manifest must be signed")


@dataclass(frozen=True)
class Signed:
    """Who must have signed."""

    public_key: Annotated[
        Path | None, signer("--public-key", metavar="FILE", help="The owner of this key: PEM.", dir_okay=False)
    ] = None
    certificate: Annotated[
        list[Path] | None,
        signer(
            "--certificate", metavar="FILE", help="One that this root vouches for: PEM. Repeatable.", dir_okay=False
        ),
    ] = None
    identity: Annotated[
        str, signer("--identity", metavar="WHO", help="Whom Sigstore knows by this address. Asks its servers.")
    ] = ""
    issuer: Annotated[str, signer("--issuer", metavar="URL", help="Who vouches for that identity.")] = ""
    trust_config: Annotated[
        Path | None,
        signer(
            "--trust-config", metavar="FILE", help="Whom Sigstore trusts: its servers are not asked.", dir_okay=False
        ),
    ] = None

    def expected(self) -> "Expected | None":
        """The same, as ``check_signature`` takes it. Raises ``UsageError`` for what does not go together."""
        from magnetar.errors import UsageError

        if not (self.public_key or self.certificate or self.identity or self.issuer or self.trust_config):
            return None
        from magnetar.manifests.signing.check import ByCertificate, ByIdentity, ByKey
        from magnetar.manifests.signing.keys import read_key

        if sum(map(bool, (self.public_key, self.certificate, self.identity))) > 1:
            raise UsageError("one signer is enough", hint="--public-key, --certificate, or --identity")
        if bool(self.identity) != bool(self.issuer):
            raise UsageError(
                "--identity and --issuer belong together", hint="--issuer https://accounts.google.com, say"
            )
        if self.trust_config and not self.identity:
            raise UsageError("--trust-config says how an --identity is checked", hint="--identity WHO --issuer URL")
        if self.public_key:
            return ByKey(read_key(self.public_key), str(self.public_key))
        if self.certificate:
            return ByCertificate(tuple(self.certificate))
        return ByIdentity(self.identity, self.issuer, self.trust_config)


@dataclass(frozen=True)
class Demanding(Signed):
    """Who must have signed, and whether somebody must."""

    signature: Annotated[
        Path | None,
        signer("--signature", metavar="FILE", help="Where it is, if not beside the manifest.", dir_okay=False),
    ] = None
    require_signature: Annotated[
        bool,
        signer("--require-signature", help="By them, or by whom you have added to the catalog. Exit 5: it is not."),
    ] = False

    def demand(self) -> "SignatureDemand | None":
        """The same, as ``verify_signed`` takes it. Raises ``UsageError`` for what does not go together."""
        expected = self.expected()
        if expected is None and self.signature is None and not self.require_signature:
            return None
        from magnetar.pipeline.proving.signed_manifest import SignatureDemand

        return SignatureDemand(expected, self.signature)
