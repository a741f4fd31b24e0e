"""Prove that a checkpoint, in any format, is a release: by the digests of the release's tensors, one by one."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from magnetar.convert.compare.digest_tensors import count_workers, digest_move
from magnetar.convert.compare.numeric_error import measure_error
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.mapping import Move
from magnetar.convert.numbers.block_formats import FLOATS, can_recode
from magnetar.convert.numbers.recode import recode
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.transform.stream import stream_move
from magnetar.convert.transform.view import map_source
from magnetar.errors import CheckpointError, OutsideError, WrongBytesError
from magnetar.events import Began, Emit, Ended, FoundWrong, Moved, Step, ignore
from magnetar.findings import Finding, Outcome, Question, worst
from magnetar.manifests.tensor_digests import TensorDigest, TensorDigests
from magnetar.parallel import work_in_parallel


class Standing(StrEnum):
    """What is known of one tensor, compared with the release."""

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"
    EXTRA = "extra"
    NOT_COMPARABLE = "not comparable"
    """Its numbers were rounded or quantised, so the release's bytes cannot be computed from them."""
    UNREADABLE = "unreadable"
    """The disk, or the system, did not give its bytes: nothing is known of them."""


OUTCOMES: Mapping[Standing, Outcome] = {
    Standing.SAME: Outcome.GOOD,
    Standing.DIFFERENT: Outcome.BAD,
    Standing.MISSING: Outcome.BAD,
    Standing.EXTRA: Outcome.BAD,
    Standing.NOT_COMPARABLE: Outcome.UNKNOWN,
    Standing.UNREADABLE: Outcome.FAILED,
}


@dataclass(frozen=True, slots=True)
class TensorProof:
    """One tensor, by its name in the release, as the checkpoint holds it.

    ``dtype`` and ``nbytes`` are those in the checkpoint. ``cast_from`` is the release's dtype where it is another; such
    a tensor is the same only if every number is. ``error`` is the normalised mean square error against the reference.
    ``reproduced``: casting the reference gives exactly these bytes. Both are known only where there is a reference.
    """

    name: str
    standing: Standing
    dtype: str = ""
    nbytes: int = 0
    cast_from: str = ""
    error: float | None = None
    reproduced: bool = False
    detail: str = ""

    @property
    def outcome(self) -> Outcome:
        """Whether it is the release's tensor."""
        return OUTCOMES[self.standing]


@dataclass(frozen=True, slots=True)
class Proof:
    """What comparing a checkpoint with a release's digests found.

    ``layout`` is the checkpoint's, and ``reason`` says why it is that one.
    """

    path: str
    layout: str
    reason: str
    tensors: tuple[TensorProof, ...]

    def of(self, standing: Standing) -> tuple[TensorProof, ...]:
        """The tensors of that standing."""
        return tuple(tensor for tensor in self.tensors if tensor.standing is standing)

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """Bad if a tensor is not the release's, else failed if one could not be read.

        Else good if every tensor is the release's, and unknown if some cannot be compared.
        """
        return worst(tensor.outcome for tensor in self.tensors)


def prove(
    source: CheckpointSource,
    digests: TensorDigests,
    *,
    moves: Mapping[str, Move] | None = None,
    reference: CheckpointSource | None = None,
    emit: Emit = ignore,
) -> Proof:
    """Take every tensor of ``source`` back to the release's layout, in bounded memory, and compare its digest.

    ``moves`` make the release's tensors, by name, where a tensor of ``source`` may be missing or of another shape.
    ``reference`` is the release itself, in any layout. It is read for the error of tensors that were rounded or
    quantised, and its own tensors are checked too. Tensors that are wrong, or damaged by their container's checksum,
    are in the proof, and are emitted as ``FoundWrong``. A tensor whose bytes could not be read, here or in the
    reference, is in the proof too, and the others are still compared.
    Raises ``LayoutError`` where the layouts do not fit, ``WrongBytesError`` if the reference is not the release,
    or ``UsageError`` where quantised numbers need the gguf library.
    """
    if moves is None:
        moves = {move.name: move for move in map_source(source, digests.layout)}
    references = map_source(reference, digests.layout) if reference else ()
    judge = _Judge(source.checkpoint, reference.checkpoint if reference else None, references)

    def prove_tensor(name: str) -> TensorProof:
        proof = judge.judge(name, moves.get(name), digests.tensors.get(name))
        emit(Moved(Step.PROVE, proof.nbytes))
        if proof.outcome is Outcome.BAD:
            emit(FoundWrong(Finding(proof.standing, name, proof.detail)))
        return proof

    names = [*digests.tensors, *(name for name in moves if name not in digests.tensors)]
    emit(Began(Step.PROVE, sum(move.nbytes for move in moves.values())))
    proofs = work_in_parallel(prove_tensor, names, count_workers([*moves.values(), *references]))
    emit(Ended(Step.PROVE))
    return Proof(str(source.folder), source.layout, source.reason, tuple(proofs))


