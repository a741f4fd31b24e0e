"""``publish``: a folder of weights becomes a release that others can fetch, prove and trust."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from urllib.parse import quote

from magnetar.errors import MagnetarError, UsageError
from magnetar.events import Emit, Remarked, ignore
from magnetar.fetch.download.state_folder import State
from magnetar.fetch.torrent.create_torrent import Draft, TorrentOptions
from magnetar.fetch.torrent.metadata import Metadata, magnet_of
from magnetar.fetch.torrent.metainfo import info_digest, read_torrent
from magnetar.files import disk_failure, hold_folder, replace_file
from magnetar.manifests.checking.unfinished_hashes import UnfinishedHashes
from magnetar.manifests.checksum_lists import write_checksums
from magnetar.manifests.folder.layout import SIGNATURE, SIGNERS_KEY, publication_folder
from magnetar.manifests.identity.evidence import Certainty
from magnetar.manifests.schema import Manifest, Mirror
from magnetar.manifests.signing.check import Signer
from magnetar.manifests.signing.folder_signature import (
    FOLDER_SIGNATURE,
    SignedFiles,
    files_to_sign,
    parse_folder_signature,
    read_folder_signature,
)
from magnetar.manifests.signing.keys import read_key
from magnetar.manifests.signing.sign import E_MAIL_IS_PUBLISHED, ManifestSigner, Signing, SigstoreSigning
from magnetar.manifests.writing.create_manifest import ManifestFacts, assemble_manifest, plain_name, to_toml
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.publishing.describe_weights import DescribedWeights, describe_weights
from magnetar.pipeline.publishing.hash_files import Hashed, hash_files

SUMS = {"sha256": "SHA256SUMS", "blake3": "B3SUMS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the publisher says of a release. Empty words take a default; ``name`` and ``title`` that of the folder."""

    name: str = ""
    title: str = ""
    publisher: str = "unknown"
    licence: str = "unknown"
    summary: str = ""
    published: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """A folder that is to be published, and how.

    ``out`` is the folder for the manifest, the torrent and the rest; None is ``DIR.magnetar``, beside the folder.
    ``tensors`` digests every tensor. ``boot`` runs the weights, and publishes their score and fingerprint; ``golden``
    is a fingerprint that is there already.
    """

    folder: Path
    claims: Claims = field(default_factory=Claims)
    torrent: TorrentOptions = field(default_factory=TorrentOptions)
    out: Path | None = None
    signing: Signing | None = None
    tensors: bool = True
    boot: bool = False
    golden: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was published: the manifest, the torrent's numbers in bytes, and the files that were written.

    ``piece_rule`` says that the piece length was chosen, not asked for. ``not_done`` says what is missing, and why.
    ``recalled`` are the files, and ``recalled_tensors`` the number of tensors, that an earlier run had hashed before it
    was stopped: they were not read again.
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


def publish(request: PublishRequest, page: Page, emit: Emit = ignore) -> Published:
    """Describe a folder for others: manifest, torrent, magnet link, checksum files, tensors' digests, a page.

    The same folder and request give the same bytes, a signature that still holds included. ``magnetar seed`` then
    serves the folder under that very infohash. What an earlier run that was stopped has read is not read again, unless
    it changed. Raises ``UsageError``, ``OutsideError`` or ``BootError``, and has then written nothing but notes in the
    user's cache, unless the disk refused.
    """
    draft = Draft(request.folder, request.torrent)
    tool = _open_tool(draft.folder, request.signing, emit)
    facts = _state_claims(draft.folder, request.claims)
    name = facts["name"]
    out = _choose_place(draft.folder, name, request.out)
    with hold_folder(draft.folder) as writable:
        before = ReleaseFolder.read(draft.folder)
        _remark_on_known(before, name, emit)
        notes = UnfinishedHashes(draft.folder)
        described = _describe(before, name, draft, request, notes, emit)
        manifest = assemble_manifest(draft.folder, described.hashed.files, facts | described.facts())
        published = _sum_up(request, described, manifest, out, tool.signer if tool else None, writable)
        written = [_write(out / path, content) for path, content in _render(published, described, page).items()]
        written += _write_manifest(out / f"{name}.toml", to_toml(manifest).encode(), tool)
        written += _write_folder_signature(out / FOLDER_SIGNATURE, draft.folder.name, described.hashed, tool)
        if writable:
            _remember(before, described, emit)
        notes.clear()
    return replace(published, written=tuple(written))


