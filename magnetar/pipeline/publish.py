"""Publishing: a folder of weights becomes a release that others can fetch, prove and trust."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from magnetar.errors import MagnetarError, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.download.state_folder import State, read_kept_torrent
from magnetar.fetch.torrent.create import Draft, TorrentWish
from magnetar.fetch.torrent.metadata import Metadata, magnet_of
from magnetar.fetch.torrent.metainfo import info_digest, read_torrent
from magnetar.files import disk_failure, hold_folder, replace_file
from magnetar.manifests.checking.unfinished_hashes import UnfinishedHashes
from magnetar.manifests.checksum_lists import write_checksums
from magnetar.manifests.folder.layout import SIGNATURE, SIGNERS_KEY, publication_folder
from magnetar.manifests.schema import Manifest, Mirror
from magnetar.manifests.signing.check import Signer
from magnetar.manifests.signing.keys import read_key
from magnetar.manifests.signing.sign import E_MAIL_IS_PUBLISHED, ManifestSigner, Signing, SigstoreSigning
from magnetar.manifests.writing.create import assemble_manifest, plain_name, to_toml
from magnetar.pipeline.publishing.describe_weights import describe_weights
from magnetar.pipeline.publishing.hash_files import hash_files

SUMS = {"sha256": "SHA256SUMS", "blake3": "B3SUMS"}


@dataclass(frozen=True, slots=True)
class PublishWish:
    """How to publish. ``claims`` are what the publisher says, by the names of the manifest's schema.

    ``out`` is the folder for what says so; None is ``DIR.magnetar``, beside the folder. ``boot`` runs the weights, and
    states what the smoke test found; ``golden`` is a fingerprint that is there already.
    """

    claims: Mapping[str, Any] = field(default_factory=dict)
    torrent: TorrentWish = field(default_factory=TorrentWish)
    out: Path | None = None
    signing: Signing | None = None
    tensors: bool = True
    boot: bool = False
    golden: Path | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What was published: the manifest, the torrent's numbers in bytes, and the files that were written.

    ``piece_rule`` says that the piece length was chosen, not asked for. ``not_done`` says what is missing, and why.
    ``recalled`` are the files that a run that was stopped had hashed, and ``recalled_tensors`` counts the tensors that
    it had digested: they were not read in this one.
    """

    folder: Path
    out: Path
    manifest: Manifest
    total_size: int
    piece_length: int
    piece_count: int
    piece_rule: bool
    version: str
    signer: Signer | None
    kept: bool
    not_done: tuple[str, ...]
    recalled: tuple[str, ...] = ()
    recalled_tensors: int = 0
    written: tuple[Path, ...] = ()


Page = Callable[[Published], str]
"""Draws the release's page, in Markdown."""


def publish(folder: Path, wish: PublishWish, page: Page, emit: Emit = ignore) -> Published:
    """Describe ``folder`` for others: manifest, torrent, magnet link, checksum files, tensors' digests, a page.

    The same folder and wish give the same bytes, a signature that still holds included. ``magnetar seed`` then serves
    the folder under that very infohash. What a run that was stopped has read is not read again, unless it changed.
    Raises ``UsageError``, ``OutsideError`` or ``BootError``, and has then written nothing but notes in the user's
    cache, unless the disk refused.
    """
    draft = Draft(folder, wish.torrent)
    tool = _open_tool(draft.folder, wish.signing, emit)
    name = wish.claims.get("name") or plain_name(draft.folder.name)
    if not name:
        raise UsageError(
            f"{draft.folder}: a release's name has letters of a to z or digits", hint="say one with --name"
        )
    claims = {"title": draft.folder.name, "publisher": "unknown", "licence": "unknown", **wish.claims, "name": name}
    assemble_manifest(draft.folder, (), claims)  # what is wrong with them is said before a byte is read
    out = _choose_place(draft.folder, name, wish.out)
    with hold_folder(draft.folder) as writable:
        asked: Any = {"tensors": wish.tensors, "boot": wish.boot, "golden": wish.golden}
        notes = UnfinishedHashes(draft.folder)
        weights = describe_weights(draft.folder, name, notes, **asked, emit=emit)
        hashed = hash_files(draft, notes, emit)
        torrent = draft.finish()
        metadata = read_torrent(torrent)
        manifest = assemble_manifest(draft.folder, hashed.files, claims | weights.facts | _facts_of(torrent, metadata))
        published = Published(
            draft.folder,
            out,
            manifest,
            metadata.total_size,
            metadata.piece_length,
            metadata.piece_count,
            wish.torrent.piece_length is None,
            wish.torrent.version,
            tool.signer if tool else None,
            writable,
            weights.not_done,
            hashed.recalled,
            weights.recalled,
        )
        documents = weights.documents | {
            f"{name}.torrent": torrent,
            f"{name}.magnet": f"{manifest.magnet}\n".encode(),
            **{sums: write_checksums(hashed.files, algorithm).encode() for algorithm, sums in SUMS.items()},
            f"{name}.md": page(published).encode(),
        }
        written = [_write(out / one, content) for one, content in documents.items()]
        written += _write_manifest(out / f"{name}.toml", to_toml(manifest).encode(), tool)
        if writable:
            _remember(draft.folder, torrent, metadata, emit)
        notes.clear()
    return replace(published, written=tuple(written))


