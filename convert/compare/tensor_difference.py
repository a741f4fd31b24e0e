"""Explain how two tensors of one name differ: number by number, and, if only the order differs, by fingerprints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from magnetar.convert.compare.comparison_report import How, TensorDifference
from magnetar.convert.compare.digest_tensors import digest_move
from magnetar.convert.compare.numeric_error import measure_error, read_side_by_side
from magnetar.convert.compare.permutations import Group, find_reordering, is_transposed
from magnetar.convert.compare.row_fingerprints import Fingerprints, fingerprint, word_size
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move
from magnetar.convert.layout.tensor_layout import Part
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, FLOATS, READABLE_FLOATS, can_recode
from magnetar.convert.numbers.recode import Numbers
from magnetar.convert.transform.stream import stream_move


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two checkpoints, and how each of its tensors is made in the common layout."""

    checkpoint: Checkpoint
    moves: Mapping[str, Move]


@dataclass(frozen=True, slots=True)
class Delta:
    """Two tensors of one dtype and shape, compared number by number.

    ``changed`` of ``total`` words differ, all between byte ``begin`` and byte ``end``. ``same_words``: both hold the
    same words in some order, judged by the sums of the words and of their squares. ``only_signs``: only signs differ.
    """

    total: int
    changed: int
    begin: int
    end: int
    same_words: bool
    only_signs: bool


def explain(first: Side, second: Side, name: str, architecture: Architecture | None, part: Part) -> TensorDifference:
    """How a tensor that both have differs.

    ``architecture`` and ``part`` tell of heads and experts; None and ``Part("")`` where they are not known.
    Raises ``CheckpointError``, ``OutsideError``, or ``UsageError`` if the gguf library is needed and missing.
    """
    left, right = first.moves[name], second.moves[name]
    difference = TensorDifference(
        name, How.DIFFERENT, "", dtypes=(left.dtype, right.dtype), shapes=(left.shape, right.shape)
    )
    if left.shape != right.shape:
        return _explain_shapes(first, second, difference)
    if left.dtype != right.dtype:
        return _explain_cast(first, second, difference, architecture, part)
    return _explain_numbers(first, second, difference, architecture, part)


