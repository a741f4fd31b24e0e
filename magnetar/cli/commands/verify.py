"""``magnetar verify`` and ``magnetar same``: whether the bytes, and the weights, are what they should be."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.shared import ManifestChoice, Showing, finish, gathers, option
from magnetar.cli.options.signer import Demanding

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.manifests.checking.report import VerifyReport
    from magnetar.pipeline.proving.verify_copy import ProvenCopy

EXAMPLES = "Examples: magnetar verify mixtral-8x7b-32kseqlen; magnetar verify model.gguf -m austen-moe"


@gathers("showing", Showing)
@gathers("demanding", Demanding)
def verify(
    showing: Showing,
    demanding: Demanding,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A release's folder, or a converted copy of it.")],
    manifest: ManifestChoice = None,
    reference: Annotated[
        Path | None, option("--reference", metavar="PATH", help="The release, for the error of a quantised copy.")
    ] = None,
    quick: Annotated[bool, option("--quick", help="Believe an earlier run of files unchanged since.")] = False,
    strict: Annotated[bool, option("--strict", help="Files that the release does not have are wrong.")] = False,
    fail_fast: Annotated[bool, option("--fail-fast", help="Stop at the first thing that is wrong.")] = False,
) -> None:
    """Hold every file against its digests; of a converted copy, every tensor. Exit 5: not the release; 8: not all."""
    from magnetar.pipeline.folder.release_folder import ReleaseFolder
    from magnetar.pipeline.verify import VerifyRequest
    from magnetar.pipeline.verify import verify as verify_release
    from magnetar.render.verify import draw_verified

    def work(emit: "Emit") -> "VerifyReport | ProvenCopy":
        request = VerifyRequest(
            folder=ReleaseFolder.read(path),
            named=manifest,
            signed_by=demanding.demand(),
            quick=quick,
            strict=strict,
            fail_fast=fail_fast,
            reference=reference,
        )
        return verify_release(request, emit)

    finish("verify", showing, work, draw_verified)
