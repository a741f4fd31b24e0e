"""Making manifests: of a folder, and of a download that was proven by other means."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from magnetar.events import Emit, ignore
from magnetar.files import replace_file
from magnetar.manifests.schema import Manifest
from magnetar.manifests.tensor_digests import format_tensor_digests
from magnetar.manifests.writing.create_manifest import ManifestFacts, create_manifest, pin_digests, round_trip, to_toml
from magnetar.manifests.writing.lfs_pointers import import_manifest
from magnetar.pipeline.folder.release_folder import require_folder
from magnetar.pipeline.proving.verify_files import verify_files
from magnetar.pipeline.proving.verify_request import VerifyRequest


@dataclass(frozen=True, slots=True)
class WrittenManifest:
    """A manifest, its text, and the file that the text went to; None where it is only shown."""

    manifest: Manifest
    text: str
    path: Path | None


def create(
    folder: Path, facts: ManifestFacts, algorithms: Sequence[str], path: Path | None, emit: Emit = ignore
) -> WrittenManifest:
    """Describe ``folder``, and write that to ``path`` if there is one. Raises as ``create_manifest`` does."""
    return _write(create_manifest(folder, facts, algorithms, emit), path)


def pin_release(
    folder: Path, named: str | None, algorithms: Sequence[str], path: Path | None, emit: Emit = ignore
) -> WrittenManifest:
    """Verify ``folder`` with all that is known, and add what it was found to be to its manifest."""
    opened = require_folder(folder, hint="name the folder that holds the release's files")
    report = verify_files(VerifyRequest(folder=opened, named=named), emit)
    return _write(pin_digests(opened.choose(named).manifest, folder, report, algorithms, emit), path)


def import_release(source: Path, path: Path | None, emit: Emit = ignore) -> WrittenManifest:
    """What others wrote of a release, as a manifest; written to ``path`` if there is one."""
    return _write(round_trip(import_manifest(source, emit), str(source)), path)


@dataclass(frozen=True, slots=True)
class WrittenTensors:
    """The side file of a checkpoint's tensors: where it went, how many there are, and the lines that name it."""

    path: Path
    tensors: int
    layout: str
    lines: str


def digest_tensors(source: Path, layout: str | None, path: Path, emit: Emit = ignore) -> WrittenTensors:
    """Digest every tensor of a checkpoint, and write the side file that a manifest names.

    ``layout`` is the one that the release came in; None is that of the checkpoint. Raises what ``open_source`` and
    ``tensor_digests`` raise, ``NoSpace`` or ``DiskError``.
    """
    from magnetar.convert.compare.digest_tensors import tensor_digests
    from magnetar.convert.read.checkpoint_source import open_source

    with open_source(source) as opened:
        digests = tensor_digests(opened, layout=layout or opened.layout, emit=emit)
    content = format_tensor_digests(digests)
    replace_file(path, content)
    import tomli_w

    lines = tomli_w.dumps({"tensors": {"path": path.name, "digest": f"sha256:{sha256(content).hexdigest()}"}})
    return WrittenTensors(path, len(digests.tensors), digests.layout, lines)


def _write(manifest: Manifest, path: Path | None) -> WrittenManifest:
    text = to_toml(manifest)
    if path is not None:
        replace_file(path, text.encode())
    return WrittenManifest(manifest, text, path)
