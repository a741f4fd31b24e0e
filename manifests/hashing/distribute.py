"""Give the chunks of a file to several consumers, each on a thread of its own, while the next chunk is read."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Protocol


class ByteConsumer(Protocol):
    """Takes a file's bytes from the beginning to the end: a hasher, or the piece hashes of a torrent."""

    def update(self, data: memoryview, /) -> object: ...


@contextmanager
def distributing(consumers: Collection[ByteConsumer], *, in_parallel: bool) -> Iterator[Callable[[memoryview], object]]:
    """Yield a function that gives a chunk to each of ``consumers``, and raises what one of them raised.

    If ``in_parallel``, each consumer has a thread of its own. The function then waits until all are done with the chunk
    *before*, and returns while they work on this one: the caller can read the next chunk meanwhile.
    """
    if not in_parallel:
        yield lambda chunk: [consumer.update(chunk) for consumer in consumers]
        return
    workers = [_Worker(consumer) for consumer in consumers]

    def wait_for_all() -> None:
        for worker in workers:
            worker.wait()

    def distribute(chunk: memoryview) -> None:
        wait_for_all()
        for worker in workers:
            worker.give(chunk)

    for worker in workers:
        worker.start()
    try:
        yield distribute
        wait_for_all()
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """Runs one consumer on a thread of its own, a chunk at a time.

    ``give`` hands it a chunk and returns at once; ``wait`` returns when the chunk is done, or raises what the consumer
    raised. Between two calls of ``give`` there must be one of ``wait``.
    """

    def __init__(self, consumer: ByteConsumer) -> None:
        self._consumer = consumer
        self._chunks: SimpleQueue[memoryview | None] = SimpleQueue()
        self._answers: SimpleQueue[BaseException | None] = SimpleQueue()
        self._is_busy = False
        self._thread = Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def give(self, chunk: memoryview) -> None:
        self._is_busy = True
        self._chunks.put(chunk)

    def wait(self) -> None:
        if self._is_busy:
            self._is_busy = False
            if error := self._answers.get():
                raise error

    def stop(self) -> None:
        self._chunks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            try:
                self._consumer.update(chunk)
                self._answers.put(None)
            except BaseException as error:  # raised again by ``wait``, in the thread that reads
                self._answers.put(error)
