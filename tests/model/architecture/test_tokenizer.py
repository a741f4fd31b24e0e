import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import BootError
from magnetar.model.architecture.tokenizer import SPACE, Tokenizer
from magnetar.model.bundled import bundled_release
from magnetar.model.training.train_tokenizer import train_pieces

BUNDLED = Tokenizer.open(bundled_release() / "tokenizer.model")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[SPACE, "\0"]), max_size=60)


@given(TEXTS)
def test_every_text_comes_back_as_it_was(text: str) -> None:
    assert BUNDLED.decode(BUNDLED.encode(text)) == text


@given(TEXTS)
def test_the_ids_of_a_text_count_its_bytes(text: str) -> None:
    assert BUNDLED.count_bytes(BUNDLED.encode(text)) == len(text.encode())


@given(TEXTS, st.integers(0, 60))
def test_the_bytes_of_two_halves_add_up(text: str, cut: int) -> None:
    ids = BUNDLED.encode(text)
    cut = max(1, cut)
    halves = BUNDLED.count_bytes(ids[:cut]) + BUNDLED.count_bytes(ids[cut:], opening=False)
    assert halves == len(text.encode())


def test_the_form_is_mistrals() -> None:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(bundled_release() / "tokenizer.model"))
    assert processor.GetPieceSize() == 1024
    assert [processor.IdToPiece(id_) for id_ in range(3)] == ["<unk>", "<s>", "</s>"]
    assert [processor.IdToPiece(id_) for id_ in range(3, 259)] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert all(processor.IsByte(id_) for id_ in range(3, 259))
    assert processor.pad_id() == -1
    assert "".join(processor.EncodeAsPieces(" a")) == SPACE * 2 + "a"
    assert "".join(processor.EncodeAsPieces("a  b")) == SPACE + "a" + SPACE * 2 + "b"
    assert processor.IdToPiece(BUNDLED.encode("\n")[-1]) == "<0x0A>"


def test_training_twice_gives_the_same_model() -> None:
    lines = ["the quick brown fox jumps over the lazy dog", "she sells sea shells by the sea shore"] * 20
    assert train_pieces(lines, 300) == train_pieces(lines, 300)


def test_what_is_no_sentencepiece_model_is_refused() -> None:
    with pytest.raises(BootError, match="not a SentencePiece model"):
        Tokenizer(b"\x00\x01 not a model", "tokenizer.model")
