"""From what the user names to a folder of bytes: targets, and fetching them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.errors import MetadataTimeout, UsageError
from magnetar.events import Emit, ignore
from magnetar.fetch.download import Fetched, fetch, ignore_fetched
from magnetar.fetch.magnet import Magnet, looks_like_magnet, parse_magnet
from magnetar.fetch.metainfo import load_torrent, read_torrent
from magnetar.fetch.mirror import FileMirror, Mirror, ReleaseMirror
from magnetar.fetch.options import FetchOptions
from magnetar.fetch.plan import FetchPlan, plan_fetch
from magnetar.manifests.catalog import catalog, find_by_infohash, find_release
from magnetar.manifests.schema import Manifest
from magnetar.model.bundled import NAME as BUNDLED
from magnetar.model.bundled import bundled_release


@dataclass(frozen=True, slots=True)
class Wanted:
    """What TARGET means: where to get it, and the release of the catalog that it is, if it is one."""

    source: Magnet | Path | bytes
    manifest: Manifest | None


def resolve_target(text: str, *, proxy: str = "") -> Wanted:
    """What the user named: a release of the catalog, a .torrent file or its URL, a magnet link, or an infohash.

    Raises ``UsageError`` for a name that nothing has, ``MagnetError`` for a link beyond healing, ``OutsideError``
    for a URL that does not answer. ``proxy`` is that of the environment unless one is given.
    """
    path = Path(text)
    if text.lower() in catalog():
        return _from_catalog(find_release(text))
    if path.is_file():
        return _from_torrent(path)
    if text.startswith(("http://", "https://")):
        from magnetar.fetch.torrent_file import download_torrent  # urllib3, which few fetches need

        return _from_torrent(download_torrent(text, proxy=proxy))
    if path.suffix == ".torrent":
        raise UsageError(f"{path}: there is no such file", hint="check the path")
    if not looks_like_magnet(text):
        return _from_catalog(find_release(text))
    magnet = parse_magnet(text)
    return Wanted(magnet, find_by_infohash(magnet.infohash_v1, magnet.infohash_v2))


def _from_torrent(source: Path | bytes) -> Wanted:
    metadata = read_torrent(source) if isinstance(source, bytes) else load_torrent(source)
    return Wanted(source, find_by_infohash(metadata.infohash_v1, metadata.infohash_v2))


def _from_catalog(manifest: Manifest) -> Wanted:
    if manifest.magnet is None:
        raise UsageError(f"{manifest.name}: the catalog knows no magnet link for it", hint="give a link or a .torrent")
    return Wanted(parse_magnet(manifest.magnet), manifest)


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
