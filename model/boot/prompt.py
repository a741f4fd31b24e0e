"""Continue a prompt, token by token, as the text is written. torch is imported only when that begins."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from magnetar.convert.read.checkpoint_source import CheckpointSource, open_source
from magnetar.convert.transform.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.model.architecture.tokenizer import BEGIN, Tokenizer, open_tokenizer
from magnetar.model.boot.boot_request import PromptRequest
from magnetar.model.machine.machine import Machine
from magnetar.model.machine.require_torch import require_torch
from magnetar.model.run.estimate_memory import estimate_memory
from magnetar.model.run.weights import PUBLISHED

if TYPE_CHECKING:
    from magnetar.model.run.generate import Predict

UNFINISHED = "\ufffd"
"""What a decoder writes for the first bytes of a character whose others are still to come."""


def generate(request: PromptRequest) -> Iterator[str]:
    """What the model writes after the prompt, token by token; the same for the same seed.

    Each item is the text of one further token, empty where a character is not whole yet. As much of the model as the
    machine has room for stays in memory. Of the rest, what a token needs is read from disk for each.

    Raises ``UsageError`` (no torch, a negative number, no such device), ``BootError`` (no tokenizer, too little
    memory), and what ``open_source`` raises; all before the first item.
    """
    max_tokens, temperature = request.max_tokens, request.temperature
    if max_tokens < 0 or not 0 <= temperature < float("inf"):
        raise UsageError(
            f"{max_tokens} tokens at a temperature of {temperature} cannot be written", hint="give numbers above zero"
        )
    require_torch()
    from magnetar.model.run.generate import generate_ids

    source = open_source(request.path)
    try:
        tokenizer = open_tokenizer(source)
        ids = [BEGIN, *tokenizer.encode(request.prompt)]
        predict = open_predictor(source, len(ids) + max_tokens, request.machine)
    except BaseException:
        source.close()
        raise
    written = generate_ids(predict, ids, max_tokens, temperature, request.seed)
    return _spell_and_close(source, tokenizer, ids, written)


def open_predictor(source: CheckpointSource, room: int, machine: Machine) -> "Predict":
    """A model that can predict up to ``room`` positions: whole in memory where it fits, else as much as fits.

    Raises ``BootError`` if there is too little memory for that.
    """
    from magnetar.model.run.generate import predict_loaded, predict_streamed
    from magnetar.model.run.load import load_model
    from magnetar.model.run.resident_weights import ResidentWeights
    from magnetar.model.run.streamed_model import Caches, StreamedModel

    weights, architecture, arithmetic = view_as(source, PUBLISHED), source.architecture, machine.arithmetic()
    working = estimate_memory(weights, architecture, room, ahead=False)
    if not machine.admits(working):
        message = f"writing takes about {working:,} bytes, and {machine.describe_limit()}"
        raise BootError(message, needed=working, limit=machine.limit)
    space = machine.room_for_weights(working)
    if architecture.total_parameters * arithmetic.dtype.itemsize <= space:
        return predict_loaded(load_model(weights, architecture, arithmetic.dtype, arithmetic.device), room)
    model = StreamedModel(ResidentWeights(weights, space, arithmetic.device), architecture, arithmetic=arithmetic)
    return predict_streamed(model, Caches(model.share.layers, architecture, room, arithmetic))


def _spell_and_close(
    source: CheckpointSource, tokenizer: Tokenizer, prompt: list[int], written: Iterable[int]
) -> Iterator[str]:
    with closing(source):
        yield from spell_out(tokenizer, prompt, written)


def spell_out(tokenizer: Tokenizer, prompt: list[int], written: Iterable[int]) -> Iterator[str]:
    """The text that each further id adds to the text before it."""
    ids = list(prompt)
    shown = tokenizer.decode(ids)
    for token in written:
        ids.append(token)
        text = tokenizer.decode(ids)
        whole = text if not text.endswith(UNFINISHED) else shown
        yield whole[len(shown) :]
        shown = whole
