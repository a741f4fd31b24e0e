"""Look at a few small tensors of some weights, and hold them and slices of large ones against the digests of a release.

A tensor is looked at in canonical form: its numbers as the release has them. In another format norms and routers often
are 32-bit floats, so each is also digested as it would be in every other dtype that holds its numbers exactly.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from magnetar.convert.compare.tensor_slices import cast_exactly, is_constant, read_numbers
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.identify.open_weights import Weights
from magnetar.convert.layout.mapping import Move, Turn
from magnetar.convert.numbers.block_formats import FLOATS, READABLE_FLOATS, can_recode
from magnetar.manifests.identity.evidence import Agreement, Tally
from magnetar.manifests.tensor_digests import SliceDigest, TensorDigest, TensorDigests

MAX_SMALL = 36
MAX_SMALL_BYTES = 256 << 10
MAX_ALL_SMALL_BYTES = 3 << 20
"""Of the largest models a router has 200 KB, and there are some fifty."""

LEAST_SMALL_NUMBERS = 16
"""A tensor of fewer numbers says little."""

GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class SmallTensor:
    """A tensor that was read whole, by its name in the files: the SHA-256 (hex) of its numbers, by dtype.

    ``dtype`` is the one that it has in the files.
    """

    name: str
    dtype: str
    digests: Mapping[str, str]


def look_at_small(weights: Weights) -> tuple[SmallTensor, ...]:
    """Digests of some of the smallest float tensors, spread over the model. Those of equal numbers are left out.

    Checksums of the container are not compared. Raises ``OutsideError``.
    """
    small = list[SmallTensor]()
    left = MAX_ALL_SMALL_BYTES
    for spec in _spread([spec for spec in weights.checkpoint.specs.values() if _is_small(spec)]):
        if len(small) == MAX_SMALL or spec.nbytes > left:
            break
        left -= spec.nbytes
        content = bytearray(spec.nbytes)
        weights.checkpoint.read_into(spec, 0, memoryview(content))
        if not is_constant(bytes(content), spec.dtype):
            small.append(SmallTensor(spec.name, spec.dtype, _digest_as_every_dtype(bytes(content), spec.dtype)))
    return tuple(small)


def compare(weights: Weights, small: Sequence[SmallTensor], digests: TensorDigests) -> Agreement:
    """How far some weights agree with a release. Reads the slices that it lists. Raises ``OutsideError``."""
    moves = weights.moves_to(digests.layout) if _may_be_of_one_size(weights, digests) else {}
    found = Counter(
        _compare_slice(weights, moves.get(name), digests.tensors[name], part) for name, part in digests.slices.items()
    )
    return Agreement(
        shapes=Tally(
            sum(name in moves and moves[name].shape == tensor.shape for name, tensor in digests.tensors.items()),
            len(digests.tensors),
        ),
        small=_compare_small(small, moves, digests),
        slices=Tally(found[_Found.SAME], found[_Found.SAME] + found[_Found.DIFFERENT]),
        rounded=found[_Found.ROUNDED],
        absent=found[_Found.ABSENT],
    )


def _may_be_of_one_size(weights: Weights, digests: TensorDigests) -> bool:
    """Whether weights do not have many more tensors than the release, by the sizes that a small header can claim."""
    if weights.architecture is None:
        return True
    layers, experts = weights.architecture.n_layers, weights.architecture.n_experts
    return layers * (1 + experts) <= 2 * len(digests.tensors)


def _is_small(spec: TensorSpec) -> bool:
    return (
        spec.dtype in READABLE_FLOATS
        and 0 < spec.nbytes <= MAX_SMALL_BYTES
        and len(spec.shape) in (1, 2)
        and max(spec.shape) >= LEAST_SMALL_NUMBERS
    )


def _spread(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """In an order of which every beginning is spread over the whole model."""
    return [specs[index] for index in sorted(range(len(specs)), key=lambda index: index * GOLDEN_RATIO % 1)]


def _digest_as_every_dtype(content: bytes, dtype: str) -> dict[str, str]:
    written = {want: cast_exactly(content, dtype, want) for want in {dtype, *FLOATS}}
    return {want: hashlib.sha256(cast).hexdigest() for want, cast in written.items() if cast is not None}


def _compare_small(small: Sequence[SmallTensor], moves: Mapping[str, Move], digests: TensorDigests) -> Tally:
    """A tensor must be where the release has it, if its name tells where that is. Rearranged ones are left out."""
    names = dict[str, str]()
    rearranged = set[str]()
    for move in moves.values():
        first = move.segments[0]
        if len(move.segments) == 1 and first.turn is Turn.COPY and first.offset == 0:
            names[first.tensor] = move.name
        else:
            rearranged.update(segment.tensor for segment in move.segments)
    anywhere = {tensor.sha256 for tensor in digests.tensors.values()}
    agree = compared = 0
    for tensor in small:
        wanted = digests.tensors.get(names.get(tensor.name, ""))
        if tensor.name in rearranged:
            continue
        if wanted is None:
            same = not anywhere.isdisjoint(tensor.digests.values())
        else:
            same = tensor.digests.get(wanted.dtype) == wanted.sha256
            if not same and _may_be_rounded(tensor.dtype, wanted.dtype):
                continue
        agree += same
        compared += 1
    return Tally(agree, compared)


def _may_be_rounded(have: str, wanted: str) -> bool:
    """Whether numbers of the dtype ``have`` may differ from the release's only by rounding: 32 bits hold 16."""
    return have not in (wanted, "F32", "F64")


class _Found(Enum):
    """What comparing a slice has found."""

    SAME = "same"
    DIFFERENT = "different"
    ROUNDED = "rounded"
    ABSENT = "absent"


def _compare_slice(weights: Weights, move: Move | None, tensor: TensorDigest, part: SliceDigest) -> _Found:
    if move is None:
        return _Found.ABSENT
    if move.shape != tensor.shape:
        return _Found.DIFFERENT
    content = read_numbers(weights.checkpoint, move, part.first, part.count)
    if content is None:
        return _Found.ROUNDED if move.dtype not in READABLE_FLOATS else _Found.ABSENT
    if not can_recode(move.dtype, tensor.dtype):
        return _Found.ROUNDED
    cast = cast_exactly(content, move.dtype, tensor.dtype)
    if cast is not None and hashlib.sha256(cast).hexdigest() == part.sha256:
        return _Found.SAME
    return _Found.ROUNDED if _may_be_rounded(move.dtype, tensor.dtype) else _Found.DIFFERENT
