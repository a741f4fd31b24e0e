"""Ask a running server for the log probabilities of a text, through OpenAI's completions API.

Token ids are sent, never text, so that both models read the same tokens. There are two ways:

- ``echo``: one request brings the log probabilities of a whole prompt (vLLM, SGLang).
- Without ``echo``: one request for each position (llama.cpp). ``logit_bias`` makes the server choose the token that
  comes next in the text. The log probability that it gives is the one before the bias.

What a server answers is foreign: it is bounded in size and time, and checked.
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
"""The largest value that OpenAI's API allows. It makes any token the likeliest one."""

MAX_ASKED_TOKENS = 256
"""Tokens of the text that are used. A context may be short, and a server without ``echo`` is asked once for each."""

MIN_LOGPROB, MAX_LOGPROB = -1e6, 1e-3
"""vLLM gives -9999 for a token that cannot come. Rounding can bring a log probability a little above 0."""

MAX_TOKEN_ID = 1 << 24
PREFIX = "token_id:"
Position = tuple[float | None, list[tuple[float, int]]]
"""The log probability of the token that comes next in the text; and the likeliest tokens with theirs, best first."""


class Server:
    """A running server at ``url``. ``key`` is its API key, ``timeout`` the seconds that one answer may take.

    Raises ``UsageError`` for what is no address of a server.
    """

    def __init__(self, url: str, key: str = "", timeout: float | None = None) -> None:
        self._http = JsonServer(url, key, timeout)
        self.name = self._http.name

    def answer(self, ids: Sequence[int], emit: Emit = ignore) -> Answers:
        """The server's log probabilities for the head of ``ids``. Raises ``OutsideError`` if it does not give them."""
        ids = ids[:MAX_ASKED_TOKENS]
        with self._http:
            model = self._find_model()
            emit(Began(Step.AGAINST, len(ids), "tokens"))
            positions = self._ask_with_echo(model, ids) or list(self._ask_each_position(model, ids, emit))
            emit(Ended(Step.AGAINST))
        logprobs = [logprob for logprob, _ in positions if logprob is not None]
        bits = -sum(logprobs) / math.log(2) if len(logprobs) == len(ids) else None
        return Answers(f"{model} at {self.name}", _gather(ids, positions), bits)

    def _find_model(self) -> str:
        """The name of the model that the server runs. vLLM requires it in each request."""
        listed = self._http.get("/v1/models").get("data")
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        if not names or not isinstance(names[0], str):
            raise self._not_usable("lists no model")
        return names[0]

    def _ask_with_echo(self, model: str, ids: Sequence[int]) -> list[Position] | None:
        """All positions by one request; None from a server that does not know ``echo``."""
        parameters = {"echo": True, "return_tokens_as_token_ids": True}
        answer = self._complete(model, [BEGIN, *ids], parameters, lenient=True)
        tops, logprobs = answer.get("top_logprobs"), answer.get("token_logprobs")
        if not isinstance(tops, list) or not isinstance(logprobs, list) or len(logprobs) <= len(ids):
            return None
        if len(tops) <= len(ids):
            raise self._not_usable(f"gives the likeliest pieces at {len(tops)} of {len(ids)} positions")
        rows = zip(logprobs[1 : len(ids) + 1], tops[1 : len(ids) + 1], strict=True)
        return [(self._check_logprob(logprob), self._rank(_read_top(top))) for logprob, top in rows]

    def _ask_each_position(self, model: str, ids: Sequence[int], emit: Emit) -> Iterator[Position]:
        """One request for each position. The server has the earlier positions in its cache."""
        self._check_bias(model, ids[0])
        for index, wanted in enumerate(ids):
            chosen, ranked = self._ask(model, [BEGIN, *ids[:index]], wanted)
            known = {token: logprob for logprob, token in [*ranked, chosen]}
            yield known.get(wanted), ranked
            emit(Moved(Step.AGAINST, 1))

    def _check_bias(self, model: str, wanted: int) -> None:
        """Raise ``OutsideError`` for a server whose log probabilities are those after the bias: they are of no use."""
        _, without_bias = self._ask(model, [BEGIN], None)
        _, with_bias = self._ask(model, [BEGIN], wanted)
        if abs(without_bias[0][0] - with_bias[0][0]) > 1:
            raise self._not_usable("tells log probabilities of after logit_bias, and does not echo")

    def _ask(self, model: str, prompt: list[int], wanted: int | None) -> tuple[tuple[float, int], list[Any]]:
        """The token that the server chose, and the likeliest ones. It is made to choose ``wanted``, where given."""
        parameters = {} if wanted is None else {"logit_bias": {str(wanted): BIAS}}
        content = self._complete(model, prompt, parameters).get("content")
        step = content[0] if isinstance(content, list) and content else None
        if not isinstance(step, dict) or not isinstance(tops := step.get("top_logprobs"), list):
            raise self._not_usable("gives no log probabilities")
        chosen, *ranked = [
            (entry.get("logprob"), entry.get("id")) if isinstance(entry, dict) else (None, None)
            for entry in (step, *tops)
        ]
        return self._rank([chosen])[0], self._rank(ranked)

    def _complete(self, model: str, prompt: list[int], parameters: Mapping[str, Any], *, lenient: bool = False) -> Any:
        """The ``logprobs`` of a completion by one token. With ``lenient``, empty if the server refuses the request."""
        body = {"model": model, "prompt": prompt, "max_tokens": 1, "logprobs": TOP, "temperature": 0, **parameters}
        choices = self._http.post("/v1/completions", body, lenient=lenient).get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        logprobs = first.get("logprobs") if isinstance(first, dict) else None
        if logprobs is None and not lenient:
            raise self._not_usable("gives no log probabilities")
        return logprobs if isinstance(logprobs, dict) else {}

    def _rank(self, found: Sequence[tuple[Any, Any]]) -> list[tuple[float, int]]:
        """Log probabilities with their token ids, best first. Raises ``OutsideError`` for what is no such pair."""
        if not found or not all(type(token) is int and 0 <= token < MAX_TOKEN_ID for _, token in found):
            raise self._not_usable("does not say by their ids which pieces its log probabilities are of")
        return sorted(((self._check_logprob(logprob), token) for logprob, token in found), reverse=True)

    def _check_logprob(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not MIN_LOGPROB < value <= MAX_LOGPROB:
            raise self._not_usable(f"gives {str(value)[:40]!r} as a log probability")
        return float(value)

    def _not_usable(self, what: str) -> OutsideError:
        return OutsideError(f"{self.name}: {what}", hint="docs/boot.md says which servers can be asked, and how")


def _read_top(top: object) -> list[tuple[Any, Any]]:
    """The pairs of vLLM's form: ``{"token_id:17": -0.5, …}``."""
    if not isinstance(top, dict):
        return []
    return [(logprob, _read_id(name)) for name, logprob in top.items()]


def _read_id(name: str) -> int | None:
    digits = name.removeprefix(PREFIX)
    known = name.startswith(PREFIX) and digits.isascii() and digits.isdigit() and len(digits) < 10
    return int(digits) if known else None


def _gather(ids: Sequence[int], positions: Sequence[Position]) -> Fingerprint:
    """A fingerprint of logits whose normaliser is 0. Each position keeps as many tokens as the one with the fewest."""
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
