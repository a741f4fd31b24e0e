import pytest
import torch

from magnetar.model.architecture.routing import Router, Strategy

LOGITS = torch.tensor([[1.0, 3.0, 2.0, 0.0], [0.0, -1.0, 5.0, 4.0]])


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
