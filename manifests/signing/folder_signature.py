"""Signatures over a folder's files (``model.sig`` of OpenSSF model signing): read, checked, and written.

::

    signed = check_folder_signature(signature, expected, where)   # the signature holds: these files, by this signer
    signature = sign_files(signed_files, config)                  # no file is read once more

A signature is a Sigstore bundle. It holds an in-toto statement, which lists each file with a digest, and the paths that
the signer left out. The library checks it and the files in one go. Here its part is the signature alone; the files are
held against the digests in the way in which all files are (``checking``), so that each has a state of its own.

Understood are lists of files with SHA-256 or BLAKE3, and the lists of version 0.2 of the library. Anything else, such
as digests of shards, is refused by name.
"""

import base64
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from magnetar.errors import ManifestError, WrongBytesError
from magnetar.manifests.hashing.digests import HEX_LENGTHS, Digest
from magnetar.manifests.schema import FORMAT, Manifest, ReleaseFile
from magnetar.manifests.signing.check import Expected, Signer, make_verifier, signer_of
from magnetar.manifests.signing.keys import load_library, read_limited, reason_of

FOLDER_SIGNATURE = "model.sig"
"""The name that the library's command gives a signature."""

MAX_FOLDER_SIGNATURE_BYTES = 8 << 20
"""About twenty-five thousand files."""

PREDICATE, OLD_PREDICATE = "https://model_signing/signature/v1.0", "https://model_signing/Digests/v0.1"
STATEMENT = "https://in-toto.io/Statement/v1"
ALGORITHMS = ("sha256", "blake3")
NOT_SIGNED = (".git", ".gitattributes", ".github", ".gitignore", ".magnetar", FOLDER_SIGNATURE)
"""Paths in a folder that a signature of ours leaves out: the library's command looks at none of those of git, and a
listed file that it does not look at is missing to it."""

HINT = "get files and signature anew from the publisher; do not use these"


@dataclass(frozen=True, slots=True)
class SignedFiles:
    """What is signed: the files with their digests by path, and the paths that the signer left out.

    ``name`` is the name of the folder when it was signed. All are foreign text; the paths are safe to join to a folder.
    """

    name: str
    files: tuple[ReleaseFile, ...]
    left_out: tuple[str, ...] = ()

    def as_manifest(self, name: str, publisher: str) -> Manifest:
        """A manifest of these files, with the name of a release. It states nothing else."""
        words: dict[str, Any] = {"format": FORMAT, "name": name, "publisher": publisher, "licence": "unknown"}
        return Manifest(**words, title=self.name or name, files=self.files)


def read_folder_signature(path: Path) -> bytes:
    """Read a signature. Raises ``UsageError`` or ``DiskError``."""
    return read_limited(path, MAX_FOLDER_SIGNATURE_BYTES)


def is_over_folder(signature: bytes) -> bool:
    """Whether a signature says that it is over a folder's files, and not over one document. Nothing is checked."""
    try:
        statement = _statement_in(signature)
        if statement.get("predicateType") == OLD_PREDICATE:
            return True
        return [entry["name"] for entry in statement["predicate"]["resources"]] != ["."]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def check_folder_signature(signature: bytes, expected: Expected, where: str) -> tuple[SignedFiles, Signer]:
    """What was signed, and by whom, if the signature holds and is by whom it is expected. No file is looked at.

    Raises ``WrongBytesError`` if it does not hold, ``ManifestError`` for a list that is malformed, unsafe or of a kind
    that is not understood, ``UsageError`` for a key that cannot be used, ``OutsideError`` if Sigstore is out of reach.
    """
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / "signature"
        config = make_verifier(expected, Path(folder) / "key")
        config.set_hashing_config(_hashing_config(None))
        beside.write_bytes(signature)
        try:
            with redirect_stdout(io.StringIO()):
                config.verify(Path(folder), beside)
        except Exception as error:  # hostile bytes go through four foreign parsers, which may raise anything
            raise WrongBytesError(f"{where}: the signature does not hold: {reason_of(error)}", hint=HINT) from error
    signer = signer_of(expected, signature, where)
    return parse_folder_signature(signature, where), signer


def parse_folder_signature(signature: bytes, where: str) -> SignedFiles:
    """What a signature says is signed. Nothing of it is checked. Raises ``ManifestError``."""
    try:
        statement = _statement_in(signature)
        kind = statement["predicateType"]
        if kind == OLD_PREDICATE:
            listed = [(entry["name"], "sha256", entry["digest"]["sha256"]) for entry in statement["subject"]]
            return _list_files("", listed, (), where)
        if kind != PREDICATE or statement["_type"] != STATEMENT:
            raise ManifestError(f"{where}: holds a statement of another kind, {str(kind)[:100]!r}", hint=_hint())
        predicate = statement["predicate"]
        _check_serialization(predicate["serialization"], where)
        listed = [(entry["name"], entry["algorithm"], entry["digest"]) for entry in predicate["resources"]]
        left_out = predicate["serialization"].get("ignore_paths", [])
        return _list_files(statement["subject"][0]["name"], listed, tuple(map(str, left_out)), where)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ManifestError(f"{where}: its list of files cannot be read: {reason_of(error)}", hint=HINT) from error