def _open_tool(folder: Path, signing: Signing | None, emit: Emit) -> ManifestSigner | None:
    if isinstance(signing, SigstoreSigning):
        emit(Remarked(E_MAIL_IS_PUBLISHED))
    elif signing and signing.key.resolve().is_relative_to(folder):
        raise UsageError(f"{signing.key}: a private key, in the folder that is published", hint="move it away first")
    return ManifestSigner(signing) if signing else None


def _choose_place(folder: Path, name: str, out: Path | None) -> Path:
    """The folder to write to: outside of the payload, and not that of another release."""
    place = (out or publication_folder(folder)).resolve()
    if place.is_relative_to(folder):
        raise UsageError(
            f"{place}: lies in the folder that is published, and would become part of it", hint="--out DIR"
        )
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place}: is not a folder", hint="name another with --out")
    others = sorted(path.name for path in place.glob("*.toml") if path.name != f"{name}.toml")
    if others:
        raise UsageError(f"{place}: holds what says so of another release, {others[0]}", hint="name another with --out")
    return place


def _facts_of(torrent: bytes, metadata: Metadata) -> dict[str, Any]:
    return {
        "magnet": str(magnet_of(metadata)),
        "infohash_v1": metadata.infohash_v1 or None,
        "infohash_v2": metadata.infohash_v2 or None,
        "info": info_digest(torrent, "sha256"),
        "folder": metadata.name,
        "mirrors": tuple(Mirror(url=f"{url.rstrip('/')}/{quote(metadata.name)}/") for url in metadata.web_seeds),
    }


def _write(path: Path, content: bytes) -> Path:
    replace_file(path, content)
    return path


def _write_manifest(path: Path, content: bytes, tool: ManifestSigner | None) -> list[Path]:
    """The manifest and its signature. One that is there and still holds is kept; one of other bytes goes first."""
    beside, key = path.with_name(path.name + SIGNATURE), path.with_name(path.name + SIGNERS_KEY)
    old = read_key(beside) if beside.is_file() and path.is_file() and path.read_bytes() == content else b""
    if not old:
        _remove(beside, key)
    written = [_write(path, content)]
    if tool is None:
        return written
    if not (old and tool.is_own_signature(content, old)):
        written.append(_write(beside, tool.sign(path.name, content)))
    if not tool.public_key:
        _remove(key)
        return written
    return [*written, _write(key, tool.public_key)]


def _remove(*paths: Path) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_failure(error, path) from error


def _remember(folder: Path, torrent: bytes, metadata: Metadata, emit: Emit) -> None:
    """Let ``seed`` find the torrent in the folder's own state."""
    kept = read_kept_torrent(folder)
    if kept and kept != torrent:
        try:
            before = read_torrent(kept)
        except MagnetarError:
            before = metadata
        if before.infohash != metadata.infohash:
            emit(Remarked(f"{folder}: was {before.name} ({before.infohash}) until now; seed serves the new torrent"))
    State(folder, metadata).keep_torrent(torrent, complete=True)
