"""The same weights in another format: a converted copy held against the digests of its release's tensors."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.compare.proof import Proof, prove
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.findings import Outcome, Question
from magnetar.manifests.catalog import side_files_folder
from magnetar.manifests.checking.choose_manifest import Trust
from magnetar.manifests.schema import Manifest
from magnetar.manifests.tensor_digests import TensorDigests, load_tensor_digests
from magnetar.pipeline.folder.named_manifest import is_manifest_file, load_named
from magnetar.pipeline.folder.release_folder import ReleaseFolder


@dataclass(frozen=True, slots=True)
class ProvenCopy:
    """A proof, the release that it was held against, and what the verdict is worth."""

    release: str
    trust: Trust
    proof: Proof

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """That of the proof."""
        return self.proof.outcome


def verify_copy(
    folder: ReleaseFolder, named: str | None, *, reference: Path | None = None, emit: Emit = ignore
) -> ProvenCopy:
    """Hold the tensors of a copy against those of its release, whoever converted it.

    ``reference`` is the release itself, for the error of what was rounded or quantised. Raises ``UsageError`` where
    nothing says which release it is, or its manifest has no digests of tensors, and what ``prove`` raises.
    """
    manifest, digests, trust = _digests_of(folder, named)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(folder.path))
        release = stack.enter_context(open_source(reference)) if reference else None
        proof = prove(source, digests, reference=release, emit=emit)
    return ProvenCopy(manifest.name, trust, replace(proof, path=str(folder.path)))


def _digests_of(folder: ReleaseFolder, named: str | None) -> tuple[Manifest, TensorDigests, Trust]:
    """The manifest, the digests of its tensors, which lie beside it, and what both are worth."""
    name = named or (folder.conversion.release if folder.conversion else "")
    if not name:
        raise UsageError(
            f"{folder.path}: nothing says which release it was converted from",
            hint="say which with --manifest NAME or FILE",
        )
    manifest, trust = load_named(name), Trust.RELEASE
    if is_manifest_file(name):
        beside = Path(name).parent
        if Path(name).resolve().is_relative_to(folder.path.resolve()):
            trust = Trust.UNDAMAGED
    else:
        beside = side_files_folder(manifest.name)
    if manifest.tensors is None:
        raise UsageError(
            f"{manifest.name}: its manifest has no digests of tensors, so a converted copy cannot be proven by it",
            hint="compare it with the release itself: magnetar same RELEASE COPY",
        )
    return manifest, load_tensor_digests(beside / manifest.tensors.path, manifest.tensors.digest), trust