@dataclass(frozen=True, slots=True)
class _Description:
    """What was read out of the folder: its weights, its files' hashes, and the torrent that follows from these."""

    weights: DescribedWeights
    hashed: Hashed
    torrent: bytes
    metadata: Metadata

    def facts(self) -> ManifestFacts:
        """Keys of the manifest."""
        mirrors = (f"{url.rstrip('/')}/{quote(self.metadata.name)}/" for url in self.metadata.web_seeds)
        return self.weights.facts() | ManifestFacts(
            magnet=str(magnet_of(self.metadata)),
            infohash_v1=self.metadata.infohash_v1 or None,
            infohash_v2=self.metadata.infohash_v2 or None,
            info=info_digest(self.torrent, "sha256"),
            folder=self.metadata.name,
            mirrors=tuple(Mirror(url=url) for url in mirrors),
        )


def _state_claims(folder: Path, claims: Claims) -> ManifestFacts:
    """The claims as keys of the manifest. What is wrong with them is said before a byte is read."""
    name = claims.name or plain_name(folder.name)
    if not name:
        raise UsageError(f"{folder}: a release's name has letters of a to z or digits", hint="say one with --name")
    facts = ManifestFacts(
        name=name,
        title=claims.title or folder.name,
        publisher=claims.publisher or "unknown",
        licence=claims.licence or "unknown",
        summary=claims.summary or None,
        published=claims.published,
    )
    assemble_manifest(folder, (), facts)
    return facts


def _describe(
    folder: ReleaseFolder, name: str, draft: Draft, request: PublishRequest, notes: UnfinishedHashes, emit: Emit
) -> _Description:
    """Read the weights, then every file."""
    weights = describe_weights(
        folder, name, notes, tensors=request.tensors, boot=request.boot, golden=request.golden, emit=emit
    )
    hashed = hash_files(draft, notes, emit)
    torrent = draft.finish()
    return _Description(weights, hashed, torrent, read_torrent(torrent))


def _remark_on_known(folder: ReleaseFolder, name: str, emit: Emit) -> None:
    """Warn where the weights are those of a release that the catalog knows under another name."""
    candidate = folder.candidate
    if candidate is not None and candidate.certainty is Certainty.CANDIDATE and candidate.release != name:
        emit(Remarked(f"these weights are known under another name: {candidate.describe()}"))


def _sum_up(
    request: PublishRequest,
    described: _Description,
    manifest: Manifest,
    out: Path,
    signer: Signer | None,
    writable: bool,
) -> Published:
    return Published(
        folder=request.folder.resolve(),
        out=out,
        manifest=manifest,
        total_size=described.metadata.total_size,
        piece_length=described.metadata.piece_length,
        piece_count=described.metadata.piece_count,
        piece_rule=request.torrent.piece_length is None,
        version=request.torrent.version,
        signer=signer,
        kept=writable,
        not_done=described.weights.not_done,
        recalled=described.hashed.recalled,
        recalled_tensors=described.weights.recalled,
    )


def _render(published: Published, described: _Description, page: Page) -> dict[str, bytes]:
    """Everything that is written besides the manifest, by its file name."""
    name = published.manifest.name
    return {
        **described.weights.documents,
        f"{name}.torrent": described.torrent,
        f"{name}.magnet": f"{published.manifest.magnet}\n".encode(),
        **{sums: write_checksums(described.hashed.files, algorithm).encode() for algorithm, sums in SUMS.items()},
        f"{name}.md": page(published).encode(),
    }


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


def _write_folder_signature(path: Path, name: str, hashed: Hashed, tool: ManifestSigner | None) -> list[Path]:
    """The signature over the folder's files. One that is there and still holds is kept; one of other files goes.

    Sigstore is asked for one signature only, the manifest's: each goes into a public log, and asks who you are.
    """
    signed = files_to_sign(name, hashed.files + ((hashed.own_manifest,) if hashed.own_manifest else ()))
    old = read_folder_signature(path) if path.is_file() else b""
    if tool is None or not tool.signs_folders or not signed.files:
        if old and not _is_over(signed, old, path):
            _remove(path)
        return []
    if old and tool.is_own_folder_signature(signed, old):
        return [path]
    return [_write(path, tool.sign_folder(signed))]


def _is_over(signed: SignedFiles, signature: bytes, path: Path) -> bool:
    try:
        return parse_folder_signature(signature, str(path)) == signed
    except MagnetarError:
        return False


def _remove(*paths: Path) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_failure(error, path) from error


def _remember(before: ReleaseFolder, described: _Description, emit: Emit) -> None:
    """Keep the torrent in the folder's own state, where ``seed`` finds it."""
    old, new = before.origin, described.metadata
    if old is not None and (old.infohash_v1, old.infohash_v2) != (new.infohash_v1, new.infohash_v2):
        infohash = old.infohash_v1 or old.infohash_v2
        emit(Remarked(f"{before.root}: was {old.name} ({infohash}) until now; seed serves the new torrent"))
    State(before.root, new).keep_torrent(described.torrent, complete=True)
