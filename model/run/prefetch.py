"""The tensors of a model in the order of a pass; the next ones are read while this one is computed with."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import torch
from torch import Tensor

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.model.machine.machine import NEXT_ONE
from magnetar.model.run.buffer_pool import BufferPool
from magnetar.model.run.load import DTYPES
from magnetar.model.run.weights import Buffer, ReadsIntoMemory, Weights

OnRead = Callable[[TensorSpec, Buffer], None]
"""Called once for each tensor with its bytes, in the thread that reads them."""

ATTENTION = ("wq", "wk", "wv", "wo")
EXPERT = ("w1", "w3", "w2")


def reading_order(architecture: Architecture) -> list[str]:
    """The names of all tensors in the order of a pass: expert by expert, matrix by matrix."""
    layers = [name for layer in range(architecture.n_layers) for name in _layer_order(architecture, layer)]
    return ["tok_embeddings.weight", *layers, "norm.weight", "output.weight"]


def _layer_order(architecture: Architecture, layer: int) -> Iterator[str]:
    prefix = f"layers.{layer}"
    yield f"{prefix}.attention_norm.weight"
    yield from (f"{prefix}.attention.{matrix}.weight" for matrix in ATTENTION)
    yield f"{prefix}.ffn_norm.weight"
    if not architecture.n_experts:
        yield from (f"{prefix}.feed_forward.{matrix}.weight" for matrix in EXPERT)
        return
    yield f"{prefix}.feed_forward.gate.weight"
    for expert in range(architecture.n_experts):
        yield from (f"{prefix}.feed_forward.experts.{expert}.{matrix}.weight" for matrix in EXPERT)


class TensorStream:
    """Tensors that are taken in a given order. Those that come next are read in the meantime, by a thread.

    ``ahead`` is how many bytes of them may lie in memory beside the tensor that was taken. One tensor may always,
    whatever its size. With ``ahead`` 0 none is read ahead, which needs the least memory.
    """

    sequential = True

    def __init__(
        self, weights: Weights, names: Sequence[str], on_read: OnRead | None = None, ahead: int = NEXT_ONE
    ) -> None:
        self._weights, self._names, self._on_read = weights, deque(names), on_read
        self._room = ahead
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead") if ahead else None
        self._buffers = BufferPool()
        self._coming: deque[tuple[str, Future[Any]]] = deque()
        self._read_ahead()

    def take(self, name: str) -> Tensor:
        """The next tensor, as it is stored; it must be the one that the order says.

        Raises ``CheckpointError`` or ``DiskError`` if its bytes cannot be read, ``LookupError`` for another tensor.
        """
        spec = self._weights.specs[name]
        expected = self._coming[0][0] if self._coming else self._names[0] if self._names else None
        if expected != name:
            raise LookupError(f"{name} was asked for out of its turn")
        if self._reader is None:
            content = self._read(self._names.popleft())
        else:
            content = self._coming.popleft()[1].result()
            self._room += spec.nbytes
            self._read_ahead()
        return torch.frombuffer(content, dtype=DTYPES[spec.dtype]).view(spec.shape)

    def close(self) -> None:
        """Stop reading, after the tensor that is being read."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _read_ahead(self) -> None:
        while self._reader is not None and self._names:
            size = self._weights.specs[self._names[0]].nbytes
            if self._coming and size > self._room:
                return
            self._room -= size
            name = self._names.popleft()
            self._coming.append((name, self._reader.submit(self._read, name)))

    def _read(self, name: str) -> Any:
        """The bytes of a tensor, as an object that torch can use as memory."""
        spec = self._weights.specs[name]
        if not isinstance(self._weights, ReadsIntoMemory):
            content: Any = self._weights.read(name)
        else:
            content = self._buffers.lend(spec.nbytes, self._weights.offset(name))
            self._weights.read_into(name, memoryview(content))
        if self._on_read is not None:
            self._on_read(spec, memoryview(content))
        return content
