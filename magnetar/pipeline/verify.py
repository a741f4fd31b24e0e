"""``verify``: whether a folder is a release, file by file, or a converted copy of one, tensor by tensor."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import UsageError
from magnetar.events import Emit, Remarked, Skipped, ignore
from magnetar.manifests.checking.verify_report import VerifyReport
from magnetar.manifests.folder.layout import SIGNATURE
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.verify_request import VerifyRequest

if TYPE_CHECKING:  # a proof of tensors brings numpy
    from magnetar.manifests.checking.choose_manifest import ChosenManifest
    from magnetar.pipeline.proving.verify_copy import ProvenCopy

__all__ = ["VerifyRequest", "verify"]


def verify(request: VerifyRequest, emit: Emit = ignore) -> "VerifyReport | ProvenCopy":
    """Hold a folder, or a file of weights, against its release.

    Raises ``UsageError`` where nothing says which release it should be, ``WrongBytesError`` where the signature that
    was asked for is missing or wrong. What is wrong with the files or tensors is in the result.
    """
    if request.signed_by is not None:
        from magnetar.pipeline.proving.signed_folder import check_signed_folder, is_signed_as_folder
        from magnetar.pipeline.proving.signed_manifest import check_signed
        from magnetar.pipeline.proving.verify_files import verify_files

        if is_signed_as_folder(request.folder, request.named, request.signed_by):
            whole = check_signed_folder(request.folder, request.signed_by, emit)
            if whole is not None:
                return verify_files(request, emit, whole.choose())
        signed = check_signed(request.folder, request.named, request.signed_by, emit)
        found = _verify_unsigned(replace(request, named=str(signed.path), strict=True), emit)
        return signed.credit(found)
    if request.fetched is None:
        _remark_on_signature(request.folder, request.named, emit)
    return _verify_unsigned(request, emit)


def _verify_unsigned(request: VerifyRequest, emit: Emit) -> "VerifyReport | ProvenCopy":
    from magnetar.pipeline.proving.verify_files import verify_files

    if request.fetched is not None:
        return verify_files(request, emit)
    from magnetar.pipeline.proving.copies import is_copy

    choice = _find_release(request)
    if choice is not None and is_copy(request.folder, choice.manifest):
        from magnetar.pipeline.proving.verify_copy import verify_copy

        if request.quick or request.fail_fast:
            emit(Skipped("--quick and --fail-fast", "a converted copy is read whole, in one pass"))
        return verify_copy(request.folder, choice, reference=request.reference, strict=request.strict, emit=emit)
    if request.reference is not None:
        emit(Skipped("--reference", "these are the release's own files, and digests prove them"))
    return verify_files(request, emit, choice)


def _find_release(request: VerifyRequest) -> "ChosenManifest | None":
    """What to hold the folder against; None where only the pieces of its kept torrent can decide."""
    from magnetar.pipeline.proving.find_release import find_release_of

    try:
        return find_release_of(request.folder, request.named)
    except UsageError:
        if request.named is not None or not request.folder.is_folder or not request.folder.torrent:
            raise
        return None


def _remark_on_signature(folder: ReleaseFolder, named: str | None, emit: Emit) -> None:
    """A signature that nobody asked about is not shown as trust, and not passed over either."""
    manifest = Path(named) if named else folder.published
    if manifest is not None and manifest.with_name(manifest.name + SIGNATURE).is_file():
        emit(Remarked(f"{manifest}: has a signature, which adds no trust until you say whose: --public-key FILE"))
