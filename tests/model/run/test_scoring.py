import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magnetar.model.architecture.tokenizer import BEGIN, END
from magnetar.model.run.generate import generate_greedily
from magnetar.model.run.run_facts import routing_entropy
from magnetar.model.run.scoring import ExpertLoad, count_bits, cut_windows
from tests.model.forge import TINY, make_model


@given(st.lists(st.integers(3, 1000), min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 5))
def test_every_id_is_a_target_once_and_every_window_opens_with_begin(ids: list[int], length: int, at_once: int) -> None:
    seen: list[int] = []
    for inputs, targets in cut_windows(ids, length, at_once):
        assert inputs.shape == targets.shape
        assert targets.shape[0] <= at_once
        assert targets.shape[1] <= length
        assert set(inputs[:, 0].tolist()) == {BEGIN}
        assert inputs[:, 1:].tolist() == targets[:, :-1].tolist()
        seen += targets.flatten().tolist()
    assert seen == ids


def test_even_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    assert count_bits(torch.zeros(2, 3, 64), torch.zeros(2, 3, dtype=torch.long)) == pytest.approx(6 * 6)


def test_routing_entropy_is_full_where_all_answer_alike_and_nothing_where_one_does() -> None:
    assert routing_entropy([[1 / 8] * 8]) == pytest.approx(3)
    assert routing_entropy([[1.0, 0.0]]) == 0
    assert routing_entropy([[0.5, 0.5], [1.0, 0.0]]) == pytest.approx(0.5)


def test_the_load_of_a_layer_counts_every_choice_of_its_router() -> None:
    model, loads = make_model(TINY), [ExpertLoad() for _ in range(TINY.n_layers)]
    chosen: list[list[int]] = [[] for _ in loads]
    for ids in ([[1, 5, 9]], [[2, 30]]):
        model(torch.tensor(ids), watches=loads)
        model(
            torch.tensor(ids),
            watches=[lambda routing, to=to: to.extend(routing.chosen.flatten().tolist()) for to in chosen],
        )
    for load, picks in zip(loads, chosen, strict=True):
        assert len(picks) == 5 * TINY.experts_per_token
        assert load.shares == pytest.approx([picks.count(expert) / len(picks) for expert in range(TINY.n_experts)])
        assert math.isclose(sum(load.shares), 1, rel_tol=1e-6)


def test_greedy_text_takes_the_likeliest_piece_after_each_full_pass() -> None:
    model, prompt = make_model(TINY), [1, 7, 20]
    model.output.weight[END] = 0
    wanted = list(prompt)
    for _ in range(6):
        wanted.append(int(model(torch.tensor([wanted]))[0, -1].argmax()))
    assert prompt + generate_greedily(model, prompt, 6) == wanted


def test_greedy_text_ends_where_the_model_ends_it() -> None:
    model = make_model(TINY)
    model.output.weight.zero_()
    model.output.weight[END] = model.norm.weight * 0 + 1
    model.tok_embeddings.weight.fill_(1.0)
    for layer in model.layers:
        layer.attention.wo.weight.zero_()
        for expert in layer.feed_forward.experts:
            expert.w2.weight.zero_()
    assert generate_greedily(model, [1, 7], 6) == []
