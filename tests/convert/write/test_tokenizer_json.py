import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from magnetar.convert.write.tokenizer_json import PieceType, read_vocabulary, tokenizer_json, why_not_exact
from magnetar.errors import ConversionError
from tests.convert.forge import TEXT

ODD_STRINGS = (
    "",
    " ",
    "  ",
    "   a",
    "a ",
    "a  b   c    d",
    "\n",
    "\n\n\n",
    "\t a\r\n b",
    "\u2581",
    "\u2581\u2581a",
    "caf\u00e9 nai\u0308ve",
    "\u65e5\u672c\u8a9e",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "a\u0000b",
    "\u00a0\u3000\u200b",
    "banana" * 9,
    "aaaaaaaaaaaaa",
    "ababababababa",
    "<0x41>",
    "12345 67.89",
    "It is a truth universally acknowledged",
)


class Pair:
    """The two encoders of one tokenizer.model."""

    def __init__(self, model: bytes) -> None:
        import sentencepiece
        import tokenizers

        self.reference: Any = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.ours: Any = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(read_vocabulary(model))))

    def check(self, text: str) -> None:
        ids = self.reference.encode(text)
        assert self.ours.encode(text, add_special_tokens=False).ids == ids
        assert self.ours.encode(text).ids == [1, *ids]
        assert self.ours.decode(ids) == self.reference.decode(ids)


@pytest.fixture(scope="module")
def pair(tokenizer_model: bytes) -> Pair:
    return Pair(tokenizer_model)


@pytest.mark.parametrize("text", ODD_STRINGS)
def test_odd_strings_get_the_ids_of_sentencepiece(pair: Pair, text: str) -> None:
    pair.check(text)


@settings(max_examples=400)
@given(st.text(alphabet=st.one_of(st.sampled_from("ab n\n.,1\u2581\u00e9"), st.characters(codec="utf-8"))))
@example("a\u0301 <s")
def test_any_text_gets_the_ids_of_sentencepiece(pair: Pair, text: str) -> None:
    if not any(token in text for token in ("<s>", "</s>", "<unk>")):
        pair.check(text)


def test_the_vocabulary_is_that_of_sentencepiece(pair: Pair, tokenizer_model: bytes) -> None:
    vocabulary = read_vocabulary(tokenizer_model)
    reference = pair.reference
    assert [piece.text for piece in vocabulary.pieces] == [
        reference.id_to_piece(index) for index in range(reference.get_piece_size())
    ]
    for index, piece in enumerate(vocabulary.pieces):
        assert piece.score == reference.get_score(index)
        assert (piece.kind is PieceType.BYTE) == reference.is_byte(index)
        assert (piece.kind is PieceType.CONTROL) == reference.is_control(index)
    assert (vocabulary.unknown, vocabulary.bos, vocabulary.eos) == (0, 1, 2)
    assert why_not_exact(vocabulary) == ""


def test_transformers_gives_the_ids_of_sentencepiece(pair: Pair, tokenizer_model: bytes, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from magnetar.convert.write.side_files import tokenizer_files

    for name, content in tokenizer_files(tokenizer_model, 32768)[0].items():
        (tmp_path / name).write_bytes(content)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*ODD_STRINGS, "a<s>b</s> <unk>"):
        ids = pair.reference.encode(text)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids, text
        assert tokenizer(text)["input_ids"] == [1, *ids]
        assert tokenizer.decode([1, *ids], skip_special_tokens=True) == pair.reference.decode(ids)


@pytest.mark.parametrize("cut", [1, 10, 100, 1000])
def test_a_damaged_model_is_refused(tokenizer_model: bytes, cut: int) -> None:
    with pytest.raises(ConversionError, match="SentencePiece"):
        read_vocabulary(tokenizer_model[:-cut] + b"\xff" * (cut - 1))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ConversionError):
        read_vocabulary(content)


def test_the_tokenizer_of_every_bundled_release_gives_the_same_ids() -> None:
    for model in Path(__file__).parents[3].glob("model/release/*/tokenizer.model"):
        bundled = Pair(model.read_bytes())
        for text in (*ODD_STRINGS, TEXT):
            bundled.check(text)
