"""Read weights whole, and hold every tensor against a release, although their configuration may be wrong or missing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from magnetar.convert.compare.digest_tensors import digest_move
from magnetar.convert.compare.proof import Proof, Standing, TensorProof, prove
from magnetar.convert.identify.infer_architecture import possible_head_dims
from magnetar.convert.identify.open_weights import Weights
from magnetar.convert.layout.mapping import Move, Turn
from magnetar.convert.numbers.block_formats import can_recode, packed_bytes
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError
from magnetar.events import Emit, ignore
from magnetar.manifests.tensor_digests import TensorDigests

TRIALS = 3
"""Tensors by which the size of the heads is tried, so that one that was changed does not decide."""


@dataclass(frozen=True, slots=True)
class WholeProof:
    """Every tensor of the release and of the weights. ``same`` of the ``total`` bytes of the release are there."""

    proof: Proof
    same: int
    total: int

    @property
    def differences(self) -> tuple[TensorProof, ...]:
        """The tensors that are not the release's, or cannot be compared."""
        return tuple(tensor for tensor in self.proof.tensors if tensor.standing is not Standing.SAME)

    @property
    def share(self) -> float:
        """The share of the release's bytes that are in tensors that agree, 0 to 1."""
        return self.same / self.total if self.total else 0.0


def prove_all(weights: Weights, digests: TensorDigests, emit: Emit = ignore) -> WholeProof:
    """Compare every tensor with the release's. Tensors that it does not have are extra. Raises as ``prove`` does."""
    weights = _with_right_heads(weights, digests)
    moves = weights.moves_to(digests.layout)
    proof = prove(weights.source, digests, moves=moves, emit=emit)
    used = {segment.tensor for move in moves.values() for segment in move.segments}
    extra = tuple(
        TensorProof(spec.name, Standing.EXTRA, spec.dtype, spec.nbytes, detail="the release has no such tensor")
        for spec in weights.checkpoint.specs.values()
        if spec.name not in used
    )
    proof = replace(proof, tensors=(*proof.tensors, *extra))
    same = {tensor.name for tensor in proof.of(Standing.SAME)}
    sizes = {
        name: packed_bytes(tensor.dtype, tensor.shape) if tensor.dtype in DTYPES else 0
        for name, tensor in digests.tensors.items()
    }
    return WholeProof(proof, sum(sizes[name] for name in same), sum(sizes.values()))


def _with_right_heads(weights: Weights, digests: TensorDigests) -> Weights:
    """The weights with heads of the size with which a tensor whose rows are rearranged becomes the release's."""
    turned = sorted(_turned(weights, digests).values(), key=lambda move: move.nbytes)[:TRIALS]
    if weights.architecture is None or not turned:
        return weights
    sizes = possible_head_dims(weights.architecture)
    for tried in turned:
        for size in sizes:
            candidate = weights.with_head_dim(size)
            if _is_same(candidate, candidate.moves_to(digests.layout).get(tried.name), digests):
                return candidate
    return weights.with_head_dim(sizes[0])


def _turned(weights: Weights, digests: TensorDigests) -> Mapping[str, Move]:
    return {
        name: move
        for name, move in weights.moves_to(digests.layout).items()
        if name in digests.tensors and move.segments[0].turn in (Turn.SPLIT_HALVES, Turn.INTERLEAVE)
    }


def _is_same(weights: Weights, move: Move | None, digests: TensorDigests) -> bool:
    if move is None or not can_recode(move.dtype, digests.tensors[move.name].dtype):
        return False
    wanted = digests.tensors[move.name]
    try:
        return digest_move(weights.checkpoint, move.to_dtype(wanted.dtype)) == wanted.sha256
    except CheckpointError:
        return False