def sign_files(signed: SignedFiles, config: Any) -> bytes:
    """The signature over a list of files with their SHA-256; ``config`` is the ``model_signing.signing.Config``.

    The list is signed as it is: no file is read. ``model_signing verify`` accepts the signature.
    """
    config.set_hashing_config(_hashing_config(signed))
    try:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            config.sign(Path(folder), Path(folder) / "signature")
            return (Path(folder) / "signature").read_bytes()
    finally:
        config.set_hashing_config(load_library().hashing.Config())


def files_to_sign(name: str, files: tuple[ReleaseFile, ...]) -> SignedFiles:
    """The files of a folder, as a signature of ours lists them: with their SHA-256, and without ``NOT_SIGNED``."""
    kept = [file for file in files if PurePosixPath(file.path).parts[0] not in NOT_SIGNED]
    listed = (
        ReleaseFile(path=file.path, digests=tuple(one for one in file.digests if one.algorithm == "sha256"))
        for file in sorted(kept, key=lambda file: PurePosixPath(file.path))
    )
    return SignedFiles(name, tuple(listed), NOT_SIGNED)


def _statement_in(signature: bytes) -> dict[str, Any]:
    # The library takes a bundle's keys in either spelling, and never in both: what is read here is what it checks.
    payload = json.loads(signature)["dsseEnvelope"]["payload"]
    statement = json.loads(base64.b64decode(payload, validate=True))
    if not isinstance(statement, dict):
        raise ValueError("it holds no statement")
    return statement


def _check_serialization(told: dict[str, Any], where: str) -> None:
    """Refuse by name how else the digests could have been made."""
    unknown = told.keys() - {"method", "hash_type", "allow_symlinks", "ignore_paths"}
    if told["method"] != "files":
        raise ManifestError(f"{where}: is over {str(told['method'])[:100]!r}, and not over files", hint=_hint())
    if told["hash_type"] not in ALGORITHMS:
        raise ManifestError(f"{where}: has digests of the kind {str(told['hash_type'])[:100]!r}", hint=_hint())
    if unknown:
        raise ManifestError(f"{where}: was made with {str(sorted(unknown))[:100]}, which is not known", hint=_hint())


def _hint() -> str:
    return f"Magnetar checks files with {' or '.join(ALGORITHMS)}; `model_signing verify` may check this one"


def _list_files(name: Any, listed: list[tuple[Any, Any, Any]], left_out: tuple[str, ...], where: str) -> SignedFiles:
    files = []
    for path, algorithm, digest in listed:
        if algorithm not in ALGORITHMS:
            raise ManifestError(f"{where}: has a digest of the kind {str(algorithm)[:100]!r}", hint=_hint())
        if not isinstance(digest, str) or len(digest) != HEX_LENGTHS[algorithm]:
            raise ManifestError(f"{where}: has a digest of another length for {str(path)[:100]!r}", hint=HINT)
        with _naming_what_is_refused(where):
            files.append(ReleaseFile(path=path, digests=(Digest.parse(f"{algorithm}:{digest}"),)))
    if not files:
        raise ManifestError(f"{where}: lists no files", hint=HINT)
    signed = SignedFiles(str(name), tuple(files), left_out)
    with _naming_what_is_refused(where):
        signed.as_manifest("signed", "unknown")
    return signed


@contextmanager
def _naming_what_is_refused(where: str) -> Iterator[None]:
    """Turn what the schema of manifests refuses into ``ManifestError``: unsafe paths, or one that is listed twice."""
    try:
        yield
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise ManifestError(f"{where}: {reason}", hint=HINT) from error


@dataclass(frozen=True, slots=True)
class _LibraryDigest:
    """A digest with the names that the library's digests have."""

    algorithm: str
    digest_hex: str

    @property
    def digest_value(self) -> bytes:
        return bytes.fromhex(self.digest_hex)


def _hashing_config(signed: SignedFiles | None) -> Any:
    """A ``model_signing.hashing.Config`` that reads no file, and gives this list; None equals every list."""
    library = load_library()
    manifest = library.manifest

    class AnyFiles(manifest.Manifest):  # type: ignore[misc, name-defined]  # the library is imported when it is used
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # Python's own way to say that what equals all has no hash

    class Listed(library.hashing.Config):  # type: ignore[misc, name-defined]  # as above
        def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
            told = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
            if signed is None:
                return AnyFiles("", (), manifest.SerializationType.from_args(told))
            items = [
                manifest.FileManifestItem(
                    path=PurePosixPath(file.path), digest=_LibraryDigest(digest.algorithm, digest.hex)
                )
                for file in signed.files
                for digest in file.digests
            ]
            how = manifest.SerializationType.from_args({**told, "ignore_paths": list(signed.left_out)})
            return manifest.Manifest(signed.name, items, how)

    return Listed()
