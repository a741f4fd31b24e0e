"""JSON by HTTP to one server: no redirection is followed, no proxy used; size and time of an answer are bounded."""

import json
from typing import Any, Self
from urllib.parse import urlsplit

from magnetar.errors import OutsideError, Stalled, UsageError
from magnetar.fetch.http.address_policy import AddressPolicy, NotAllowed
from magnetar.fetch.http.client import AnswerTooLarge, Client, DeadlinePassed, HttpFailed, WholeAnswer

ANSWER_TIMEOUT = 300.0
"""Seconds for a whole answer: a large model on a slow machine reads a prompt for minutes."""

MAX_ANSWER_BYTES = 64 << 20
"""The answer of vLLM to 512 tokens has a quarter of a megabyte."""

MAX_QUOTED = 300
"""Characters of a server's own words that a message quotes."""


class JsonServer:
    """The server at ``url``; its connection is kept while this is entered. ``key`` is sent as a bearer token.

    An answer may take ``timeout`` seconds; None stands for ``ANSWER_TIMEOUT``. Raises ``UsageError`` for a URL that is
    not plain http or https.
    """

    def __init__(self, url: str, key: str = "", timeout: float | None = None) -> None:
        try:
            parts = urlsplit(url)
            _port, host = parts.port, parts.hostname
        except ValueError as error:
            raise UsageError(f"{url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isascii():
            raise UsageError(f"{url!r} is not the address of a server", hint="like http://127.0.0.1:8000")
        if parts.username or parts.password or not (key.isascii() and key.isprintable()):
            raise UsageError(
                "a key has no place in the URL of a server", hint="put it into MAGNETAR_AGAINST_KEY, as it is"
            )
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self._timeout = ANSWER_TIMEOUT if timeout is None else timeout
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._client = Client(AddressPolicy(frozenset({host})), direct=True, connections=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at ``path``. Raises ``OutsideError``; ``Stalled`` if it is not there in time."""
        return self._read(path, self._exchange("GET", path, None))

    def post(self, path: str, body: object, *, lenient: bool = False) -> dict[str, Any]:
        """The JSON object that answers ``body``. With ``lenient``, an empty one where the server refuses such a body.

        Raises as ``get`` does.
        """
        answer = self._exchange("POST", path, json.dumps(body).encode())
        return {} if lenient and answer.status in (400, 422) else self._read(path, answer)

    def _exchange(self, method: str, path: str, body: bytes | None) -> WholeAnswer:
        try:
            return self._client.exchange(
                method,
                self.name + path,
                body=body,
                headers=self._headers,
                max_bytes=MAX_ANSWER_BYTES,
                seconds=self._timeout,
            )
        except DeadlinePassed as error:
            hint = "is the server busy?"
            raise Stalled(f"{self.name}: {error.message}", hint=hint, waited=self._timeout) from error
        except AnswerTooLarge as error:
            raise OutsideError(f"{self.name}: {error.message}", hint="is it such a server?") from error
        except (HttpFailed, NotAllowed) as error:
            raise OutsideError(f"{self.name}: {error.message}", hint="is the server running?") from error

    def _read(self, path: str, answer: WholeAnswer) -> dict[str, Any]:
        if 300 <= answer.status < 400:
            raise OutsideError(
                f"{self.name}: redirects to {answer.location[:MAX_QUOTED] or 'nowhere'}, and is not followed",
                hint="name the server that answers",
            )
        parsed = _parse(answer.content)
        if answer.status >= 400:
            words = _find_message(parsed) or answer.content[:MAX_QUOTED].decode("utf-8", "replace")
            raise OutsideError(f"{self.name}: {path} answers {answer.status}: {words}")
        if not isinstance(parsed, dict):
            raise OutsideError(f"{self.name}: {path} is not answered with a JSON object", hint="is it such a server?")
        return parsed


def _parse(content: bytes) -> object:
    """The value of a JSON document; None if it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _find_message(parsed: object) -> str:
    """The words in ``{"error": {"message": …}}``, or in vLLM's older ``{"message": …}``; empty if there are none."""
    if not isinstance(parsed, dict):
        return ""
    error = parsed.get("error")
    words = error.get("message") if isinstance(error, dict) else parsed.get("message")
    return words[:MAX_QUOTED] if isinstance(words, str) else ""
