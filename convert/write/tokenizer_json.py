"""Read a SentencePiece model without protobuf, and make the ``tokenizer.json`` that gives exactly the same ids."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from magnetar.errors import ConversionError

SPACE = "\u2581"
"""The character that stands for a space inside of a piece."""

MAX_MODEL_BYTES = 16 << 20
MAX_FIELDS = 1 << 20
"""In one message. The largest vocabulary known has 262,144 pieces in 4 MB."""

MAX_PIECE_LENGTH = 512


class PieceType(IntEnum):
    """The types of sentencepiece_model.proto."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class VocabularyPiece:
    """One piece of the vocabulary. Its id is its place in the list."""

    text: str
    score: float
    kind: PieceType


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The contents of ``tokenizer.model``, as far as encoding needs them. An id is -1 where there is no such piece."""

    pieces: tuple[VocabularyPiece, ...]
    is_bpe: bool
    bos: int
    eos: int
    unknown: int
    byte_fallback: bool
    normalizer: str
    adds_prefix: bool
    trims_spaces: bool
    has_rewrites: bool


@lru_cache(maxsize=2)  # one verification asks for the same tokenizer several times
def read_vocabulary(content: bytes) -> Vocabulary:
    """Parse a ``tokenizer.model`` (sentencepiece_model.proto). Raises ``ConversionError`` if it is damaged."""
    try:
        fields = list(_fields(content))
        pieces = tuple(_read_piece(value) for number, value in fields if number == 1)
        trainer = dict(_fields(_last(fields, 2)))
        normalizer = dict(_fields(_last(fields, 3)))
        return Vocabulary(
            pieces=pieces,
            is_bpe=trainer.get(3, 1) == 2,
            unknown=_signed(trainer.get(40, 0)),
            bos=_signed(trainer.get(41, 1)),
            eos=_signed(trainer.get(42, 2)),
            byte_fallback=bool(trainer.get(35, 0)),
            normalizer=_text(normalizer.get(1, b"")),
            adds_prefix=bool(normalizer.get(3, 1)),
            trims_spaces=bool(normalizer.get(4, 1)),
            has_rewrites=bool(normalizer.get(2, b"")),
        )
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise ConversionError(
            f"tokenizer.model is not a SentencePiece model: {error}",
            hint="fetch the release's again",
            path=Path("tokenizer.model"),
        ) from error


def why_not_exact(vocabulary: Vocabulary) -> str:
    """Why a ``tokenizer.json`` might not give the same ids; empty if it certainly does."""
    kinds = {piece.kind for piece in vocabulary.pieces}
    texts = {piece.text for piece in vocabulary.pieces}
    reasons = {
        "it is not of the BPE kind": not vocabulary.is_bpe,
        "it rewrites text before encoding": vocabulary.has_rewrites,
        "it trims spaces": vocabulary.trims_spaces,
        "it has pieces defined by the user": PieceType.USER_DEFINED in kinds,
        "it has unused pieces": PieceType.UNUSED in kinds,
        "it has two pieces of one text": len(texts) != len(vocabulary.pieces),
        "it has no piece for what it does not know": not 0 <= vocabulary.unknown < len(vocabulary.pieces),
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The document for the ``tokenizers`` library: a prefix, spaces as U+2581, then BPE with bytes as fallback."""
    pieces = vocabulary.pieces
    specials = [
        (index, piece) for index, piece in enumerate(pieces) if piece.kind in (PieceType.UNKNOWN, PieceType.CONTROL)
    ]
    prefix = [{"type": "Prepend", "prepend": SPACE}] if vocabulary.adds_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.adds_prefix else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(index, piece.text) for index, piece in specials],
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, _replace(" ", SPACE)]},
        "pre_tokenizer": None,
        "post_processor": _post_processor(vocabulary),
        "decoder": {
            "type": "Sequence",
            "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[vocabulary.unknown].text,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": vocabulary.byte_fallback,
            "ignore_merges": False,
            "vocab": {piece.text: index for index, piece in enumerate(pieces)},
            "merges": [list(pair) for pair in list_merges(pieces)],
        },
    }


def list_merges(pieces: Sequence[VocabularyPiece]) -> list[tuple[str, str]]:
    """Every pair of pieces that together are a piece, best first.

    SentencePiece joins the pair whose *result* has the best score, and of equal ones the leftmost. A list of merges
    also ranks different pairs with the same result. That could matter only where two such pairs overlap in a text, and
    joining from the left never leaves them so.
    """
    known = {piece.text: piece for piece in pieces if piece.kind is PieceType.NORMAL}
    ranked = sorted(known, key=lambda text: -known[text].score)
    return [
        (text[:cut], text[cut:])
        for text in ranked
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]


def _post_processor(vocabulary: Vocabulary) -> dict[str, Any] | None:
    """The processor that puts the token of the beginning before every text, as the publisher's code does."""
    if not 0 <= vocabulary.bos < len(vocabulary.pieces):
        return None
    text = vocabulary.pieces[vocabulary.bos].text
    begin = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, {"SpecialToken": {"id": text, "type_id": 1}}, second],
        "special_tokens": {text: {"id": text, "ids": [vocabulary.bos], "tokens": [text]}},
    }


def _added_token(index: int, text: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **flags, "special": True}


def _replace(text: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


def _read_piece(content: int | bytes) -> VocabularyPiece:
    fields = dict(_fields(_bytes(content)))
    score = struct.unpack("<f", _bytes(fields.get(2, b"\0\0\0\0")))[0]
    text = _text(fields.get(1, b""))
    if len(text) > MAX_PIECE_LENGTH:
        raise ValueError(f"it has a piece of {len(text)} characters")
    return VocabularyPiece(text, score, PieceType(_signed(fields.get(3, PieceType.NORMAL))))


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of one protobuf message: a number, and an integer or bytes (protobuf encoding, wire types).

    Raises ``ValueError`` or ``IndexError`` if it is malformed.
    """
    position = count = 0
    while position < len(content):
        count += 1
        if count > MAX_FIELDS:
            raise ValueError("it has more fields than any vocabulary")
        tag, position = _varint(content, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(content, position)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(content, position)
        else:
            length = {1: 8, 5: 4}[wire] if wire in (1, 5) else -1
        if length < 0 or position + length > len(content):
            raise ValueError("a field is malformed")
        yield number, content[position : position + length]
        position += length


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is malformed")


def _last(fields: Sequence[tuple[int, int | bytes]], number: int) -> bytes:
    return _bytes(next((value for found, value in reversed(fields) if found == number), b""))


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a field has the wrong type")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8")


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise TypeError("a field has the wrong type")
    return value - (1 << 64) if value >> 63 else value
