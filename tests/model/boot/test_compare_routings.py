from dataclasses import replace
from itertools import islice

import pytest
import torch

from magnetar.errors import BootError, UsageError
from magnetar.model.architecture.routing import SHOWN, Router, Strategy
from magnetar.model.architecture.tokenizer import Tokenizer
from magnetar.model.boot.boot import boot
from magnetar.model.boot.compare_routings import RoutingScore, compare_routings
from magnetar.model.boot.prompt import generate, spell_out
from magnetar.model.boot.request import BootRequest, PromptRequest, RoutingRequest
from magnetar.model.bundled import bundled_release, smoke_text
from magnetar.model.machine.machine import Machine
from tests.model.conftest import WriteRelease
from tests.model.forge import DENSE, make_model

TEXT = smoke_text().text[:4000]
LOGITS = torch.tensor([[1.0, 3.0, 2.0, 0.0], [0.0, -1.0, 5.0, 4.0]])


@pytest.fixture(scope="module")
def scores() -> dict[str, RoutingScore]:
    return {score.strategy: score for score in compare_routings(RoutingRequest(bundled_release(), text=TEXT))}


def test_the_trained_routing_is_among_those_compared_and_beats_chance(scores: dict[str, RoutingScore]) -> None:
    assert list(scores) == [strategy.value for strategy in SHOWN]
    assert [score.strategy for score in scores.values() if score.trained] == ["top2"]
    bits = {name: score.bits_per_byte or 0 for name, score in scores.items()}
    assert bits["top2"] < bits["top1"] < bits["random"]
    assert bits["top2"] < bits["all-weighed"] < bits["random"]
    assert bits["top2"] == pytest.approx(boot(BootRequest(bundled_release(), text=TEXT, sample_tokens=1)).bits_per_byte)


def test_each_routing_is_computed_in_the_numbers_and_the_memory_that_are_allowed(
    scores: dict[str, RoutingScore],
) -> None:
    (rounded,) = compare_routings(
        RoutingRequest(bundled_release(), ("top2",), text=TEXT, machine=Machine(dtype="bf16"))
    )
    assert rounded.bits_per_byte != scores["top2"].bits_per_byte
    assert rounded.bits_per_byte == pytest.approx(
        scores["top2"].bits_per_byte,
        rel=2e-3,
    )
    with pytest.raises(BootError, match=r"running takes about [0-9,]+ bytes, and 100,000,000 are allowed"):
        compare_routings(
            RoutingRequest(bundled_release(), ("top2",), text=TEXT, machine=Machine(max_memory=100_000_000))
        )
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA device"):
            compare_routings(RoutingRequest(bundled_release(), ("top2",), text=TEXT, machine=Machine(device="cuda")))


def test_the_work_of_the_experts_is_told(scores: dict[str, RoutingScore]) -> None:
    flops = {name: score.expert_flops for name, score in scores.items()}
    assert flops == {"top1": 0.5, "top2": 1, "top3": 1.5, "all-weighed": 4, "all-then-choose": 4, "random": 1}


@pytest.mark.parametrize("strategy", [one for one in Strategy if one is not Strategy.NOT_RENORMALISED])
def test_weights_of_those_who_answer_sum_to_one(strategy: Strategy) -> None:
    routing = Router(strategy, 4, 2).route(LOGITS)
    torch.testing.assert_close(routing.weights.sum(-1), torch.ones(2))
    assert all(len(set(row)) == len(row) for row in routing.chosen.tolist())


def test_what_runtimes_get_wrong_are_other_weights_of_the_same_experts() -> None:
    known = Router(Strategy.TRAINED, 4, 2).route(LOGITS)
    shares = LOGITS.softmax(-1).gather(1, known.chosen)
    for strategy, wanted in ((Strategy.NOT_RENORMALISED, shares), (Strategy.SOFTMAX_TWICE, shares.softmax(-1))):
        routing = Router(strategy, 4, 2).route(LOGITS)
        assert routing.chosen.equal(known.chosen)
        torch.testing.assert_close(routing.weights, wanted)


def test_the_loudest_answers_are_kept_and_weighed_by_the_router() -> None:
    router = Router(Strategy.ALL_THEN_CHOOSE, 4, 2)
    routing = router.route(LOGITS[:1])
    assert routing.chosen.tolist() == [[1, 2, 0, 3]]
    answers = torch.tensor([[[1.0], [5.0], [9.0], [2.0]]])  # in that order: experts 2 and 0 speak up
    weights = router.choose_loudest(routing, answers)
    wanted = torch.tensor([2.0, 1.0]).softmax(0).tolist()
    assert weights[0].tolist() == pytest.approx([0, wanted[0], wanted[1], 0])


def test_another_routing_is_not_held_against_the_known_score() -> None:
    report = boot(BootRequest(bundled_release(), text=TEXT, expected=1.0, routing="random"))
    assert report.routing == "random"
    assert report.levels[2].findings == ()
    assert report.sample is None


def test_an_unknown_routing_and_a_dense_model_are_refused(release: WriteRelease) -> None:
    with pytest.raises(UsageError, match="best"):
        compare_routings(RoutingRequest(bundled_release(), ("best",)))
    with pytest.raises(BootError, match="nobody to choose"):
        compare_routings(RoutingRequest(release(make_model(replace(DENSE, vocab_size=1024)))))


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
    with pytest.raises(BootError, match=r"writing takes about [0-9,]+ bytes, and 100,000,000 are allowed"):
        generate(PromptRequest(bundled_release(), "a", machine=Machine(max_memory=100_000_000)))


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
