"""A server that speaks OpenAI's completions and gives log probabilities: vLLM and its like, or llama.cpp's.

Ids are sent, never text, so that both read the same pieces. Two ways are spoken. With ``echo`` one request brings the
log probabilities of a whole prompt (vLLM, SGLang). Where that is not known, one request for each position asks for the
one piece that comes next in the text (llama.cpp): ``logit_bias`` makes it that piece, and its log probability is told
from before the bias. What a server says is foreign: bounded in size and time, and checked.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from magnetar.errors import OutsideError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.model.architecture.tokenizer import BEGIN
from magnetar.model.compare.comparison import Answers
from magnetar.model.compare.http_json import JsonServer
from magnetar.model.run.fingerprint import TOP, Fingerprint

BIAS = 100
"""The largest that OpenAI's API allows: it makes any piece the likeliest."""

MAX_ASKED_TOKENS = 256
"""Tokens of the text: a server's context may be short, and one that does not echo is asked as many times."""

LEAST, SLACK = -1e6, 1e-3
"""vLLM says -9999 for what cannot be; by rounding a log probability may be a little above 0."""

HIGHEST_ID = 1 << 24
PREFIX = "token_id:"
Position = tuple[float | None, list[tuple[float, int]]]
"""The log probability of the piece that comes next in the text, and the likeliest pieces with theirs, best first."""


