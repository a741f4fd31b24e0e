"""Options that say by whom a manifest must be signed."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from magnetar.cli.options.groups import option
from magnetar.errors import UsageError

if TYPE_CHECKING:
    from magnetar.manifests.signing.check import Expected
    from magnetar.pipeline.proving.signed_manifest import SignatureDemand

signer_option = partial(option, rich_help_panel="Who must have signed the manifest")


@dataclass(frozen=True)
class SignerFlags:
    """The signer that is accepted. At most one kind can be named."""

    public_key: Annotated[
        Path | None,
        signer_option(
            "--public-key", metavar="FILE", dir_okay=False, help="Accept the owner of this public key (PEM) only."
        ),
    ] = None
    certificate: Annotated[
        list[Path] | None,
        signer_option(
            "--certificate",
            metavar="FILE",
            dir_okay=False,
            help="Accept a signer whose certificate leads to this root (PEM), is valid now, and is for signing code. "
            "Repeatable.",
        ),
    ] = None
    subject: Annotated[
        str,
        signer_option(
            "--subject",
            metavar="NAME",
            help="With --certificate: the subject that the certificate must name: 'CN=My Lab,O=Example' or a part of "
            "that, a common name, or an alternative name such as an e-mail address.",
        ),
    ] = ""
    identity: Annotated[
        str,
        signer_option(
            "--identity",
            metavar="WHO",
            help="Accept this identity, such as an e-mail address, as proven by Sigstore. Asks Sigstore's servers.",
        ),
    ] = ""
    issuer: Annotated[
        str,
        signer_option(
            "--issuer",
            metavar="URL|NAME",
            help="With --identity: the identity provider that must vouch for it, such as https://accounts.google.com. "
            "With --certificate: the authority that must have issued it, named as for --subject.",
        ),
    ] = ""
    trust_config: Annotated[
        Path | None,
        signer_option(
            "--trust-config",
            metavar="FILE",
            dir_okay=False,
            help="Sigstore's roots of trust (a ClientTrustConfig in JSON). Its servers are then not asked.",
        ),
    ] = None

    def expected(self) -> "Expected | None":
        """The signer as ``check_signature`` takes it, or None. Raises ``UsageError`` for what does not go together."""
        named = (self.public_key, self.certificate, self.subject, self.identity, self.issuer, self.trust_config)
        if not any(named):
            return None
        from magnetar.manifests.signing.certificates import CertificateDemand
        from magnetar.manifests.signing.check import ByCertificate, ByIdentity, ByKey
        from magnetar.manifests.signing.keys import read_key

        self._refuse_what_does_not_go_together()
        if self.public_key:
            return ByKey(read_key(self.public_key), str(self.public_key))
        if self.certificate:
            return ByCertificate(tuple(self.certificate), CertificateDemand(self.subject, self.issuer))
        return ByIdentity(self.identity, self.issuer, self.trust_config)

    def _refuse_what_does_not_go_together(self) -> None:
        if sum(map(bool, (self.public_key, self.certificate, self.identity))) > 1:
            raise UsageError("one signer is enough", hint="--public-key, --certificate, or --identity")
        if self.identity and not self.issuer:
            raise UsageError(
                "--identity and --issuer belong together", hint="--issuer https://accounts.google.com, say"
            )
        if self.issuer and not (self.identity or self.certificate):
            raise UsageError("--issuer belongs to an --identity or a --certificate", hint="name one of these too")
        if self.subject and not self.certificate:
            raise UsageError("--subject is what a --certificate must name", hint="--certificate ROOT --subject NAME")
        if self.trust_config and not self.identity:
            raise UsageError("--trust-config says how an --identity is checked", hint="--identity WHO --issuer URL")


@dataclass(frozen=True)
class RequiredSignerFlags(SignerFlags):
    """The signer that is accepted, and whether there must be one."""

    signature: Annotated[
        Path | None,
        signer_option(
            "--signature",
            metavar="FILE",
            dir_okay=False,
            help="The signature of the manifest, or of the folder's files. By default, the file beside the manifest "
            "whose name ends in .sig, else a model.sig in or beside the folder.",
        ),
    ] = None
    require_signature: Annotated[
        bool,
        signer_option(
            "--require-signature",
            help="Refuse a manifest that is not signed by the signer named here, or else by the one that was "
            "remembered when you added the release to the catalog. Exit 5: it is not.",
        ),
    ] = False

    def demand(self) -> "SignatureDemand | None":
        """What is demanded of the signature, or None. Raises ``UsageError`` for what does not go together."""
        expected = self.expected()
        if expected is None and self.signature is None and not self.require_signature:
            return None
        from magnetar.pipeline.proving.signed_manifest import SignatureDemand

        return SignatureDemand(expected, self.signature)
