from itertools import islice

import pytest

from magnetar.errors import BootError, UsageError
from magnetar.model.architecture.tokenizer import Tokenizer
from magnetar.model.boot.boot_request import PromptRequest
from magnetar.model.boot.prompt import generate, spell_out
from magnetar.model.bundled import bundled_release
from magnetar.model.machine.machine import Machine


def test_text_comes_piece_by_piece_and_the_seed_decides_it() -> None:
    one, two, other = (
        list(generate(PromptRequest(bundled_release(), "She was", 12, temperature=1.0, seed=seed)))
        for seed in (1, 1, 2)
    )
    assert one == two != other
    assert len(one) == 12


def test_without_temperature_the_likeliest_text_is_written() -> None:
    first = "".join(generate(PromptRequest(bundled_release(), "Mr. Knightley", 8, temperature=0)))
    assert first == "".join(
        islice(generate(PromptRequest(bundled_release(), "Mr. Knightley", 99, temperature=0, seed=9)), 8)
    )


def test_characters_of_several_bytes_are_shown_when_they_are_whole() -> None:
    tokenizer = Tokenizer.open(bundled_release() / "tokenizer.model")
    prompt, ids = tokenizer.encode("a"), tokenizer.encode("a \u20ac b")[1:]
    parts = list(spell_out(tokenizer, prompt, ids))
    assert "".join(parts) == " \u20ac b"
    assert "" in parts
    assert not any("\ufffd" in part for part in parts)


def test_what_cannot_be_written_is_refused_before_it_begins() -> None:
    with pytest.raises(UsageError, match="-1 tokens"):
        generate(PromptRequest(bundled_release(), "a", -1))
    with pytest.raises(BootError, match=r"writing takes about [0-9,]+ bytes, and 100,000,000 are allowed") as caught:
        generate(PromptRequest(bundled_release(), "a", machine=Machine(max_memory=100_000_000)))
    assert caught.value.limit == 100_000_000
    assert caught.value.needed is not None
    assert caught.value.needed > caught.value.limit


@pytest.mark.parametrize("held", [0, 2_000_000], ids=["nothing is kept", "a part is kept"])
def test_a_model_too_large_to_be_held_writes_the_same_from_disk(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = list(generate(PromptRequest(bundled_release(), "Mr. Knightley", 8, temperature=0)))
    monkeypatch.setattr("magnetar.model.machine.machine.MAX_HELD_BYTES", held)
    assert list(generate(PromptRequest(bundled_release(), "Mr. Knightley", 8, temperature=0))) == wanted


def test_what_is_written_from_disk_reads_the_chosen_experts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from magnetar.convert.transform.view import View

    met: list[str] = []
    read = View.read

    def count(view: View, name: str) -> bytearray:
        met.append(name)
        return read(view, name)

    monkeypatch.setattr(View, "read", count)
    monkeypatch.setattr("magnetar.model.machine.machine.MAX_HELD_BYTES", 0)
    list(generate(PromptRequest(bundled_release(), "", 1, temperature=0)))
    assert len([name for name in met if ".experts." in name]) == 4 * 2 * 3  # layers, experts of one token, matrices