class Server:
    """A running server at ``url``. Raises ``UsageError`` for what is no address of one."""

    def __init__(self, url: str, key: str = "", patience: float | None = None) -> None:
        self._http = JsonServer(url, key, patience)
        self.name = self._http.name

    def answer(self, ids: Sequence[int], emit: Emit = ignore) -> Answers:
        """Its log probabilities for the head of ``ids``. Raises ``OutsideError`` where it does not give them."""
        ids = ids[:MAX_ASKED_TOKENS]
        with self._http:
            model = self._find_model()
            emit(Began(Step.AGAINST, len(ids), "tokens"))
            positions = self._echo(model, ids) or list(self._ask_each(model, ids, emit))
            emit(Ended(Step.AGAINST))
        told = [logprob for logprob, _ in positions if logprob is not None]
        bits = -sum(told) / math.log(2) if len(told) == len(ids) else None
        return Answers(f"{model} at {self.name}", _gather(ids, positions), bits)

    def _find_model(self) -> str:
        """The name of the model that it serves; vLLM wants to hear it."""
        listed = self._http.get("/v1/models").get("data")
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        if not names or not isinstance(names[0], str):
            raise self._odd("lists no model")
        return names[0]

    def _echo(self, model: str, ids: Sequence[int]) -> list[Position] | None:
        """All positions in one request; None from a server that does not echo."""
        wish = {"echo": True, "return_tokens_as_token_ids": True}
        told = self._complete(model, [BEGIN, *ids], wish, lenient=True)
        tops, logprobs = told.get("top_logprobs"), told.get("token_logprobs")
        if not isinstance(tops, list) or not isinstance(logprobs, list) or len(logprobs) <= len(ids):
            return None
        if len(tops) <= len(ids):
            raise self._odd(f"gives the likeliest pieces at {len(tops)} of {len(ids)} positions")
        rows = zip(logprobs[1 : len(ids) + 1], tops[1 : len(ids) + 1], strict=True)
        return [(self._number(logprob), self._rank(_by_id(top))) for logprob, top in rows]

    def _ask_each(self, model: str, ids: Sequence[int], emit: Emit) -> Iterator[Position]:
        """One position after the other. What was read before is in the server's cache."""
        self._check_bias(model, ids[0])
        for index, wanted in enumerate(ids):
            chosen, ranked = self._ask(model, [BEGIN, *ids[:index]], wanted)
            known = {piece: logprob for logprob, piece in [*ranked, chosen]}
            yield known.get(wanted), ranked
            emit(Moved(Step.AGAINST, 1))

    def _check_bias(self, model: str, wanted: int) -> None:
        """Some servers tell the log probabilities of after the bias, which are of no use."""
        _, free = self._ask(model, [BEGIN], None)
        _, led = self._ask(model, [BEGIN], wanted)
        if abs(free[0][0] - led[0][0]) > 1:
            raise self._odd("tells log probabilities of after logit_bias, and does not echo")

    def _ask(self, model: str, prompt: list[int], wanted: int | None) -> tuple[tuple[float, int], list[Any]]:
        """The piece that was chosen, and the likeliest ones."""
        wish = {} if wanted is None else {"logit_bias": {str(wanted): BIAS}}
        content = self._complete(model, prompt, wish).get("content")
        step = content[0] if isinstance(content, list) and content else None
        if not isinstance(step, dict) or not isinstance(tops := step.get("top_logprobs"), list):
            raise self._odd("gives no log probabilities")
        chosen, *ranked = [
            (one.get("logprob"), one.get("id")) if isinstance(one, dict) else (None, None) for one in (step, *tops)
        ]
        return self._rank([chosen])[0], self._rank(ranked)

    def _complete(self, model: str, prompt: list[int], wish: Mapping[str, Any], *, lenient: bool = False) -> Any:
        """The ``logprobs`` of one completion of one token; of a server that refuses, nothing if ``lenient``."""
        body = {"model": model, "prompt": prompt, "max_tokens": 1, "logprobs": TOP, "temperature": 0, **wish}
        told = self._http.post("/v1/completions", body, lenient=lenient)
        choices = told.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        logprobs = first.get("logprobs") if isinstance(first, dict) else None
        if logprobs is None and not lenient:
            raise self._odd("gives no log probabilities")
        return logprobs if isinstance(logprobs, dict) else {}

    def _rank(self, found: Sequence[tuple[Any, Any]]) -> list[tuple[float, int]]:
        """Log probabilities with their pieces, the best first. Raises ``OutsideError`` for what cannot be one."""
        if not found or not all(type(piece) is int and 0 <= piece < HIGHEST_ID for _, piece in found):
            raise self._odd("does not say by their ids which pieces its log probabilities are of")
        return sorted(((self._number(logprob), piece) for logprob, piece in found), reverse=True)

    def _number(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST < value <= SLACK:
            raise self._odd(f"gives {str(value)[:40]!r} as a log probability")
        return float(value)

    def _odd(self, what: str) -> OutsideError:
        return OutsideError(f"{self.name}: {what}", hint="docs/boot.md says which servers can be asked, and how")


def _by_id(top: object) -> list[tuple[Any, Any]]:
    """vLLM's form: ``{"token_id:17": -0.5, …}``."""
    if not isinstance(top, dict):
        return []
    return [(logprob, _read_id(name)) for name, logprob in top.items()]


def _read_id(name: str) -> int | None:
    digits = name.removeprefix(PREFIX)
    known = name.startswith(PREFIX) and digits.isascii() and digits.isdigit() and len(digits) < 10
    return int(digits) if known else None


def _gather(ids: Sequence[int], positions: Sequence[Position]) -> Fingerprint:
    """A fingerprint of logits whose normaliser is 0; as many at each position as there are at all."""
    kept = min(TOP, *(len(ranked) for _, ranked in positions))
    tops = np.array([ranked[:kept] for _, ranked in positions], np.float64)  # [T, K, 2]
    none = np.zeros((0, 0), np.float32)
    return Fingerprint(
        kind="",
        ids=np.array(ids, np.int32),
        top_ids=tops[:, :, 1].astype(np.int32),
        top_logits=tops[:, :, 0].astype(np.float32),
        logsumexp=np.zeros(len(ids), np.float32),
        residual_rms=none[0:0, 0:0].reshape(0),
        residual_samples=none,
        expert_counts=none.astype(np.int32),
    )
