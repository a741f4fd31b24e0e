"""``catalog``: the releases that are known, and the user's own: signed manifests, each with its signer pinned."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magnetar.errors import UsageError, WrongBytesError
from magnetar.events import Emit, Remarked, Skipped, ignore
from magnetar.fetch.http.documents import Documents
from magnetar.files import disk_failure, lock_folder, replace_file
from magnetar.manifests.catalog import bundled_releases, catalog, find_release
from magnetar.manifests.folder.layout import SIGNATURE, SIGNERS_KEY, SIGNERS_ROOTS
from magnetar.manifests.hashing.digests import Digest, new_hasher
from magnetar.manifests.identity.known import renew_user_index
from magnetar.manifests.schema import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from magnetar.manifests.signing.check import ByCertificate, ByKey, Expected, Signer, check_signature
from magnetar.manifests.signing.keys import MAX_KEY_BYTES, read_key
from magnetar.manifests.tensor_digests import MAX_TENSOR_LIST_BYTES, parse_tensor_digests
from magnetar.manifests.user_catalog import SignerPin, broken_entries, read_pins, user_folder, user_releases, write_pins

MAX_GOLDEN_BYTES = 64 << 20
"""The largest fingerprint that is read. Those that ship have some tens of kilobytes."""

TENSORS, GOLDEN = ".tensors.json", ".golden.safetensors"


@dataclass(frozen=True, slots=True)
class Entry:
    """A release of the catalog. ``source`` and ``signer`` are empty for those that ship with Magnetar."""

    name: str
    manifest: Manifest
    source: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The catalog, and what is wrong with files in the user's part of it."""

    entries: tuple[Entry, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """What was added, and the folder that it was added to.

    ``first_use`` says that this signer was never seen before: nothing but the signature itself says who it is.
    """

    entry: Entry
    folder: Path
    first_use: bool
    replaced: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """The release that was removed. ``forgotten`` says that its signer is not pinned any more either."""

    name: str
    forgotten: bool


def list_catalog() -> Listing:
    """Every release by name: the bundled ones, then the user's."""
    added = sorted(user_releases().keys() - bundled_releases().keys())
    return Listing(tuple(map(entry_of, (*bundled_releases(), *added))), broken_entries())


def entry_of(name: str) -> Entry:
    """One release of the catalog. Raises ``UsageError``."""
    manifest = find_release(name)
    pin = None if manifest.name in bundled_releases() else read_pins().releases.get(manifest.name)
    return Entry(manifest.name, manifest, pin.source, pin.signer) if pin else Entry(manifest.name, manifest)


def add_release(where: str, expected: Expected | None = None, *, proxy: str = "", emit: Emit = ignore) -> Added:
    """Add the signed manifest at ``where``, a file or a URL. Its signature and its side files lie beside it.

    ``expected`` is who must have signed it. None means: the first time that a release of this publisher is seen, the
    public key beside the manifest is believed; after that, only the same signer is. Raises ``ManifestError`` for a
    malformed manifest, ``WrongBytesError`` if it is not signed, or by another signer than before, and ``UsageError`` if
    its name or infohash is taken.
    """
    with Documents(where, proxy=proxy) as documents:
        if documents.is_plain:
            emit(Remarked("plain http: anybody on the way may have changed it, and only the signature tells"))
        content = documents.read(MAX_MANIFEST_BYTES)
        manifest = parse_manifest(content, where)
        _check_is_free(manifest)
        folder = user_folder()
        with lock_folder(folder):
            pins = read_pins()
            pinned = pins.signer_of(manifest.name, manifest.publisher)
            signed = _check_signed(documents, content, manifest, expected, pinned)
            files = dict(_side_files(documents, manifest, emit))
            files |= {f"{manifest.name}.toml{suffix}": data for suffix, data in signed.files.items()}
            source = where if documents.is_remote else str(Path(where).resolve())
            pin = SignerPin(manifest.publisher, str(signed.signer), source)
            replaced = manifest.name in user_releases()
            # Everything is checked by now. The manifest is written last: without it the release is not there.
            write_pins(pins.with_pin(manifest.name, pin))
            for name, data in (*files.items(), (f"{manifest.name}.toml", content)):
                replace_file(folder / name, data)
            renew_user_index()
    return Added(Entry(manifest.name, manifest, pin.source, pin.signer), folder, not pinned, replaced)


def remove_release(name: str, *, forget_signer: bool = False) -> Removed:
    """Remove one of the user's entries; its signer stays pinned unless told otherwise. Raises ``UsageError``."""
    if name in bundled_releases():
        raise UsageError(f"{name}: ships with Magnetar, and cannot be removed", hint="it does no harm")
    folder = user_folder()
    pins = read_pins()
    if name not in user_releases() and name not in pins.releases:
        raise UsageError(f"you have not added a release named {name!r}", hint="`magnetar catalog` lists them")
    with lock_folder(folder):
        for path in (folder / f"{name}{suffix}" for suffix in _suffixes()):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise disk_failure(error, path) from error
        if forget_signer:
            write_pins(read_pins().without(name))
        renew_user_index()
    return Removed(name, forget_signer)


def _suffixes() -> tuple[str, ...]:
    return (".toml", f".toml{SIGNATURE}", f".toml{SIGNERS_KEY}", f".toml{SIGNERS_ROOTS}", TENSORS, GOLDEN)


def _check_is_free(manifest: Manifest) -> None:
    """Raise ``UsageError`` if the name is that of a bundled release, or the infohash that of any other release."""
    if manifest.name in bundled_releases():
        raise UsageError(
            f"{manifest.name}: a release of that name ships with Magnetar, and is not replaced",
            hint="use the file itself: magnetar verify DIR --manifest FILE",
        )
    for other in catalog().values():
        same = {other.infohash_v1, other.infohash_v2} & {manifest.infohash_v1, manifest.infohash_v2} - {None}
        if same and other.name != manifest.name:
            raise UsageError(f"{manifest.name}: says that it is {same.pop()}, which is {other.name}'s infohash")


@dataclass(frozen=True, slots=True)
class _Signed:
    """The signer, and the files of the signature to keep, by what is added to the manifest's name."""

    signer: Signer
    files: dict[str, bytes]


def _check_signed(
    documents: Documents, content: bytes, manifest: Manifest, expected: Expected | None, pinned: str
) -> _Signed:
    signature = documents.read_beside(documents.name + SIGNATURE, MAX_KEY_BYTES)
    if not signature:
        raise WrongBytesError(
            f"{documents.where}: is not signed: there is no {documents.name}{SIGNATURE} beside it",
            hint="only signed manifests are added; an unsigned one can be named: --manifest FILE",
        )
    files = {SIGNATURE: signature}
    expected = expected or _kept_roots(manifest, pinned) or _key_beside(documents, manifest)
    match expected:
        case ByKey(pem):
            files[SIGNERS_KEY] = pem
        case ByCertificate(roots):
            files[SIGNERS_ROOTS] = b"".join(map(read_key, roots))
    signer = check_signature(content, signature, expected, documents.where)
    if pinned and str(signer) != pinned:
        raise WrongBytesError(
            f"{documents.where}: is signed by {signer}, and {manifest.publisher} signed as {pinned} before",
            hint="ask the publisher, by another way, whether the key has changed; if so, for each of their releases: "
            "magnetar catalog remove NAME --forget-signer, and add it anew",
        )
    return _Signed(signer, files)


def _kept_roots(manifest: Manifest, pinned: str) -> ByCertificate | None:
    """The root certificates by which the pinned signer was believed before; None if it is no certificate."""
    kept = user_folder() / f"{manifest.name}.toml{SIGNERS_ROOTS}"
    return ByCertificate((kept,)) if pinned.startswith("certificate ") and kept.is_file() else None


def _key_beside(documents: Documents, manifest: Manifest) -> ByKey:
    """The public key that lies beside the manifest, or was kept when it was added before."""
    key = documents.read_beside(documents.name + SIGNERS_KEY, MAX_KEY_BYTES)
    kept = user_folder() / f"{manifest.name}.toml{SIGNERS_KEY}"
    if not key and kept.is_file():
        key = read_key(kept)
    if not key:
        raise WrongBytesError(
            f"{documents.where}: is signed, but by whom is not said beside it",
            hint="name the signer: --public-key FILE, --certificate FILE, or --identity with --issuer",
        )
    return ByKey(key, documents.name + SIGNERS_KEY)


def _side_files(documents: Documents, manifest: Manifest, emit: Emit) -> Iterator[tuple[str, bytes]]:
    """The side files that the manifest pins, under the names that ``publish`` gives them."""
    tensors, golden = manifest.name + TENSORS, manifest.name + GOLDEN
    if manifest.tensors is not None:
        path = manifest.tensors.path
        content = documents.read_beside(path, MAX_TENSOR_LIST_BYTES) if path == tensors else None
        if content is None:
            emit(Skipped(tensors, "it is not beside the manifest: converted copies cannot be proven"))
        else:
            _check_pinned(content, manifest.tensors.digest, tensors)
            parse_tensor_digests(content, tensors)
            yield tensors, content
    if manifest.smoke is not None and manifest.smoke.golden is not None:
        content = documents.read_beside(golden, MAX_GOLDEN_BYTES)
        if content is None:
            emit(Skipped(golden, "it is not beside the manifest: `boot` has no fingerprint to compare with"))
        else:
            _check_pinned(content, manifest.smoke.golden, golden)
            yield golden, content


def _check_pinned(content: bytes, pinned: Digest, name: str) -> None:
    hasher = new_hasher(pinned.algorithm)
    hasher.update(memoryview(content))
    if hasher.hexdigest() != pinned.hex:
        raise WrongBytesError(f"{name}: is not the file that the manifest pins", hint="get all of them anew")