class _Judge:
    """Judges one tensor at a time, from any thread."""

    def __init__(self, checkpoint: Checkpoint, reference: Checkpoint | None, references: Iterable[Move]) -> None:
        self._checkpoint = checkpoint
        self._reference = reference
        self._references = {move.name: move for move in references}

    def judge(self, name: str, move: Move | None, wanted: TensorDigest | None) -> TensorProof:
        if move is None:
            return TensorProof(name, Standing.MISSING, detail="the checkpoint has no such tensor")
        proof = TensorProof(name, Standing.DIFFERENT, move.dtype, move.nbytes)
        if wanted is None:
            return replace(proof, standing=Standing.EXTRA, detail="the release has no such tensor")
        if move.shape != wanted.shape:
            return replace(proof, detail=f"has the shape {list(move.shape)}, not {list(wanted.shape)}")
        try:
            if move.dtype == wanted.dtype:
                return self._judge_bytes(proof, move, wanted)
            return self._judge_cast(replace(proof, cast_from=wanted.dtype), move, wanted)
        except CheckpointError as error:
            return replace(proof, detail=error.message)
        except OutsideError as error:
            return replace(proof, standing=Standing.UNREADABLE, detail=error.message)

    def _judge_bytes(self, proof: TensorProof, move: Move, wanted: TensorDigest) -> TensorProof:
        if digest_move(self._checkpoint, move) == wanted.sha256:
            return replace(proof, standing=Standing.SAME)
        return replace(proof, detail="has other numbers than the release")

    def _judge_cast(self, proof: TensorProof, move: Move, wanted: TensorDigest) -> TensorProof:
        """A tensor in another dtype is the release's if every number is the same."""
        if move.dtype not in FLOATS or wanted.dtype not in FLOATS:
            return self._judge_rounded(proof, move, wanted)
        sha256, exact = _digest_cast(self._checkpoint, move, wanted.dtype)
        if sha256 == wanted.sha256 and exact:
            return replace(proof, standing=Standing.SAME)
        if move.dtype != "F32":  # 32 bits would have held the release's numbers; 16 may have been too few
            return self._judge_rounded(proof, move, wanted)
        if sha256 == wanted.sha256:
            return replace(proof, detail="has numbers that round to the release's, but are not the same")
        return replace(proof, detail="has other numbers than the release")

    def _judge_rounded(self, proof: TensorProof, move: Move, wanted: TensorDigest) -> TensorProof:
        if not can_recode(move.dtype, "F32") or not can_recode(wanted.dtype, "F32"):
            detail = f"is {move.dtype}, which cannot be compared with {wanted.dtype}"
            return replace(proof, standing=Standing.NOT_COMPARABLE, detail=detail)
        proof = replace(proof, standing=Standing.NOT_COMPARABLE, detail=f"was rounded to {move.dtype}")
        if self._reference is None:
            return proof
        original = self._find_original(self._reference, move.name, wanted)
        error = measure_error((self._reference, original), (self._checkpoint, move))
        reproduced = can_recode(wanted.dtype, move.dtype) and digest_move(
            self._reference, original.to_dtype(move.dtype)
        ) == digest_move(self._checkpoint, move)
        if move.dtype in FLOATS and not reproduced:
            return replace(proof, standing=Standing.DIFFERENT, error=error, detail="is not the release, rounded")
        return replace(proof, error=error, reproduced=reproduced)

    def _find_original(self, reference: Checkpoint, name: str, wanted: TensorDigest) -> Move:
        """The tensor of the reference, which is checked here to be the release's. Raises ``WrongBytesError``."""
        original = self._references.get(name)
        damage = ""
        try:
            if original is not None and digest_move(reference, original) == wanted.sha256:
                return original
        except CheckpointError as error:
            damage = f": {error.message}"
        raise WrongBytesError(
            f"{name}: the reference is not the release, so no error can be told against it{damage}",
            hint="verify the reference first, or leave it out",
        )


def _digest_cast(checkpoint: Checkpoint, move: Move, dtype: str) -> tuple[str, bool]:
    """The SHA-256 of a tensor's numbers written as ``dtype``, and whether no number changes by that."""
    hasher = hashlib.sha256()
    exact = True
    for block in stream_move(checkpoint, move.to_dtype("F32")):
        cast, _ = recode(block, "F32", dtype)
        back, _ = recode(cast, dtype, "F32")
        exact = exact and np.array_equal(np.frombuffer(block, np.uint8), np.frombuffer(back, np.uint8))
        hasher.update(cast)
    return hasher.hexdigest(), exact
