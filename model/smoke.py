"""The smoke test: run a checkpoint once, from wherever it lies and in whatever layout, and say whether it works.

Digests prove which bytes these are; only running them proves that whoever trained or converted them left a model.
torch is imported only when a test begins.
"""

import math
import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.convert.architecture import Architecture
from magnetar.convert.source import Source, open_source
from magnetar.convert.view import view_as
from magnetar.errors import BootError, UsageError
from magnetar.events import Emit, ignore
from magnetar.model.bundled import smoke_text
from magnetar.model.report import BootReport
from magnetar.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from magnetar.model.examination import Examination

DECODE_TOLERANCE = 5e-4
"""How far decoding may stray from a full pass, as a share of the largest logit; mistral-inference's own bound."""

TELLING_TOKENS = 256
"""With fewer tokens than this, that an expert answered none of them is no news."""


def boot(
    path: Path,
    *,
    text: str | None = None,
    expected: float | None = None,
    tolerance: float = 0.01,
    greedy_tokens: int = 48,
    emit: Emit = ignore,
) -> BootReport:
    """Run the checkpoint at ``path``, a folder or a file that ``convert`` reads, in the memory of one of its layers.

    It is scored on ``text`` (the bundled held-out text where None), all of it or as much as a model of its size can
    read in seconds, and should come to ``expected`` bits per byte, give or take the share ``tolerance``. A model that
    is not healthy is returned as such, not raised.

    Raises ``UsageError`` (no such path, no torch, an empty text), ``BootError`` (no tokenizer, or a tensor that does
    not fit), and what ``open_source`` raises for a checkpoint that cannot be read.
    """
    began = time.monotonic()
    if find_spec("torch") is None:
        raise UsageError("torch is not installed, and weights cannot be run without", hint="install magnetar[boot]")
    # Read when torch is first imported: threads that spin while they wait are tens of times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from magnetar.model.examination import choose_tokens, examine

    with open_source(path) as source:
        tokenizer = _open_tokenizer(source)
        ids = tokenizer.encode(smoke_text().text if text is None else text)
        if not ids:
            raise UsageError("the text to score is empty", hint="give a text of a few hundred words")
        chosen = choose_tokens(ids, source.architecture)
        view = view_as(source, "mistral")
        found = examine(view, source.architecture, tokenizer, chosen, greedy_tokens, emit)
    reasons = tuple(find_faults(found, source.architecture, expected, tolerance))
    return BootReport(
        healthy=not reasons,
        reasons=reasons,
        bits_per_byte=found.bits_per_byte,
        expected=expected,
        tokens=found.tokens,
        text_bytes=found.text_bytes,
        decode_difference=found.decode_difference,
        expert_load=found.expert_load,
        routing_entropy=found.routing_entropy,
        sample=found.sample,
        layout=source.layout,
        total_parameters=source.architecture.total_parameters,
        active_parameters=source.architecture.active_parameters,
        seconds=time.monotonic() - began,
        tokens_per_second=found.tokens / found.scoring_seconds,
        assumptions=tuple(_state_assumptions(source, found, expected, len(ids))),
    )


def find_faults(
    found: "Examination", architecture: Architecture, expected: float | None, tolerance: float
) -> Iterator[str]:
    """Why a model that came to these numbers is not healthy; nothing if it is."""
    if found.not_finite is not None:
        yield found.not_finite
    if found.empty:
        more = f", and so do {len(found.empty) - 1} more" if len(found.empty) > 1 else ""
        yield f"{found.empty[0]}: holds nothing but zeros{more}"
    if found.bits_per_byte is not None:
        guessing = math.log2(architecture.vocab_size) * found.tokens / found.text_bytes
        if found.bits_per_byte >= guessing:
            yield f"{found.bits_per_byte:.3f} bits per byte is no better than guessing ({guessing:.3f})"
        if expected is not None and abs(found.bits_per_byte - expected) > tolerance * expected:
            yield f"{found.bits_per_byte:.4f} bits per byte, where {expected:.4f} was expected, within {tolerance:.1%}"
    if found.decode_difference is not None and found.decode_difference > DECODE_TOLERANCE:
        yield f"decoding token by token strays from the full pass by {found.decode_difference:.1e} of the largest logit"
    if found.tokens >= TELLING_TOKENS:
        yield from _find_dead_experts(found.expert_load)


def _find_dead_experts(load: tuple[tuple[float, ...], ...]) -> Iterator[str]:
    for layer, shares in enumerate(load):
        dead = [str(expert) for expert, share in enumerate(shares) if share == 0]
        if dead:
            yield f"layer {layer}: no token went to expert {', '.join(dead)}"


def _open_tokenizer(source: Source) -> Tokenizer:
    if source.tokenizer is None:
        raise BootError(
            f"{source.folder}: no tokenizer.model lies beside the weights, so no text can be scored",
            hint="put the release's tokenizer.model there",
        )
    tokenizer, known = Tokenizer.open(source.tokenizer), source.architecture.vocab_size
    if tokenizer.vocab_size > known:
        raise BootError(
            f"{source.tokenizer}: has {tokenizer.vocab_size} pieces, and the weights know {known}",
            hint="take the tokenizer.model of the same release",
        )
    return tokenizer


def _state_assumptions(source: Source, found: "Examination", expected: float | None, length: int) -> Iterator[str]:
    architecture = source.architecture
    yield f"layout {source.layout}: {source.reason}"
    yield f"rope theta {architecture.rope_theta:g}, as the configuration says or leaves open"
    if found.tokens < length:
        yield f"scored on the first {found.tokens} of {length} tokens, for a model of this size"
    if expected is None:
        yield "no score is known for this model and text, so it was only held against guessing"
    if architecture.n_experts and found.tokens < TELLING_TOKENS:
        yield f"{found.tokens} tokens are too few to tell whether every expert is chosen"
    if found.sample is None and found.not_finite is None:
        yield "no sample, because the whole model is too large to be held in memory"