def measure_delta(first: Side, second: Side, name: str) -> Delta:
    """Compare two tensors of the same dtype and size. Raises ``CheckpointError`` or ``OutsideError``."""
    left, right = first.moves[name], second.moves[name]
    size = word_size(left.dtype)
    sign = 1 << (8 * size - 1)
    changed, begin, end, only_signs = 0, left.nbytes, 0, left.dtype in READABLE_FLOATS
    balance = np.zeros(2, np.uint64)
    streams = stream_move(first.checkpoint, left), stream_move(second.checkpoint, right)
    for position, old, new in read_side_by_side(*streams):
        if np.array_equal(old, new):
            continue
        ours, theirs = old.view(f"<u{size}"), new.view(f"<u{size}")
        flipped = ours ^ theirs
        apart = flipped != 0
        changed += int(np.count_nonzero(apart))
        begin = min(begin, position + int(apart.argmax()) * size)
        end = position + (len(apart) - int(apart[::-1].argmax())) * size
        only_signs = only_signs and bool(np.all(apart == (flipped == sign)))
        balance += _sums(ours) - _sums(theirs)
    return Delta(left.nbytes // size, changed, begin, end, not balance.any(), only_signs)


def _sums(words: Numbers) -> Numbers:
    wide = words.astype(np.uint64)
    return np.array([wide.sum(dtype=np.uint64), wide @ wide])


def _explain_shapes(first: Side, second: Side, difference: TensorDifference) -> TensorDifference:
    left, right = first.moves[difference.name], second.moves[difference.name]
    detail = f"has the shape {list(right.shape)}, not {list(left.shape)}"
    if left.dtype == right.dtype and math.prod(left.shape) == math.prod(right.shape):
        if _digest(first, left) == _digest(second, right):
            return replace(difference, how=How.RESHAPED, detail=f"{detail}, and the same bytes")
        if left.shape == right.shape[::-1]:
            prints = fingerprint(first.checkpoint, left), fingerprint(second.checkpoint, right)
            if prints[0] and prints[1] and is_transposed(prints[0], prints[1]):
                return replace(difference, how=How.TRANSPOSED, detail=f"is transposed: {detail}")
    return replace(difference, detail=detail)


def _explain_cast(
    first: Side, second: Side, difference: TensorDifference, architecture: Architecture | None, part: Part
) -> TensorDifference:
    """Tensors of two dtypes whose numbers are not all the same."""
    name, (old, new) = difference.name, difference.dtypes
    for one, other in ((first, second), (second, first)):
        move, wanted = one.moves[name], other.moves[name]
        if can_recode(move.dtype, wanted.dtype) and _digest(one, move.to_dtype(wanted.dtype)) == _digest(other, wanted):
            detail = f"is what {move.dtype} becomes when it is rounded to {wanted.dtype}"
            return _with_error(first, second, replace(difference, how=How.ROUNDED, detail=detail))
    if old in FLOATS and new in FLOATS:
        wide = [Side(side.checkpoint, {name: side.moves[name].to_dtype("F32")}) for side in (first, second)]
        found = _explain_numbers(wide[0], wide[1], difference, architecture, part)
        return replace(found, detail=f"is {new}, not {old}, and {found.detail}")
    quantised = old in BLOCK_FORMATS or new in BLOCK_FORMATS
    how = How.NOT_COMPARABLE if quantised else How.DIFFERENT
    return _with_error(first, second, replace(difference, how=how, detail=f"is {new}, not {old}"))


def _digest(side: Side, move: Move) -> str:
    return digest_move(side.checkpoint, move)


def _explain_numbers(
    first: Side, second: Side, difference: TensorDifference, architecture: Architecture | None, part: Part
) -> TensorDifference:
    delta = measure_delta(first, second, difference.name)
    what = f"{delta.changed:,} of {delta.total:,} numbers"
    difference = replace(difference, changed=delta.changed, begin=delta.begin, end=delta.end)
    if delta.only_signs:
        return replace(difference, how=How.SIGN, detail=f"has the sign of {what} flipped")
    if delta.same_words:
        reordered = _explain_order(first, second, difference, architecture, part)
        if reordered is not None:
            return reordered
        what += ", which are the same in an order that is not known,"
    if delta.changed and 2 * (delta.end - delta.begin) < first.moves[difference.name].nbytes:
        detail = f"differs in {what} all between byte {delta.begin:,} and {delta.end:,}"
        return _with_error(first, second, replace(difference, how=How.RANGE, detail=detail))
    return _with_error(first, second, replace(difference, detail=f"differs in {what}".rstrip(",")))


def _explain_order(
    first: Side, second: Side, difference: TensorDifference, architecture: Architecture | None, part: Part
) -> TensorDifference | None:
    left, right = first.moves[difference.name], second.moves[difference.name]
    old, new = fingerprint(first.checkpoint, left), fingerprint(second.checkpoint, right)
    if old is None or new is None:
        return None
    rows, columns, heads = _groups(architecture, part, left.shape)
    found = find_reordering(old, new, rows, columns, heads)
    if found:
        return replace(difference, how=found.how, detail=found.detail, order=found.order)
    if len(left.shape) == 2 and left.shape[0] != left.shape[1]:
        return _explain_wrong_shape(first, second, difference, old, new)
    return None


def _explain_wrong_shape(
    first: Side, second: Side, difference: TensorDifference, old: Fingerprints, new: Fingerprints
) -> TensorDifference | None:
    """Fused checkpoints store w2 transposed. A tool may forget to transpose it, or transpose one that is not."""
    left, right = first.moves[difference.name], second.moves[difference.name]
    misread = fingerprint(second.checkpoint, replace(right, shape=right.shape[::-1]))
    if misread and is_transposed(old, misread):
        detail = "has the bytes of the transposed matrix under the shape of the matrix"
        return replace(difference, how=How.TRANSPOSED, detail=detail)
    misread = fingerprint(first.checkpoint, replace(left, shape=left.shape[::-1]))
    if misread and is_transposed(misread, new):
        detail = "was transposed as if the matrix had been stored so"
        return replace(difference, how=How.TRANSPOSED, detail=detail)
    return None


def _groups(
    architecture: Architecture | None, part: Part, shape: tuple[int, ...]
) -> tuple[Group | None, Group | None, int]:
    """The groups that a tensor's rows and columns come in, and the number of its heads with rotary pairs."""
    if len(shape) > 2:
        return Group(How.EXPERTS, math.prod(shape[1:-1])), None, 0
    if architecture is None:
        return None, None, 0
    head = Group(How.HEADS, architecture.head_dim)
    rows = {"q": head, "k": head, "v": head, "router": Group(How.EXPERTS, 1)}.get(part.role)
    heads = {"q": architecture.n_heads, "k": architecture.n_kv_heads}.get(part.role, 0)
    return rows, head if part.role == "o" else None, heads


def _with_error(first: Side, second: Side, difference: TensorDifference) -> TensorDifference:
    left, right = first.moves[difference.name], second.moves[difference.name]
    if not can_recode(left.dtype, "F32") or not can_recode(right.dtype, "F32"):
        return difference
    return replace(difference, error=measure_error((first.checkpoint, left), (second.checkpoint, right)))
