"""Convert a checkpoint, with what is known of its release: its name, licence, context length and tensors' digests."""

from dataclasses import replace
from typing import TYPE_CHECKING

from magnetar.convert.write.convert import Converted, Forecast, convert, forecast
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import UsageError
from magnetar.events import Emit, Skipped, ignore
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.identity.evidence import Certainty
from magnetar.manifests.tensor_digests import TensorDigests, load_tensor_digests
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.find_release import find_release_of

if TYPE_CHECKING:  # it brings libtorrent
    from magnetar.fetch.download.fetch import Fetched


OF_THE_RELEASE = (Certainty.IS, Certainty.IS_NOT_QUITE, Certainty.CANDIDATE)
"""What some weights must be, by content, to be held against the tensors of a release of the catalog."""


def convert_release(
    request: ConvertRequest, *, fetched: "Fetched | None" = None, prove: bool = True, emit: Emit = ignore
) -> Converted:
    """Convert a checkpoint, and hold its tensors against the digests of its release in the pass that reads them.

    ``fetched`` is given for a download that has just ended: then the link says which release it is. ``prove`` is False
    where no manifest is to be asked. Raises what ``convert`` raises, and ``ManifestError`` for a broken manifest.
    """
    return convert(_add_what_is_known(request, fetched, prove, emit), emit)


def forecast_release(request: ConvertRequest) -> Forecast:
    """What ``convert_release`` would do. Nothing is written. Raises what ``forecast`` raises, and ``ManifestError``."""
    return forecast(_add_what_is_known(request, None, True, ignore))


def _add_what_is_known(request: ConvertRequest, fetched: "Fetched | None", prove: bool, emit: Emit) -> ConvertRequest:
    folder = ReleaseFolder.read(request.source)
    choice = _choose_fetched(folder, fetched) if fetched else _choose(folder)
    if choice is None:
        return request
    known = replace(
        request,
        release=choice.manifest.name,
        licence=choice.manifest.licence,
        context_length=choice.manifest.architecture.context_length,
    )
    if not prove or not request.check or choice.manifest.tensors is None:
        return known
    tensors = _read_tensors(choice, emit)
    return replace(known, tensors=tensors, listed_in=_name_manifest(folder, choice)) if tensors else known


def _choose(folder: ReleaseFolder) -> ChosenManifest | None:
    """The release that a folder is of; None if unknown.

    A fine-tune has the file names and the norms of its release, and is another model: its slices of large matrices
    differ. To convert it is no error.
    """
    try:
        choice = find_release_of(folder, None)
    except UsageError:
        return None
    if choice.voucher is Voucher.CATALOG and choice.manifest.tensors is not None:
        candidate = folder.candidate
        agrees = candidate is not None and candidate.release == choice.manifest.name
        return choice if agrees and candidate is not None and candidate.certainty in OF_THE_RELEASE else None
    return choice


def _choose_fetched(folder: ReleaseFolder, fetched: "Fetched") -> ChosenManifest | None:
    """The release that the link names. If the catalog has none, the publisher's own manifest may know something.

    File names make it no release of the catalog: that one has another link.
    """
    pinned = find_by_infohash(fetched.metadata.infohash_v1, fetched.metadata.infohash_v2)
    if pinned is not None:
        return ChosenManifest(pinned, "the release that the link names", Voucher.CATALOG)
    choice = _choose(folder)
    return choice if choice is not None and choice.voucher is Voucher.FOLDER else None


def _read_tensors(choice: ChosenManifest, emit: Emit) -> TensorDigests | None:
    """The digests that the manifest pins; None where their file is not beside it. Raises ``ManifestError``."""
    side = choice.manifest.tensors
    if side is None:
        return None
    path = choice.side_files / side.path
    if not path.is_file():
        emit(Skipped("the digests of tensors", f"there is no {path}", hint="get it from where the manifest came from"))
        return None
    return load_tensor_digests(path, side.digest)


def _name_manifest(folder: ReleaseFolder, choice: ChosenManifest) -> str:
    """In words, so that a manifest that came with the weights is not taken for the catalog's of the same name."""
    if choice.voucher is Voucher.CATALOG:
        return f"the catalog's manifest of {choice.manifest.name}"
    return "the manifest published beside the source" if folder.published is not None else "the source's own manifest"
