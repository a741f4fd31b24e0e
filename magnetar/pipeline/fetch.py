"""From what the user names to a folder of bytes: targets, and fetching them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from magnetar.errors import MetadataTimeout
from magnetar.events import Emit, ignore
from magnetar.fetch.download.fetch import Fetched, fetch, ignore_fetched
from magnetar.fetch.download.fetch_plan import FetchPlan, plan_fetch
from magnetar.fetch.request.mirrors import FileMirror, Mirror, ReleaseMirror
from magnetar.fetch.request.options import FetchOptions
from magnetar.manifests.schema import Manifest
from magnetar.model.bundled import NAME as BUNDLED
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.target import Wanted


def fetch_release(
    wanted: Wanted,
    parent: Path,
    options: FetchOptions,
    use_mirrors: bool = True,
    finished: Callable[[Fetched], None] = ignore_fetched,
    emit: Emit = ignore,
) -> Fetched:
    """Fetch what was named into ``parent/NAME``, from the manifest's mirrors too; raises as ``fetch`` does.

    ``finished`` is called when every piece is here: this returns later where the options say to stay and seed.
    """
    if wanted.manifest is not None:
        options = replace(options, info_digest=wanted.manifest.info)
    if use_mirrors and wanted.manifest is not None:
        options = replace(options, mirrors=(*options.mirrors, *mirrors_of(wanted.manifest)))
    try:
        return fetch(wanted.source, parent, options=options, finished=finished, emit=emit)
    except MetadataTimeout as error:
        if wanted.manifest is not None and wanted.manifest.name == BUNDLED:
            error.hint = f"{BUNDLED} ships with Magnetar, in {bundled_release()}: `magnetar demo` serves and fetches it"
        raise


def plan_release(wanted: Wanted, parent: Path, options: FetchOptions, emit: Emit = ignore) -> FetchPlan:
    """What ``fetch_release`` would do; nothing is written. Raises as ``plan_fetch`` does."""
    return plan_fetch(wanted.source, parent, options=options, emit=emit)


def mirrors_of(manifest: Manifest) -> Iterator[Mirror]:
    """The mirrors that a manifest lists, for the whole release and for single files."""
    for mirror in manifest.mirrors:
        yield ReleaseMirror(mirror.url)
    for file in manifest.files or ():
        for place in file.mirrors:
            yield FileMirror(file.path, place.url, place.offset, place.parts)
