"""Looking without fetching and without running: links, torrents, and checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from magnetar.convert.read.checkpoint_source import open_checkpoint, open_source
from magnetar.errors import ConversionError, UsageError
from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.torrent.metadata import magnet_of
from magnetar.fetch.torrent.metainfo import read_torrent, read_torrent_file
from magnetar.files import is_path_of
from magnetar.manifests.catalog import find_by_infohash
from magnetar.manifests.schema import Manifest
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.target import identify_target


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file that a torrent or a manifest lists; ``size`` in bytes, None if unknown."""

    path: str
    size: int | None


@dataclass(frozen=True, slots=True)
class SeenTorrent:
    """What a link or a .torrent says. ``files`` is None where only the metadata, from the swarm, would tell."""

    kind: Literal["magnet", "torrent"]
    name: str
    infohash_v1: str
    infohash_v2: str
    trackers: tuple[str, ...]
    healed: tuple[str, ...]
    files: tuple[SeenFile, ...] | None
    piece_length: int | None
    private: bool
    release: str | None
    magnet: str


@dataclass(frozen=True, slots=True)
class SeenTensor:
    """A tensor at rest."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class SeenWeights:
    """What a checkpoint holds. ``layout`` is None, and ``reason`` says why, where we know no layout for it.

    ``candidate`` says in words which release of the catalog it may be by content; empty where none is known.
    """

    kind: Literal["weights"]
    path: str
    container: str
    layout: str | None
    reason: str
    total_parameters: int
    active_parameters: int | None
    bytes: int
    dtypes: tuple[str, ...]
    tensor_count: int
    tensors: tuple[SeenTensor, ...] | None
    candidate: str


Inspection = SeenTorrent | SeenWeights


def inspect(text: str, *, tensors: bool = False) -> Inspection:
    """Look at a link, a name of the catalog, a .torrent file, a checkpoint file, or a folder of weights.

    ``tensors`` lists every tensor of weights. Raises what the readers raise.
    """
    path = Path(text)
    is_folder, is_file = (is_path_of(text, kind) for kind in (Path.is_dir, Path.is_file))
    if is_folder or (is_file and path.suffix != ".torrent"):
        return inspect_weights(ReleaseFolder.read(path), tensors)
    wanted = identify_target(text)
    if isinstance(wanted.source, Magnet):
        return _inspect_magnet(wanted.source, wanted.manifest)
    return _inspect_torrent(wanted.source if isinstance(wanted.source, bytes) else read_torrent_file(wanted.source))


def _inspect_magnet(magnet: Magnet, manifest: Manifest | None) -> SeenTorrent:
    listed = manifest.files if manifest else None
    return SeenTorrent(
        kind="magnet",
        name=magnet.name,
        infohash_v1=magnet.infohash_v1,
        infohash_v2=magnet.infohash_v2,
        trackers=magnet.trackers,
        healed=magnet.healed,
        files=None if listed is None else tuple(SeenFile(file.path, file.size) for file in listed),
        piece_length=None,
        private=False,
        release=manifest.name if manifest else None,
        magnet=str(magnet),
    )


def _inspect_torrent(torrent: bytes) -> SeenTorrent:
    metadata = read_torrent(torrent)
    release = find_by_infohash(metadata.infohash_v1, metadata.infohash_v2)
    return SeenTorrent(
        kind="torrent",
        name=metadata.name,
        infohash_v1=metadata.infohash_v1,
        infohash_v2=metadata.infohash_v2,
        trackers=metadata.trackers,
        healed=(),
        files=tuple(SeenFile(str(file.path), file.size) for file in metadata.files),
        piece_length=metadata.piece_length,
        private=metadata.private,
        release=release.name if release else None,
        magnet=str(magnet_of(metadata)),
    )


def inspect_weights(folder: ReleaseFolder, tensors: bool) -> SeenWeights:
    """What the checkpoint holds; its layout, if its configuration is there and they agree."""
    checkpoint = open_checkpoint(folder.path)
    try:
        layout, reason, active = _find_layout(folder.path)
        specs = checkpoint.specs.values()
        seen = (SeenTensor(spec.name, spec.dtype, spec.shape, spec.nbytes) for spec in specs) if tensors else None
        return SeenWeights(
            kind="weights",
            path=str(folder.path),
            container=checkpoint.container,
            layout=layout,
            reason=reason,
            total_parameters=checkpoint.parameters,
            active_parameters=active,
            bytes=checkpoint.nbytes,
            dtypes=tuple(sorted({spec.dtype for spec in specs})),
            tensor_count=len(specs),
            tensors=None if seen is None else tuple(seen),
            candidate=folder.candidate.describe() if folder.candidate else "",
        )
    finally:
        checkpoint.close()


def _find_layout(path: Path) -> tuple[str | None, str, int | None]:
    try:
        with open_source(path) as source:
            return source.layout, source.reason, source.architecture.active_parameters
    except (ConversionError, UsageError) as error:
        return None, error.message, None
