"""Convert a checkpoint, with what the catalog knows of its release: its name, licence, context length and digests."""

from dataclasses import replace

from magnetar.convert.write.convert import Converted, Forecast, convert, forecast
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.events import Emit, ignore
from magnetar.pipeline.folder.expectations import release_of
from magnetar.pipeline.folder.release_folder import ReleaseFolder


def convert_release(request: ConvertRequest, *, proven: bool = False, emit: Emit = ignore) -> Converted:
    """Convert a checkpoint. ``proven`` says that the source was just found to be its release.

    Only then do the digests of the release's manifest go into the record of what the output was made of.
    Raises what ``convert`` raises.
    """
    return convert(_add_what_is_known(request, proven), emit)


def forecast_release(request: ConvertRequest) -> Forecast:
    """What ``convert_release`` would do. Nothing is written. Raises what ``forecast`` raises."""
    return forecast(_add_what_is_known(request, proven=False))


def _add_what_is_known(request: ConvertRequest, proven: bool) -> ConvertRequest:
    manifest = release_of(ReleaseFolder.read(request.source))
    if manifest is None:
        return request
    known = replace(
        request,
        release=manifest.name,
        licence=manifest.licence,
        context_length=manifest.architecture.context_length,
    )
    if not proven:
        return known
    digests = {file.path: digest for file in manifest.files or () for digest in file.digests if not digest.weak}
    return replace(known, digests={path: str(digest) for path, digest in digests.items()})
