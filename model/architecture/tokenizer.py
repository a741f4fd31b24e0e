"""The SentencePiece tokenizer of a release: text to token ids and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.errors import BootError

UNKNOWN, BEGIN, END = 0, 1, 2
"""The ids of ``<unk>``, ``<s>`` and ``</s>`` in every Mistral tokenizer; there is no padding."""

SPACE = "\u2581"
"""The character for a space inside a piece."""


class Tokenizer:
    """A ``tokenizer.model``, opened for reading."""

    def __init__(self, model: bytes, name: str = "tokenizer.model") -> None:
        from sentencepiece import SentencePieceProcessor

        self._processor: Any = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise BootError(
                f"{name}: this is not a SentencePiece model", hint="fetch the release's tokenizer.model again"
            ) from error

    @classmethod
    def open(cls, path: Path) -> "Tokenizer":
        """Read the tokenizer at ``path``. Raises ``BootError`` if it is not a SentencePiece model."""
        return cls(path.read_bytes(), str(path))

    @property
    def vocab_size(self) -> int:
        """The number of pieces."""
        return int(self._processor.GetPieceSize())

    def encode(self, text: str) -> list[int]:
        """The token ids of ``text``, without ``<s>``."""
        return list(self._processor.EncodeAsIds(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``."""
        return str(self._processor.DecodeIds(list(ids)))

    def spell(self, ids: Sequence[int]) -> list[str]:
        """Each piece as it reads in a text, spaces as spaces; a byte as ``<0x0A>``."""
        return [str(self._processor.IdToPiece(i)).replace(SPACE, " ") for i in ids]

    def count_bytes(self, ids: Sequence[int], *, opening: bool = True) -> int:
        """How many bytes of UTF-8 ``ids`` stand for. The dummy space at the opening of a text does not count."""
        count = sum(1 if self._processor.IsByte(i) else len(self._surface(i)) for i in ids)
        dummy = opening and bool(ids) and self._processor.IdToPiece(ids[0]).startswith(SPACE)
        return count - dummy

    def _surface(self, piece: int) -> bytes:
        return str(self._processor.IdToPiece(piece)).replace(SPACE, " ").encode()


def open_tokenizer(source: CheckpointSource) -> Tokenizer:
    """The tokenizer beside the weights. Raises ``BootError`` if there is none, or one that does not fit them."""
    if not source.has_tokenizer:
        raise BootError(
            f"{source.folder}: no tokenizer.model lies beside the weights, so no text can be scored",
            hint="put the release's tokenizer.model there",
        )
    name = f"{source.folder}/tokenizer.model"
    tokenizer, known = Tokenizer(source.read_tokenizer(), name), source.architecture.vocab_size
    if tokenizer.vocab_size > known:
        raise BootError(
            f"{name}: has {tokenizer.vocab_size} pieces, and the weights know {known}",
            hint="take the tokenizer.model of the same release",
        )
    return tokenizer
