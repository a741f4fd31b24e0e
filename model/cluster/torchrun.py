"""The processes that ``torchrun`` started, on one machine or on many, as one ``ProcessGroup``.

Tensors go by torch.distributed, gloo between CPUs and nccl between GPUs, and only when both sides are known to be
ready. Everything else goes through the store where the processes met.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from magnetar.errors import ExitCode, MagnetarError, RankLost, UsageError
from magnetar.model.cluster.rendezvous import HINT, Rendezvous

MAX_START = timedelta(minutes=2)
"""How long the other processes may take to start."""

MAX_TRANSFER = timedelta(minutes=10)
"""How long a transfer of tensors may take."""

MAX_FAREWELL_SECONDS = 15.0
"""Seconds that process 0 waits for the others at the end."""


class TorchrunGroup:
    """The processes of one boot, as one of them sees it. A context: the others are told of an error inside it.

    See ``ProcessGroup``. Its methods raise the error that ended another process, or ``RankLost``.
    """

    def __init__(self, rendezvous: Rendezvous) -> None:
        self.rank, self.size = rendezvous.rank, rendezvous.size
        self._rendezvous, self._steps = rendezvous, 0
        self._transfers = Counter[tuple[int, int]]()

    def gather(self, value: Any) -> list[Any]:
        """A plain value of each process, for process 0; an empty list for the others."""
        self._steps += 1
        self._rendezvous.post(f"{self._steps}/{self.rank}", value)
        return [] if self.rank else [self._rendezvous.fetch(f"{self._steps}/{rank}") for rank in range(self.size)]

    def broadcast(self, value: Any) -> Any:
        """The plain value of process 0, for all."""
        self._steps += 1
        if self.rank == 0:
            self._rendezvous.post(f"{self._steps}/broadcast", value)
        return self._rendezvous.fetch(f"{self._steps}/broadcast")

    def send(self, tensors: Sequence[Tensor], to: int, failure: str = "") -> None:
        """Send tensors to process ``to``, which receives as many of the same shapes; or ``failure`` in their place."""
        transfer = self._name_transfer(self.rank, to)
        self._rendezvous.post(f"{transfer} sent", failure)
        if failure:
            return
        self._rendezvous.fetch(f"{transfer} awaited")
        with self._transferring():
            for tensor in tensors:
                dist.send(tensor.contiguous(), to)

    def receive(self, tensors: Sequence[Tensor], source: int) -> str:
        """Fill tensors with those that process ``source`` sends. Returns the failure that it sends in their place."""
        transfer = self._name_transfer(source, self.rank)
        failure = str(self._rendezvous.fetch(f"{transfer} sent"))
        if failure:
            return failure
        self._rendezvous.post(f"{transfer} awaited")
        with self._transferring():
            for tensor in tensors:
                dist.recv(tensor, source)
        return ""

    def all_reduce(self, tensor: Tensor) -> None:
        """Replace a tensor by the sum of those of all processes; the same to the last bit everywhere."""
        self._wait_for_all()
        with self._transferring():
            dist.all_reduce(tensor)

    def broadcast_tensor(self, tensor: Tensor) -> None:
        """Replace a tensor by that of process 0."""
        self._wait_for_all()
        with self._transferring():
            dist.broadcast(tensor, 0)

    def dismiss(self, code: ExitCode) -> None:
        """Let the other processes end with ``code``, and wait for them. For process 0, at the end."""
        self._rendezvous.post("exit", int(code))
        self._rendezvous.linger((f"left/{rank}" for rank in range(1, self.size)), MAX_FAREWELL_SECONDS)

    def await_dismissal(self) -> ExitCode:
        """Wait for the code to end with. For the other processes. Raises ``RankLost`` if process 0 is gone."""
        code = self._rendezvous.fetch("exit", despite_failure=True)
        self._rendezvous.post(f"left/{self.rank}")
        return ExitCode(code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self.fail(error)
        self._rendezvous.close()
        if dist.is_initialized():
            dist.destroy_process_group()

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process cannot go on."""
        self._rendezvous.fail(error if isinstance(error, MagnetarError) else None)

    def _name_transfer(self, source: int, to: int) -> str:
        self._transfers[source, to] += 1
        return f"{source} to {to}, {self._transfers[source, to]}"

    def _wait_for_all(self) -> None:
        self._steps += 1
        self._rendezvous.post(f"{self._steps}/{self.rank}")
        for rank in range(self.size):
            self._rendezvous.fetch(f"{self._steps}/{rank}")

    @contextmanager
    def _transferring(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # a connection that was closed, or too slow
            raise RankLost(f"rank {self.rank}: a transfer failed: {error}", hint=HINT, rank=self.rank) from error


def join_group(device: str, environment: Mapping[str, str] = os.environ) -> TorchrunGroup:
    """Meet the other processes of a boot.

    Raises ``RankLost`` if they do not come in time, ``UsageError`` if the environment has no numbers for this process.
    """
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except ValueError as error:
        raise UsageError("RANK and WORLD_SIZE are not numbers", hint="start the processes with torchrun") from error
    try:
        store, _rank, _size = next(rendezvous("env://", rank, size, timeout=MAX_START))
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=MAX_TRANSFER
        )
    except (RuntimeError, ValueError) as error:
        text = f"rank {rank}: not all of the {size} processes came together: {error}"
        raise RankLost(text, hint="look whether MASTER_ADDR can be reached from every machine") from error
    return TorchrunGroup(Rendezvous(PrefixStore("magnetar", store), rank, size))
