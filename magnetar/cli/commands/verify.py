"""``magnetar verify``: whether the files, or the tensors of a converted copy, are the release's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.shared import ManifestChoice
from magnetar.cli.options.signer import RequiredSignerFlags

if TYPE_CHECKING:
    from magnetar.events import Emit
    from magnetar.manifests.checking.verify_report import VerifyReport
    from magnetar.pipeline.proving.verify_copy import ProvenCopy

EXAMPLES = "Examples: magnetar verify mixtral-8x7b-32kseqlen; magnetar verify model.gguf -m austen-moe"


@flag_groups
def verify(
    signer: RequiredSignerFlags,
    display: DisplayFlags,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The folder of a release, or a converted copy of a release.")
    ],
    manifest: ManifestChoice = None,
    reference: Annotated[
        Path | None,
        option(
            "--reference",
            metavar="PATH",
            help="The release itself, to measure the error of a rounded or quantised copy.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        option(
            "--quick",
            help="Do not read files again that an earlier run found good, with the same size, mtime, ctime, inode and "
            "device. Does not see a disk that went bad, writes to the raw device, or a clock that root set back.",
        ),
    ] = False,
    strict: Annotated[bool, option("--strict", help="Count files that the release does not have as wrong.")] = False,
    attest: Annotated[
        Path | None,
        option("--attest", metavar="FILE", help="Write what was found to FILE, as an in-toto statement."),
    ] = None,
    fail_fast: Annotated[bool, option("--fail-fast", help="Stop at the first thing that is wrong.")] = False,
) -> None:
    """Say whether everything in PATH is the release's, and list what was not checked: files, or a copy in any format.

    Exit 5: not the release; 8: not all was checked; 4: not all could be read.
    """
    from magnetar.pipeline.folder.release_folder import ReleaseFolder
    from magnetar.pipeline.verify import VerifyRequest
    from magnetar.pipeline.verify import verify as verify_release
    from magnetar.render.commands.verify import draw_verified

    def work(emit: "Emit") -> "VerifyReport | ProvenCopy":
        request = VerifyRequest(
            folder=ReleaseFolder.read(path),
            named=manifest,
            signed_by=signer.demand(),
            quick=quick,
            strict=strict,
            fail_fast=fail_fast,
            reference=reference,
        )
        if attest is None:
            return verify_release(request, emit)
        from magnetar.pipeline.attest import verify_and_attest

        return verify_and_attest(request, attest, datetime.now(UTC), emit)

    finish("verify", display, work, draw_verified)
