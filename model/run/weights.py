"""Weights as the model needs them: under the publisher's names, each read when it is asked for. No torch here."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import find_layout
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS
from magnetar.convert.read.checkpoint_source import CheckpointSource, open_source
from magnetar.convert.read.uncached_file import SparingFile
from magnetar.convert.transform.view import View, view_as
from magnetar.model.machine.machine import MAX_HELD_BYTES

PUBLISHED = "mistral"
"""The layout whose names and arrangement are those of the model's own code."""

RUNNABLE = ("F32", "F16", "BF16")
"""The dtypes that weights may be stored in, by safetensors' names; quantised blocks are unpacked to F32."""

NUMBERS = re.compile(r"\d+")
BY_PIECE = (("embed", "tok_embeddings"), ("embd", "tok_embeddings"), ("wte", "tok_embeddings"), ("lm_head", "output"))
"""Words in the names that other families give to the two tensors with a row for each piece of the vocabulary."""


class Weights(Protocol):
    """A checkpoint in the publisher's layout. ``convert``'s ``View`` is one."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Every tensor by name, in the order of the layers."""
        ...

    def read(self, name: str) -> bytearray:
        """One tensor's bytes, row-major, little-endian, writable. Raises ``CheckpointError`` or ``DiskError``."""
        ...


@runtime_checkable
class ReadsIntoMemory(Protocol):
    """Weights that can be read into memory that is there already."""

    def read_into(self, name: str, memory: memoryview) -> None:
        """Read one tensor into ``memory``, which has its size. Raises what ``read`` raises."""
        ...

    def offset(self, name: str) -> int:
        """Where in its file it begins. Direct reads need memory that lies in its page as that byte lies in its own."""
        ...


Buffer = bytearray | memoryview
"""The bytes of a tensor."""


def open_for_a_pass(path: Path) -> CheckpointSource:
    """Open weights that are read once from first to last: past the page cache if they are large.

    Weights that could be held in memory may be read again, for a diagnosis or a sample, and should be in the cache.
    Raises what ``open_source`` raises.
    """
    source = open_source(path)
    if source.checkpoint.nbytes <= MAX_HELD_BYTES:
        return source
    source.close()
    return open_source(path, open_file=SparingFile)


def view_to_run(source: CheckpointSource, layout: str = PUBLISHED) -> View:
    """``source`` in ``layout``, with quantised blocks unpacked to floats, if the library that reads them is here."""
    return view_as(source, layout, unpacked=find_spec("gguf") is not None)


def find_unrunnable(specs: Mapping[str, TensorSpec]) -> TensorSpec | None:
    """The first tensor of a dtype that cannot be computed with; None if there is none."""
    return next((spec for spec in specs.values() if spec.dtype not in RUNNABLE), None)


def explain_unrunnable(dtype: str, others: int = 0) -> str:
    """Why a tensor of a dtype that is not ``RUNNABLE``, and ``others`` like it, cannot be run, and what to do."""
    stored = f"is stored as {dtype}, like {others} others," if others else f"is stored as {dtype},"
    if dtype in BLOCK_FORMATS:
        return f"{stored} which takes the gguf library to read: pip install 'magnetar[gguf]'"
    return f"{stored} which cannot be run; boot what it was made of"


def name_stored(source: CheckpointSource) -> dict[str, str]:
    """For each of the publisher's names the name in the file of the tensor that holds it."""
    architecture = source.architecture
    places = find_layout(source.layout).places(architecture)
    published = find_layout(PUBLISHED).tensors(architecture)
    return {name: places[laid.parts[0]].tensor for name, laid in published.items()}


def stored_kind(source: CheckpointSource) -> str:
    """The dtype or block format that most bytes of the file are of."""
    totals: dict[str, int] = {}
    for spec in source.checkpoint.specs.values():
        totals[spec.dtype] = totals.get(spec.dtype, 0) + spec.nbytes
    return max(totals, key=lambda dtype: totals[dtype])


def describe_role(name: str, architecture: Architecture | None) -> str:
    """The role of a tensor, so that tensors of one role can be compared: ``w1``, ``wq``, ``ffn_norm``, ``output``.

    Without an architecture it is the name without its numbers, or one of the two roles with a row for each piece.
    """
    if architecture is None:
        return next((role for word, role in BY_PIECE if word in name), NUMBERS.sub("*", name))
    parts = name.removesuffix(".weight").split(".")
    return parts[-1] if architecture.n_experts or parts[-1][0] != "w" else f"dense {parts[-1]}"
