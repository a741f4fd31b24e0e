"""The tokens of one layer, and what their experts answer."""

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import Routing
from magnetar.model.architecture.routing import Router


class Pool:
    """Tokens [N, D] of one layer, and the ``answers`` that their experts give to them.

    Those are [N, E, D] where the answers decide who counts, else their weighted sum [N, D].
    """

    def __init__(self, tokens: Tensor, routing: Routing, router: Router) -> None:
        self._tokens, self._routing, self._router = tokens, routing, router
        kept = (*routing.chosen.shape, tokens.shape[1]) if router.chooses_late else tokens.shape
        self.answers = tokens.new_zeros(kept)

    def gather(self, expert: int) -> Tensor:
        """The tokens that chose an expert [n, D]."""
        return self._tokens[self._find(expert)[0]]

    def give(self, expert: int, answers: Tensor) -> None:
        """Take the expert's answers to what ``gather`` gave."""
        owners, slots = self._find(expert)
        if self._router.chooses_late:
            self.answers[owners, slots] = answers
        else:
            weights = self._routing.weights[owners, slots, None].type_as(answers)
            self.answers.index_add_(0, owners, answers * weights)

    def answer(self) -> Tensor:
        """What all experts together say to each token [N, D]."""
        if not self._router.chooses_late:
            return self.answers
        weights = self._router.choose_loudest(self._routing, self.answers.float()).type_as(self.answers)
        return torch.einsum("ne,ned->nd", weights, self.answers)

    def _find(self, expert: int) -> tuple[Tensor, Tensor]:
        owners, slots = (self._routing.chosen == expert).nonzero(as_tuple=True)
        return owners, slots
