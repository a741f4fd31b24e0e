"""Text from a prompt, as it is written. torch is imported only when it begins."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from magnetar.convert.source import open_source
from magnetar.convert.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.model.session import open_tokenizer
from magnetar.model.smoke import require_torch
from magnetar.model.tokenizer import BEGIN, Tokenizer
from magnetar.model.weights import PUBLISHED

UNFINISHED = "\ufffd"
"""What a decoder writes for the first bytes of a character whose others are still to come."""


def generate(path: Path, prompt: str, max_tokens: int = 128, temperature: float = 0.8, seed: int = 0) -> Iterator[str]:
    """What the model at ``path`` writes after ``prompt``, piece by piece; the same for the same seed.

    Each item is the text of one further token, empty where a character is not whole yet. ``temperature`` 0 takes the
    likeliest. The whole model is held in memory, in float32.

    Raises ``UsageError`` (no torch, a negative number), ``BootError`` (no tokenizer, a model too large to be held),
    and what ``open_source`` raises; all before the first item.
    """
    if max_tokens < 0 or not 0 <= temperature < float("inf"):
        raise UsageError(
            f"{max_tokens} tokens at a temperature of {temperature} cannot be written", hint="give numbers above zero"
        )
    require_torch()
    from magnetar.model.generate import LARGEST_HELD, fits_in_memory, generate_ids
    from magnetar.model.load import load_model

    with open_source(path) as source:
        tokenizer = open_tokenizer(source)
        if not fits_in_memory(source.architecture):
            raise BootError(
                f"{path}: {source.architecture.total_parameters:,} parameters in float32 are more than the "
                f"{LARGEST_HELD:,} bytes that are held in memory",
                hint="boot it without a prompt: that needs the memory of one matrix",
            )
        model = load_model(view_as(source, PUBLISHED), source.architecture)
    ids = [BEGIN, *tokenizer.encode(prompt)]
    return spell_out(tokenizer, ids, generate_ids(model, ids, max_tokens, temperature, seed))


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
