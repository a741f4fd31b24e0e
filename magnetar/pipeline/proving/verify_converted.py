"""The same weights in another format: a converted checkpoint held against the digests of its release's tensors."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.compare.proof import Proof, prove
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.journal import read_conversion
from magnetar.errors import UsageError
from magnetar.events import Emit, ignore
from magnetar.findings import Outcome, Question
from magnetar.manifests.catalog import catalog, find_release, folder_of
from magnetar.manifests.checking.choose_manifest import Trust
from magnetar.manifests.schema import Manifest, load_manifest
from magnetar.manifests.tensor_digests import TensorDigests, load_tensor_digests


@dataclass(frozen=True, slots=True)
class Proven:
    """A proof, the release that it was held against, and what the verdict is worth."""

    release: str
    trust: Trust
    proof: Proof

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """That of the proof."""
        return self.proof.outcome


def prove_copy(path: Path, named: str | None, *, reference: Path | None = None, emit: Emit = ignore) -> Proven:
    """Hold the tensors of ``path`` against those of its release, whoever converted them.

    ``reference`` is the release itself, for the error of what was rounded or quantised. Raises ``UsageError`` where
    nothing says which release it is, or its manifest has no digests of tensors, and what ``prove`` raises.
    """
    manifest, digests, trust = _digests_of(path, named)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(path))
        release = stack.enter_context(open_source(reference)) if reference else None
        proof = prove(source, digests, reference=release, emit=emit)
    return Proven(manifest.name, trust, replace(proof, path=str(path)))


def _digests_of(path: Path, named: str | None) -> tuple[Manifest, TensorDigests, Trust]:
    """The manifest, and its tensors' digests, which lie beside it."""
    noted = read_conversion(path if path.is_dir() else path.parent)
    name = named or (noted.release if noted else "")
    if not name:
        raise UsageError(
            f"{path}: nothing says which release it was converted from", hint="say which with --manifest NAME or FILE"
        )
    file = Path(name)
    if name not in catalog() and file.is_file():
        manifest, beside, trust = load_manifest(file), file.parent, Trust.RELEASE
        if file.resolve().is_relative_to(path.resolve()):
            trust = Trust.UNDAMAGED
    else:
        manifest, trust = find_release(name), Trust.RELEASE
        beside = folder_of(manifest.name)
    if manifest.tensors is None:
        raise UsageError(
            f"{manifest.name}: its manifest has no digests of tensors, so a converted copy cannot be proven by it",
            hint="compare it with the release itself: magnetar same RELEASE COPY",
        )
    return manifest, load_tensor_digests(beside / manifest.tensors.path, manifest.tensors.digest), trust
