"""How much memory a pass through a model takes, estimated before it begins. No torch here."""

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.machine.machine import NEXT_ONE, Machine
from magnetar.model.run.weights import Weights

INTERPRETER_BYTES = 320 << 20
"""Roughly what Python, numpy and torch take before a tensor is read."""


def estimate_memory(weights: Weights, architecture: Architecture, tokens: int, *, ahead: bool = True) -> int:
    """About how many bytes a streamed pass over ``tokens`` takes at its peak, whatever the number of layers.

    ``ahead`` says whether the next tensor is read while this one is worked with.
    """
    a = architecture
    largest = max(spec.nbytes for spec in weights.specs.values())
    attention = 2 * 4 * a.dim * a.head_dim * (a.n_heads + a.n_kv_heads)
    activations = 4 * tokens * (8 * a.dim + 3 * a.hidden_dim)
    logits = 4 * min(tokens, 2048) * a.vocab_size * 3
    return INTERPRETER_BYTES + (2 if ahead else 1) * largest + attention + activations + logits


def choose_read_ahead(weights: Weights, architecture: Architecture, tokens: int, machine: Machine) -> int:
    """Bytes of tensors that such a pass may read ahead: none where memory is short, else one tensor or more."""
    if not machine.admits(estimate_memory(weights, architecture, tokens)):
        return 0
    if machine.max_memory is None:
        return NEXT_ONE
    return machine.max_memory - estimate_memory(weights, architecture, tokens, ahead=False)
