"""The fingerprint of a release that works: what its model answers to a short text, in some tens of kilobytes.

It is a safetensors file: reading a foreign one runs nothing, and allocates no more than the file holds.
numpy, no torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.checkpoint import Checkpoint, TensorSpec
from magnetar.convert.formats.safetensors import encode_header, read_safetensors
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError
from magnetar.model.bundled import MAX_FINGERPRINT_BYTES

FORMAT = 1
TOP = 8
"""Logits that are kept at each position: nearly all of the probability, in a thousandth of the room."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """What a model answers to one window of T tokens, ``ids`` [T], each predicted from ``<s>`` and those before it.

    ``top_ids`` and ``top_logits`` [T, 8] are the largest logits at each position, and ``logsumexp`` [T] is the
    normaliser of all logits, in nats. For each of L layers there are ``residual_rms`` [L] and ``residual_samples``
    [L, 256], evenly spaced numbers of the residual stream, and ``expert_counts`` [L, E], the tokens that each expert
    answered; [L, 0] for a dense model. ``kind`` is the dtype of the weights.
    """

    kind: str
    ids: Array
    top_ids: Array
    top_logits: Array
    logsumexp: Array
    residual_rms: Array
    residual_samples: Array
    expert_counts: Array

    def encode(self) -> bytes:
        """The bytes of the file: the same for the same numbers."""
        arrays = {"format": np.array([FORMAT], "<i4"), "kind": np.frombuffer(self.kind.encode(), np.uint8)}
        arrays |= {name: np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in KEPT.items()}
        specs = [TensorSpec(name, NAMES[a.dtype.str], a.shape, 0, 0, a.nbytes) for name, a in arrays.items()]
        return encode_header(specs, {}) + b"".join(a.tobytes() for a in arrays.values())


KEPT: Mapping[str, str] = {
    "ids": "<i4",
    "top_ids": "<i4",
    "top_logits": "<f4",
    "logsumexp": "<f4",
    "residual_rms": "<f4",
    "residual_samples": "<f4",
    "expert_counts": "<i4",
}
NAMES: Mapping[str, str] = {"<i4": "I32", "<f4": "F32", "|u1": "U8"}


def read_fingerprint(path: Path) -> Fingerprint:
    """Read what ``encode`` wrote. Raises ``UsageError``, ``DiskError``, ``CheckpointError``."""
    with LocalFile(path) as opened:
        if opened.size > MAX_FINGERPRINT_BYTES:
            raise _refuse(path, f"has {opened.size} bytes, more than any fingerprint")
        return _build(path, read_safetensors(opened))


def _build(path: Path, checkpoint: Checkpoint) -> Fingerprint:
    missing = {"format", "kind", *KEPT} - checkpoint.specs.keys()
    if missing:
        raise _refuse(path, f"lacks {min(missing)}")
    if (version := int(_array(path, checkpoint, "format", "<i4").sum())) != FORMAT:
        raise _refuse(path, f"is of format {version}, and this version of the program reads {FORMAT}")
    arrays = {name: _array(path, checkpoint, name, dtype) for name, dtype in KEPT.items()}
    length, layers = len(arrays["ids"]), len(arrays["residual_rms"])
    shapes = {"ids": (length,), "top_ids": (length, TOP), "top_logits": (length, TOP), "logsumexp": (length,)}
    if not length or any(arrays[name].shape != shape for name, shape in shapes.items()):
        raise _refuse(path, "has logits for other positions than it has ids")
    if any(arrays[name].ndim != 2 or len(arrays[name]) != layers for name in ("residual_samples", "expert_counts")):
        raise _refuse(path, "does not have one row for each layer")
    if not all(np.isfinite(arrays[name]).all() for name, dtype in KEPT.items() if dtype == "<f4"):
        raise _refuse(path, "holds numbers that are not finite")
    kind = bytes(checkpoint.read("kind")).decode("ascii", "replace")
    return Fingerprint(kind=kind, **arrays)


def _array(path: Path, checkpoint: Checkpoint, name: str, dtype: str) -> Array:
    spec = checkpoint.specs[name]
    if spec.dtype != NAMES[dtype] or spec.nbytes != math.prod(spec.shape) * DTYPES[spec.dtype].itemsize:
        raise _refuse(path, f"keeps {name} as {spec.dtype}")
    return np.frombuffer(checkpoint.read(name), dtype).reshape(spec.shape)


def _refuse(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: the fingerprint {what}", hint="get it from the release's publisher again")


def fits(fingerprint: Fingerprint, architecture: Architecture) -> bool:
    """Whether a fingerprint can be of such a model: as many layers and experts, and no token that it does not know."""
    ids = np.concatenate([fingerprint.ids, fingerprint.top_ids.reshape(-1)])
    known = bool(ids.min() >= 0) and bool(ids.max() < architecture.vocab_size)
    return known and fingerprint.expert_counts.shape == (architecture.n_layers, architecture.n_experts)


def is_like(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two fingerprints are of one text and one shape of model, so that they can be compared."""
    names = [field.name for field in fields(one) if field.name != "kind"]
    same_shapes = all(getattr(one, name).shape == getattr(other, name).shape for name in names)
    return same_shapes and bool((one.ids == other.ids).all())
