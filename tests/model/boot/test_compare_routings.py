from dataclasses import replace

import pytest
import torch

from magnetar.errors import BootError, UsageError
from magnetar.model.architecture.routing import SHOWN
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_request import BootRequest, RoutingRequest
from magnetar.model.boot.compare_routings import RoutingScore, compare_routings
from magnetar.model.bundled import bundled_release, smoke_text
from magnetar.model.machine.machine import Machine
from tests.model.conftest import WriteRelease
from tests.model.forge import DENSE, make_model

TEXT = smoke_text().text[:4000]


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


def test_another_routing_is_not_held_against_the_known_score() -> None:
    report = boot(BootRequest(bundled_release(), text=TEXT, expected=1.0, routing="random"))
    assert report.routing == "random"
    assert report.levels[2].findings == ()
    assert report.sample is None


def test_an_unknown_routing_and_a_dense_model_are_refused(release: WriteRelease) -> None:
    with pytest.raises(UsageError, match="best"):
        compare_routings(RoutingRequest(bundled_release(), ("best",)))
    with pytest.raises(BootError, match="no experts to choose"):
        compare_routings(RoutingRequest(release(make_model(replace(DENSE, vocab_size=1024)))))
