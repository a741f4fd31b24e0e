"""What a folder's weights say of themselves, for a manifest: layout, sizes, tensors' digests, and how they run."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Self

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, open_as_it_is, open_source
from magnetar.errors import BootError, ConversionError, LayoutError, UsageError
from magnetar.events import Emit, Resumed, Skipped, Step, ignore
from magnetar.files import disk_failure
from magnetar.manifests.checking.unfinished_hashes import UnfinishedHashes
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import ArchitectureFacts, SideFile, Smoke
from magnetar.manifests.tensor_digests import format_tensor_digests
from magnetar.manifests.writing.create_manifest import ManifestFacts
from magnetar.pipeline.folder.expectations import look_up
from magnetar.pipeline.folder.release_folder import ReleaseFolder

WRITE_EVERY = 5.0
"""Seconds between two writings of what was found: what a kill -9 may cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedWeights:
    """Facts for a manifest, the side files that they pin, by name, and what could not be had, with the reason.

    Each fact is None where it is not known. ``recalled`` counts the tensors that an earlier run had digested before it
    was stopped: they were not read again.
    """

    layout: str | None = None
    architecture: ArchitectureFacts | None = None
    tensors: SideFile | None = None
    smoke: Smoke | None = None
    documents: Mapping[str, bytes] = field(default_factory=dict)
    not_done: tuple[str, ...] = ()
    recalled: int = 0

    def facts(self) -> ManifestFacts:
        """The facts as keys of the manifest."""
        return ManifestFacts(
            layout=self.layout,
            architecture=self.architecture or ArchitectureFacts(),
            tensors=self.tensors,
            smoke=self.smoke,
        )


def describe_weights(
    folder: ReleaseFolder,
    name: str,
    notes: UnfinishedHashes,
    *,
    tensors: bool = True,
    boot: bool = False,
    golden: Path | None = None,
    emit: Emit = ignore,
) -> DescribedWeights:
    """Read the checkpoint in ``folder`` for the manifest of the release ``name``.

    ``boot`` runs it, for its score and its fingerprint; ``golden`` is a fingerprint that is there already. ``notes``
    are those of an earlier run that was stopped, and for the next one. A folder without weights that are read here is
    described as such. Raises ``BootError`` if the weights are not healthy, ``UsageError`` without torch, ``DiskError``,
    and what reading a fingerprint raises.
    """
    smoke, fingerprint = _describe_run(folder, name, boot, golden, emit)
    described = _describe_tensors(folder.root, name, notes, emit) if tensors else DescribedWeights()
    return replace(described, smoke=smoke, documents={**described.documents, **fingerprint})


def _describe_tensors(folder: Path, name: str, notes: UnfinishedHashes, emit: Emit) -> DescribedWeights:
    try:
        with _open_weights(folder) as source, _Recollection(source, notes) as before:
            if before.known:
                emit(Resumed(Step.DIGEST, len(before.known), len(source.checkpoint.specs), "tensors"))
            digests = tensor_digests(source, layout=source.layout, known=before.known, found=before.note, emit=emit)
            layout, architecture = _facts_of(source)
    except (ConversionError, UsageError) as error:
        reason = f"no digests of tensors, so that a converted copy cannot be proven: {error.message}"
        emit(Skipped("digests of tensors", f"a converted copy cannot be proven: {error.message}"))
        return DescribedWeights(not_done=(reason,))
    content = format_tensor_digests(digests)
    side = _side_file(f"{name}.tensors.json", content)
    return DescribedWeights(
        layout=layout,
        architecture=architecture,
        tensors=side,
        documents={side.path: content},
        recalled=len(before.known),
    )


class _Recollection:
    """The tensors of a checkpoint whose digests are known already, and those that are found now, for the next run.

    Written down every few seconds, and when the block ends, however it does.
    """

    def __init__(self, source: CheckpointSource, notes: UnfinishedHashes) -> None:
        self._note = notes.open(f"tensors as they lie in {source.layout}", source.paths)
        self.known: dict[str, str] = dict(self._note.value or {})
        self._found = dict(self.known)
        self._lock = Lock()
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._note.keep(self._found)

    def note(self, name: str, sha256: str) -> None:
        with self._lock:
            self._found[name] = sha256
            if time.monotonic() - self._written > WRITE_EVERY:
                self._note.keep(self._found)
                self._written = time.monotonic()


def _describe_run(
    folder: ReleaseFolder, name: str, boot: bool, golden: Path | None, emit: Emit
) -> tuple[Smoke | None, dict[str, bytes]]:
    """What the smoke test of others must find, and the fingerprint that goes with it."""
    if not boot and golden is None:
        return None, {}
    content = b"" if golden is None else _read_golden(golden)
    score, text = None, look_up(folder).text
    if boot:
        score, made = _boot(folder.root, text, emit)
        content = content or made
    side = _side_file(f"{name}.golden.safetensors", content)
    digest = Digest("sha256", hashlib.sha256(text.encode()).hexdigest())
    return Smoke(text=digest, bits_per_byte=score, golden=side.digest), {side.path: content}


def _side_file(path: str, content: bytes) -> SideFile:
    return SideFile(path=path, digest=Digest("sha256", hashlib.sha256(content).hexdigest()))


def _open_weights(folder: Path) -> CheckpointSource:
    """The checkpoint in its layout, or as it is where its family is not known here."""
    try:
        return open_source(folder)
    except LayoutError:
        return open_as_it_is(folder)


def _facts_of(source: CheckpointSource) -> tuple[str | None, ArchitectureFacts]:
    """The layout, None where no layout is known, and the sizes."""
    if source.layout == AS_IS or source.stated is None:
        return None, ArchitectureFacts(total_parameters=source.checkpoint.parameters)
    stated = source.stated
    dtypes = {spec.dtype for spec in source.checkpoint.specs.values()}
    return source.layout, ArchitectureFacts(
        total_parameters=stated.total_parameters,
        active_parameters=stated.active_parameters,
        layers=stated.n_layers,
        experts=stated.n_experts,
        experts_per_token=stated.experts_per_token,
        context_length=stated.context_length,
        dtype=dtypes.pop() if len(dtypes) == 1 else None,
    )


def _read_golden(path: Path) -> bytes:
    """A fingerprint, if it is one. Raises what ``read_fingerprint`` raises."""
    from magnetar.model.run.fingerprint import read_fingerprint

    read_fingerprint(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise disk_failure(error, path) from error


def _boot(folder: Path, text: str, emit: Emit) -> tuple[float | None, bytes]:
    """Bits per byte, to four digits, which every machine agrees on, and the fingerprint."""
    from magnetar.model.boot.boot import boot, make_golden
    from magnetar.model.boot.boot_request import BootRequest

    report = boot(BootRequest(folder, text=text), emit)
    if not report.healthy:
        raise BootError(f"{folder}: is not healthy: {'; '.join(report.reasons)}", hint=f"magnetar boot {folder}")
    score = None if report.bits_per_byte is None else round(report.bits_per_byte, 4)
    return score, make_golden(folder, text, emit)
