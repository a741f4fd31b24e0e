"""The processes that ``torchrun`` started, on one machine or on many, as one crew that boots a model.

Tensors go by torch.distributed, gloo between CPUs and nccl between GPUs, and only when both sides are known to be
there; all else goes by the place where the processes met.
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
from magnetar.model.cluster.rendezvous import HINT, Meeting

START = timedelta(minutes=2)
"""How long the others may take to start."""

MOVING = timedelta(minutes=10)
"""How long tensors may take to a process that is ready for them."""

FAREWELL = 15.0
"""Seconds that the first waits for the others at the end."""


class Ranks:
    """The processes of one boot, as one of them sees it; a ``Crew``. A context: the others are told of an error in it.

    Its methods raise the error that ended another process, or ``RankLost``.
    """

    def __init__(self, meeting: Meeting) -> None:
        self.rank, self.size = meeting.rank, meeting.size
        self._meeting, self._steps = meeting, 0
        self._trips = Counter[tuple[int, int]]()

    def gather(self, value: Any) -> list[Any]:
        """A plain value of each process, for the first; an empty list for the others."""
        self._steps += 1
        self._meeting.post(f"{self._steps}/{self.rank}", value)
        return [] if self.rank else [self._meeting.fetch(f"{self._steps}/{rank}") for rank in range(self.size)]

    def tell(self, value: Any) -> Any:
        """The first process's plain value, for all."""
        self._steps += 1
        if self.rank == 0:
            self._meeting.post(f"{self._steps}/told", value)
        return self._meeting.fetch(f"{self._steps}/told")

    def send(self, tensors: Sequence[Tensor], to: int, trouble: str = "") -> None:
        """Hand tensors to process ``to``, which receives as many of the same shapes; or ``trouble`` in their place."""
        trip = self._name_trip(self.rank, to)
        self._meeting.post(f"{trip} sent", trouble)
        if trouble:
            return
        self._meeting.fetch(f"{trip} awaited")
        with self._moving():
            for tensor in tensors:
                dist.send(tensor.contiguous(), to)

    def receive(self, tensors: Sequence[Tensor], source: int) -> str:
        """Fill tensors with what process ``source`` sends, whenever that is, or say what it says in their place."""
        trip = self._name_trip(source, self.rank)
        trouble = str(self._meeting.fetch(f"{trip} sent"))
        if trouble:
            return trouble
        self._meeting.post(f"{trip} awaited")
        with self._moving():
            for tensor in tensors:
                dist.recv(tensor, source)
        return ""

    def add_up(self, tensor: Tensor) -> None:
        """Make it the sum of what all processes have; the same to the last bit everywhere."""
        self._wait_for_all()
        with self._moving():
            dist.all_reduce(tensor)

    def level(self, tensor: Tensor) -> None:
        """Make it what the first process has."""
        self._wait_for_all()
        with self._moving():
            dist.broadcast(tensor, 0)

    def dismiss(self, code: ExitCode) -> None:
        """Of the first process, when its result was shown: let the others end with ``code``, and wait for them."""
        self._meeting.post("exit", int(code))
        self._meeting.linger((f"left/{rank}" for rank in range(1, self.size)), FAREWELL)

    def await_dismissal(self) -> ExitCode:
        """Of the others: the code to end with, as the first says. Raises ``RankLost`` if that is gone."""
        code = self._meeting.fetch("exit", despite_failure=True)
        self._meeting.post(f"left/{self.rank}")
        return ExitCode(code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self.fail(error)
        self._meeting.close()
        if dist.is_initialized():
            dist.destroy_process_group()

    def fail(self, error: BaseException) -> None:
        """Tell the others that this process cannot go on."""
        self._meeting.fail(error if isinstance(error, MagnetarError) else None)

    def _name_trip(self, source: int, to: int) -> str:
        self._trips[source, to] += 1
        return f"{source} to {to}, {self._trips[source, to]}"

    def _wait_for_all(self) -> None:
        self._steps += 1
        self._meeting.post(f"{self._steps}/{self.rank}")
        for rank in range(self.size):
            self._meeting.fetch(f"{self._steps}/{rank}")

    @contextmanager
    def _moving(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # a connection that was closed, or too slow
            raise RankLost(f"rank {self.rank}: a transfer failed: {error}", hint=HINT) from error


def join_ranks(device: str, environment: Mapping[str, str] = os.environ) -> Ranks:
    """Meet the other processes. Raises ``RankLost`` if they do not come, ``UsageError`` for what says who they are."""
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except ValueError as error:
        raise UsageError("RANK and WORLD_SIZE are not numbers", hint="start the processes with torchrun") from error
    try:
        store, _rank, _size = next(rendezvous("env://", rank, size, timeout=START))
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=size, timeout=MOVING)
    except (RuntimeError, ValueError) as error:
        text = f"rank {rank}: not all of the {size} processes came together: {error}"
        raise RankLost(text, hint="look whether MASTER_ADDR can be reached from every machine") from error
    return Ranks(Meeting(PrefixStore("magnetar", store), rank, size))
