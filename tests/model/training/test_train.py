from dataclasses import replace
from pathlib import Path

import pytest
import torch

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.errors import UsageError
from magnetar.model.architecture.mixtral import Routing
from magnetar.model.architecture.tokenizer import BEGIN, Tokenizer
from magnetar.model.bundled import NAME, smoke_text
from magnetar.model.training.corpus import Corpus
from magnetar.model.training.loss_curve import Point, draw_curve
from magnetar.model.training.muon import orthogonalise
from magnetar.model.training.recipe import Recipe
from magnetar.model.training.train import BUNDLED, TrainingRun, imbalance, publish, train
from tests.model.forge import TINY

SMALL: Architecture = replace(TINY, vocab_size=1024, n_layers=2)
RECIPE = Recipe(steps=30, sequences=4, context=32, evaluate_every=10)


@pytest.fixture(scope="module")
def corpus(pieces: bytes) -> Corpus:
    text = smoke_text().text
    return Corpus(pieces, torch.tensor(Tokenizer(pieces).encode(text[:60_000])), text[60_000:63_000])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_few_steps_from_nothing_learn_something(corpus: Corpus, tmp_path: Path) -> None:
    first, *_, last = train(TrainingRun(SMALL, RECIPE), corpus, tmp_path / "training.pt")
    assert (first.step, last.step) == (10, 30)
    assert last.loss < first.loss - 0.5
    assert last.bits_per_byte < first.bits_per_byte
    assert last.tokens == 30 * 4 * 32
    assert 0 < last.routing_entropy <= 2.33


def test_the_same_seed_gives_the_same_weights_and_another_does_not(corpus: Corpus, tmp_path: Path) -> None:
    runs = [TrainingRun(SMALL, replace(RECIPE, steps=5, seed=seed)) for seed in (1, 1, 2)]
    for index, run in enumerate(runs):
        list(train(run, corpus, tmp_path / f"{index}.pt"))
    one, two, other = (run.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["output.weight"], other["output.weight"])


def test_a_run_that_was_killed_goes_on_to_the_same_weights(corpus: Corpus, tmp_path: Path) -> None:
    whole, killed, resumed = (TrainingRun(SMALL, RECIPE) for _ in range(3))
    points = list(train(whole, corpus, tmp_path / "whole.pt"))
    next(train(killed, corpus, tmp_path / "killed.pt"))
    rest = list(train(resumed, corpus, tmp_path / "killed.pt"))
    assert [point.step for point in rest] == [20, 30]
    assert [point.bits_per_byte for point in resumed.curve] == [point.bits_per_byte for point in points]
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    list(train(TrainingRun(SMALL, replace(RECIPE, steps=1)), corpus, tmp_path / "training.pt"))
    with pytest.raises(UsageError, match="another recipe"):
        next(train(TrainingRun(SMALL, RECIPE), corpus, tmp_path / "training.pt"))


def test_an_epoch_meets_every_window_once(corpus: Corpus) -> None:
    rows = (len(corpus.training) - 32) // 32
    steps = rows // 4
    windows = [corpus.batch(step, 4, 32, seed=1) for step in range(steps)]
    assert all(inputs[:, 0].tolist() == [BEGIN] * 4 for inputs, _ in windows)
    assert len({tuple(row) for _, targets in windows for row in targets.tolist()}) == 4 * steps
    again, _ = corpus.batch(0, 4, 32, seed=1)
    assert torch.equal(again, windows[0][0])
    assert not torch.equal(corpus.batch(steps, 4, 32, seed=1)[0], windows[0][0])


def test_what_is_published_is_read_back_and_scored(corpus: Corpus, tmp_path: Path) -> None:
    run = TrainingRun(SMALL, replace(RECIPE, steps=10))
    list(train(run, corpus, tmp_path / "training.pt"))
    score = publish(run, corpus, tmp_path / "out")
    assert score.bits_per_byte == pytest.approx(run.curve[-1].bits_per_byte, rel=1e-3)  # bfloat16 rounds it
    assert (tmp_path / "out" / "held-out.txt").read_text() == corpus.held_out
    assert f"{score.bits_per_byte:.4f} bits per byte" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    with open_source(tmp_path / "out" / NAME) as source:
        assert source.architecture == replace(SMALL)
        assert source.layout == "mistral"


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    recipe = Recipe()
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[0] == pytest.approx(1 / recipe.warmup)
    assert rates[recipe.warmup : int(recipe.steps * 0.4)] == [1.0] * (int(recipe.steps * 0.4) - recipe.warmup)
    assert rates[-1] == pytest.approx(1 / (0.6 * recipe.steps))
    assert rates[2000:] == sorted(rates[2000:], reverse=True)


def test_the_bundled_shape_has_the_size_that_the_card_states() -> None:
    assert BUNDLED.total_parameters == 3_609_728
    assert BUNDLED.active_parameters == 1_250_432


def test_imbalance_is_one_where_all_are_chosen_alike_and_greater_where_one_is() -> None:
    even = Routing(torch.zeros(4, 4), torch.tensor([[0], [1], [2], [3]]), torch.ones(4, 1))
    steep = Routing(torch.tensor([[9.0, 0, 0, 0]] * 4), torch.zeros(4, 1, dtype=torch.long), torch.ones(4, 1))
    assert float(imbalance(even)) == pytest.approx(1)
    assert float(imbalance(steep)) > 3.9


@pytest.mark.parametrize("shape", [(2, 16, 8), (2, 8, 16), (1, 8, 8)])
def test_orthogonalising_sends_singular_values_to_about_one(shape: tuple[int, int, int]) -> None:
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(batch, steps=8))
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_the_curve_is_drawn_within_its_picture() -> None:
    points = [Point(step, step * 1000, 1.0, 3.0, 2.5 - step / 1000, 2.9) for step in range(100, 1100, 100)]
    drawing = draw_curve(points, [[0.5, 0.25, 0.25]])
    line = drawing.split('points="')[1].split('"')[0]
    places = [tuple(map(float, place.split(","))) for place in line.split()]
    assert len(places) == 9  # the first is off the scale
    assert all(0 <= x <= 760 and 0 <= y <= 560 for x, y in places)
    assert [y for _, y in places] == sorted(y for _, y in places)
