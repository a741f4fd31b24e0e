"""The text that the bundled release learns from, as token ids, and the scoring of a model on its held-out part."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.architecture.tokenizer import BEGIN, Tokenizer
from magnetar.model.run.scoring import ExpertLoad, count_bits, cut_windows
from magnetar.model.training.austen_corpus import held_out_text, read_novels, training_text
from magnetar.model.training.train_tokenizer import train_pieces


@dataclass(frozen=True, slots=True)
class Corpus:
    """The training text as token ids, the held-out text, and the ``tokenizer.model`` (``pieces``)."""

    pieces: bytes
    training: Tensor
    held_out: str

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the ids."""
        return Tokenizer(self.pieces)

    def batch(self, step: int, sequences: int, context: int, seed: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [B, T] of ``step``. Each epoch cuts the text anew and shuffles it, by the seed alone."""
        rows = (len(self.training) - context) // context
        epoch, at = divmod(step * sequences, rows - rows % sequences)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        shift = int(torch.randint(context, (1,), generator=generator))
        chosen = torch.randperm(rows, generator=generator)[at : at + sequences].tolist()
        targets = torch.stack([self.training[shift + row * context :][:context] for row in chosen])
        return torch.cat([torch.full((len(targets), 1), BEGIN), targets[:, :-1]], dim=1), targets


def read_corpus(data: Path, vocab_size: int) -> Corpus:
    """Read the novels, train the pieces on the training text, and encode it. Raises as ``read_novels`` does."""
    novels = read_novels(data)
    text = training_text(novels)
    pieces = train_pieces(text.split("\n"), vocab_size)
    return Corpus(pieces, torch.tensor(Tokenizer(pieces).encode(text)), held_out_text(novels))


def evaluate(
    model: Mixtral, corpus: Corpus, context: int, max_windows: int | None = None
) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """Bits per byte on the held-out text, or on about ``max_windows`` windows spread over it, and the experts' load."""
    tokenizer = corpus.tokenizer
    loads = [ExpertLoad() for _ in model.layers]
    bits, size = 0.0, 0
    with torch.inference_mode():
        windows = list(cut_windows(tokenizer.encode(corpus.held_out), context))
        for index in range(0, len(windows), max(1, len(windows) // (max_windows or len(windows)))):
            inputs, targets = windows[index]
            bits += count_bits(model(inputs, watches=loads), targets)
            size += tokenizer.count_bytes(targets[0].tolist(), opening=index == 0)
    return bits / size, tuple(load.shares for load in loads)
