"""Running a model one layer at a time, so that the memory it takes is that of a layer.

A teacher-forced pass meets every weight once. So all that is to be measured goes through the layers together: the
windows of a text, and the head of the same text decoded token by token, which must come to the same logits.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from magnetar.convert.architecture import Architecture
from magnetar.convert.view import View
from magnetar.errors import BootError
from magnetar.events import Emit, Moved, ignore
from magnetar.model.load import load_block, read_tensor
from magnetar.model.mixtral import KeyValues, Rotation, Watch


class NotFinite(BootError):
    """An activation or a logit is NaN or infinite."""


class StreamedModel:
    """A model at rest, run layer by layer."""

    def __init__(self, view: View, architecture: Architecture) -> None:
        self._view, self._architecture = view, architecture
        self.empty: list[str] = []
        """The tensors met so far that hold nothing but zeros, as a writer leaves them that lost their bytes."""

    def embed(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """Piece ids [B, T] to activations [B, T, D]."""
        table = self._read("tok_embeddings.weight")
        return [functional.embedding(ids, table) for ids in batches]

    def run(self, batches: list[Tensor], decoded: Tensor, watches: Sequence[Watch], emit: Emit = ignore) -> Tensor:
        """Send ``batches`` [B, T, D] through all layers, in place, and ``decoded`` [B, T, D], returned, token by token.

        ``watches`` are one for each layer, and see the batches. Raises ``NotFinite``, naming the layer, where an
        activation is not finite.
        """
        for layer, watch in enumerate(watches):
            decoded = self._run_layer(layer, batches, decoded, watch)
            if not all(bool(x.isfinite().all()) for x in (*batches, decoded)):
                raise NotFinite(f"layer {layer}: its activations are not finite")
            emit(Moved("boot", 1))
        return decoded

    def logits(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Activations [B, T, D] to the logits [B, T, V] of each next piece. Raises ``NotFinite``."""
        norm, output = self._read("norm.weight"), self._read("output.weight")
        for x in batches:
            logits = functional.rms_norm(x, norm.shape, norm, self._architecture.norm_eps) @ output.T
            if not bool(logits.isfinite().all()):
                raise NotFinite("output: its logits are not finite")
            yield logits

    def _read(self, name: str) -> Tensor:
        weight = read_tensor(self._view, name)
        if not weight.any():
            self.empty.append(name)
        return weight

    def _run_layer(self, layer: int, batches: list[Tensor], decoded: Tensor, watch: Watch) -> Tensor:
        # A function of its own, so that one layer is gone before the next is read.
        block = load_block(self._view, self._architecture, layer)
        self.empty += [f"layers.{layer}.{name}" for name, weight in block.named_parameters() if not weight.any()]
        for index, x in enumerate(batches):
            batches[index] = block(x, Rotation(self._architecture, 0, x.shape[1]), watch=watch)
        cache = KeyValues(self._architecture, len(decoded), decoded.shape[1], decoded.dtype)
        tokens = [
            block(x, Rotation(self._architecture, position, 1), cache)
            for position, x in enumerate(torch.split(decoded, 1, dim=1))
        ]
        return torch.cat(tokens, dim=1)
