"""Text from a prompt, as it is written. torch is imported only when it begins."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.read.checkpoint_source import CheckpointSource, open_source
from magnetar.convert.transform.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.model.architecture.tokenizer import BEGIN, Tokenizer, open_tokenizer
from magnetar.model.boot.boot import require_torch
from magnetar.model.checks.forward import estimate_memory
from magnetar.model.machine.machine import ALONE_ON_CPU, Machine
from magnetar.model.run.weights import PUBLISHED

if TYPE_CHECKING:
    from magnetar.model.run.generate import Follow

UNFINISHED = "\ufffd"
"""What a decoder writes for the first bytes of a character whose others are still to come."""


def generate(
    path: Path,
    prompt: str,
    max_tokens: int = 128,
    temperature: float = 0.8,
    seed: int = 0,
    machine: Machine = ALONE_ON_CPU,
) -> Iterator[str]:
    """What the model at ``path`` writes after ``prompt``, piece by piece; the same for the same seed.

    Each item is the text of one further token, empty where a character is not whole yet. ``temperature`` 0 takes the
    likeliest. As much of the model as ``machine`` has room for stays in memory; of the rest, what a token needs is read
    from disk for each.

    Raises ``UsageError`` (no torch, a negative number, no such device), ``BootError`` (no tokenizer, too little
    memory), and what ``open_source`` raises; all before the first item.
    """
    if max_tokens < 0 or not 0 <= temperature < float("inf"):
        raise UsageError(
            f"{max_tokens} tokens at a temperature of {temperature} cannot be written", hint="give numbers above zero"
        )
    require_torch()
    from magnetar.model.run.generate import generate_ids

    source = open_source(path)
    try:
        tokenizer = open_tokenizer(source)
        ids = [BEGIN, *tokenizer.encode(prompt)]
        follow = follow_source(source, len(ids) + max_tokens, machine)
    except BaseException:
        source.close()
        raise
    return _spell_and_close(source, tokenizer, ids, generate_ids(follow, ids, max_tokens, temperature, seed))


def follow_source(source: CheckpointSource, room: int, machine: Machine) -> "Follow":
    """A model ready to write ``room`` positions: held whole where it fits, else with as much of it kept as does."""
    from magnetar.model.run.generate import follow_loaded, follow_streamed
    from magnetar.model.run.load import load_model
    from magnetar.model.run.resident_weights import Shelf
    from magnetar.model.run.streamed_model import Past, StreamedModel

    weights, architecture, arithmetic = view_as(source, PUBLISHED), source.architecture, machine.arithmetic()
    working = estimate_memory(weights, architecture, room, ahead=False)
    if not machine.admits(working):
        raise BootError(f"writing takes about {working:,} bytes, and {machine.say_limit()}")
    space = machine.room_for_weights(working)
    if architecture.total_parameters * arithmetic.dtype.itemsize <= space:
        return follow_loaded(load_model(weights, architecture, arithmetic.dtype, arithmetic.device), room)
    model = StreamedModel(Shelf(weights, space, arithmetic.device), architecture, arithmetic=arithmetic)
    return follow_streamed(model, Past(model.share.layers, architecture, room, arithmetic))


def _spell_and_close(
    source: CheckpointSource, tokenizer: Tokenizer, prompt: list[int], written: Iterable[int]
) -> Iterator[str]:
    with closing(source):
        yield from spell_out(tokenizer, prompt, written)


def spell_out(tokenizer: Tokenizer, prompt: list[int], written: Iterable[int]) -> Iterator[str]:
    """The text that each further id adds to what stands before it."""
    ids = list(prompt)
    shown = tokenizer.decode(ids)
    for one in written:
        ids.append(one)
        text = tokenizer.decode(ids)
        whole = text if not text.endswith(UNFINISHED) else shown
        yield whole[len(shown) :]
        shown = whole
