"""The tokens of one layer, grouped by the experts that answer them, and the answers put together again."""

import torch
from torch import Tensor

from magnetar.model.architecture.mixtral import Routing
from magnetar.model.architecture.routing import Router


class ExpertBatch:
    """Tokens [N, D] of one layer, and the ``answers`` of their experts.

    ``answers`` are kept one by one [N, E, D] if the answers themselves decide which of them count
    (``Router.chooses_late``); else only their weighted sum is kept [N, D].
    """

    def __init__(self, tokens: Tensor, routing: Routing, router: Router) -> None:
        self._tokens, self._routing, self._router = tokens, routing, router
        shape = (*routing.chosen.shape, tokens.shape[1]) if router.chooses_late else tokens.shape
        self.answers = tokens.new_zeros(shape)

    def gather(self, expert: int) -> Tensor:
        """The tokens that chose an expert [n, D]."""
        return self._tokens[self._find_tokens(expert)[0]]

    def scatter(self, expert: int, answers: Tensor) -> None:
        """Add the answers [n, D] of an expert to the tokens that ``gather`` gave."""
        owners, slots = self._find_tokens(expert)
        if self._router.chooses_late:
            self.answers[owners, slots] = answers
        else:
            weights = self._routing.weights[owners, slots, None].type_as(answers)
            self.answers.index_add_(0, owners, answers * weights)

    def combine(self) -> Tensor:
        """The answer of all experts together to each token [N, D]."""
        if not self._router.chooses_late:
            return self.answers
        weights = self._router.choose_loudest(self._routing, self.answers.float()).type_as(self.answers)
        return torch.einsum("ne,ned->nd", weights, self.answers)

    def _find_tokens(self, expert: int) -> tuple[Tensor, Tensor]:
        """The tokens [n] that chose an expert, and the place [n] of that expert among those that each chose."""
        owners, slots = (self._routing.chosen == expert).nonzero(as_tuple=True)
        return owners, slots
