"""Servers on 127.0.0.1 to hold weights against: llama.cpp's own, one in the form of vLLM's, and ill-behaved ones."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import torch

from magnetar.model.architecture.mixtral import Mixtral

Asked = dict[str, Any]
Answer = Callable[[BaseHTTPRequestHandler, Asked], object]

LLAMA_CPP = """
    import sys, xllamacpp as x
    p = x.CommonParams()
    p.model.path = sys.argv[1]
    p.n_ctx, p.n_parallel, p.warmup, p.port, p.verbosity, p.cpuparams.n_threads = 512, 1, False, 0, 0, 1
    server = x.Server(p)
    print("LISTENS", server.listening_address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def llama_cpp(model: Path) -> Iterator[str]:
    """llama.cpp's server in a process of its own; its address."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    words = [sys.executable, "-c", dedent(LLAMA_CPP), str(model)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[1] for line in process.stdout if line.startswith("LISTENS"))
        finally:
            process.kill()


class Quiet(ThreadingHTTPServer):
    """One that does not tell of connections that ended early."""

    def handle_error(self, *_words: object) -> None:
        pass


@contextmanager
def serve(answer: Answer) -> Iterator[str]:
    """A server that answers with what ``answer`` returns, as JSON; None where it has answered by itself."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked = json.loads(self.rfile.read(length) or b"{}")
            told = answer(self, {**asked, "path": self.path})
            if told is not None:
                reply(self, 200, told if isinstance(told, bytes) else json.dumps(told).encode())

        def log_message(self, *_words: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, content: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


MODELS = {"object": "list", "data": [{"id": "some-model", "object": "model"}]}


def like_vllm(model: Mixtral) -> Answer:
    """vLLM's form of ``echo`` with ``logprobs`` and ``return_tokens_as_token_ids``, with the numbers of ``model``."""

    def answer(_handler: BaseHTTPRequestHandler, asked: Asked) -> object:
        if asked["path"] == "/v1/models":
            return MODELS
        assert asked["echo"]
        assert asked["return_tokens_as_token_ids"]
        assert asked["model"] == "some-model"
        ids = asked["prompt"]
        with torch.inference_mode():
            logprobs = model(torch.tensor([ids]))[0].log_softmax(-1)
        written = [*ids, int(logprobs[-1].argmax())]
        return {"choices": [{"index": 0, "text": "", "logprobs": echoed(written, logprobs, asked["logprobs"])}]}

    return answer


def echoed(ids: Sequence[int], logprobs: torch.Tensor, count: int) -> dict[str, Any]:
    told: dict[str, list[Any]] = {"tokens": [f"token_id:{i}" for i in ids], "token_logprobs": [None]}
    tops: list[Any] = [None]
    for row, chosen in zip(logprobs, ids[1:], strict=True):
        best = {int(piece): float(row[piece]) for piece in row.topk(count).indices}
        told["token_logprobs"].append(float(row[chosen]))
        tops.append({f"token_id:{piece}": value for piece, value in {**best, chosen: float(row[chosen])}.items()})
    return {**told, "top_logprobs": tops}


def stall(handler: BaseHTTPRequestHandler, _asked: Asked) -> object:
    """No answer before whoever asked has gone away."""
    handler.rfile.read(1)
    return None


def trickle(handler: BaseHTTPRequestHandler, _asked: Asked) -> object:
    """Headers that never end, a byte at a time: no single read waits for long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:  # until whoever asked has gone away, which is an error that nobody is told of
        handler.wfile.write(b"x")
        time.sleep(0.05)


def redirect(handler: BaseHTTPRequestHandler, _asked: Asked) -> object:
    reply(handler, 307, b"", Location="http://169.254.169.254/latest")
    return None


def refuse(handler: BaseHTTPRequestHandler, asked: Asked) -> object:
    if asked["path"] == "/v1/models":
        return MODELS
    reply(handler, 401, b'{"error": {"message": "Unauthorized"}}')
    return None


def overflow(_handler: BaseHTTPRequestHandler, _asked: Asked) -> object:
    return b" " * 50_000


def say(logprobs: object) -> Answer:
    """A server whose completions carry these log probabilities."""

    def answer(_handler: BaseHTTPRequestHandler, asked: Asked) -> object:
        return MODELS if asked["path"] == "/v1/models" else {"choices": [{"logprobs": logprobs}]}

    return answer
