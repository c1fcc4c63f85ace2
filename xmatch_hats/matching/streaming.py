"""Calls handed to workers one by one, and what comes of them in the order in which they end.

Made for work of hours: calls are submitted while others are under way, as many as the caller likes. Dask sees each as a
task of its own: its dashboard shows them, an adaptive cluster counts them, and a worker that dies costs them again.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from xmatch_hats.matching.clusters import (
    ANSWER_SECONDS,
    LostError,
    Patience,
    count_threads,
    is_running,
    reason_of,
)

if TYPE_CHECKING:
    from distributed import Client, Future


LATE_SECONDS = 5.0
"""How long a value may take until it is asked for once more."""


@dataclass(frozen=True)
class Ended:
    """A call that has ended."""

    number: int
    """As `Stream.submit` gave it."""
    value: Any = None
    error: BaseException | None = None
    """The function's own, or the cluster's; None where it has returned."""
    killed: bool = False
    """Whether workers died while they had the call, more often than Dask goes on with it."""


class Stream(ABC):
    """Calls under way; made by `Scheduler.stream`, and closed by it."""

    def __init__(self) -> None:
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._count = 0

    @abstractmethod
    def slots(self) -> int:
        """Number of calls that workers can be at, all together, now; 0 where none is left."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Hand over a call, and do not wait for it.

        Parameters
        ----------
        function : callable
            Of a module that workers can import.
        *arguments
            Dask looks through lists and dictionaries of them: what is large is best given as bytes.

        Returns
        -------
        int
            Its number, which no other call has.
        """

    @abstractmethod
    def wait(self) -> list[Ended]:
        """Wait until calls have ended, one at least, and give all that have; none where none is under way."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is under way."""

    def _next_number(self) -> int:
        self._count += 1
        return self._count


class ThreadStream(Stream):
    """Calls in threads of this process.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "xmatch-hats-stream")
        self._calls: dict[int, ThreadFuture[Any]] = {}

    def slots(self) -> int:
        """Number of threads."""
        return self._threads

    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Hand over a call."""
        number = self._next_number()
        self._calls[number] = future = self._pool.submit(function, *arguments)
        future.add_done_callback(lambda _: self._ended.put(number))
        return number

    def wait(self) -> list[Ended]:
        """Wait for ends."""
        if not self._calls:
            return []
        return [self._end(number) for number in _drain(self._ended, self._ended.get())]

    def close(self) -> None:
        """Give up what has not begun, and wait for what has: a thread cannot be stopped."""
        self._pool.shutdown(cancel_futures=True)

    def _end(self, number: int) -> Ended:
        future = self._calls.pop(number)
        error = future.exception()
        return Ended(number, error=error) if error else Ended(number, future.result())


class DaskStream(Stream):
    """Calls as tasks of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    name : str
        What the tasks are called on the dashboard.
    """

    def __init__(self, client: Client, name: str) -> None:
        super().__init__()
        self._client = client
        # Dask takes tasks of one name for the same.
        self._name = f"{name}-{uuid4().hex}"
        self._calls: dict[int, Future] = {}
        self._fetches: dict[int, list[tuple[float, ThreadFuture[Any]]]] = {}
        """Values on their way, and since when. That may take long: where a worker has died, the scheduler looks for it
        for half a minute. Nothing else waits for them."""
        self._slots = 0
        self._looked = float("-inf")

    def slots(self) -> int:
        """Number of threads of all workers, asked for once a second."""
        if monotonic() - self._looked > ANSWER_SECONDS:
            # Where the scheduler does not answer, the last word counts; `wait` notices.
            found = count_threads(self._client)
            self._slots = self._slots if found is None else found
            self._looked = monotonic()
        return self._slots

    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Hand over a call.

        Raises
        ------
        LostError
            The client has lost its scheduler.
        """
        number = self._next_number()
        try:
            future = self._client.submit(function, *arguments, key=f"{self._name}-{number}", pure=False)
        except (OSError, RuntimeError) as error:  # a client that is closed refuses
            if is_running(self._client):
                raise
            raise LostError(reason_of(error)) from error
        self._calls[number] = future
        self._listen(number)
        return number

    def wait(self) -> list[Ended]:
        """Wait for ends.

        Raises
        ------
        LostError
            The scheduler or all workers went away.
        """
        while self._calls:
            found = [self._end(number) for number in _drain(self._ended, self._first())]
            if ended := [end for end in found if end is not None]:
                return ended
        return []

    def close(self) -> None:
        """Give up what is under way; what a worker has begun it finishes, for nobody."""
        for future in self._calls.values():
            future.release()
        self._calls.clear()
        self._fetches.clear()

    def _first(self) -> int:
        """Number of a call that has ended, for as long as somebody works."""
        patience = Patience(self._client)
        while True:
            try:
                return self._ended.get(timeout=ANSWER_SECONDS)
            except Empty:
                self._ask_again()
                patience.check()

    def _ask_again(self) -> None:
        """Ask once more for values that are late: their calls may have been made again by other workers.

        Once, and without cancelling what was asked: Dask has few such questions under way, and brings values together.
        """
        for number, fetches in self._fetches.items():
            if len(fetches) == 1 and monotonic() - fetches[0][0] > LATE_SECONDS:
                self._fetch(number)

    def _listen(self, number: int) -> None:
        self._calls[number].add_done_callback(lambda _: self._ended.put(number))

    def _end(self, number: int) -> Ended | None:
        """End of a call; None where its value is on its way, or was lost with its worker, and it is made again."""
        from distributed import CancelledError, KilledWorker
        from distributed.client import ClosedClientError

        if (future := self._calls.get(number)) is None:
            return None
        fetches, status = self._fetches.get(number), future.status
        if fetches is None and status in {"pending", "lost"}:
            self._listen(number)
            return None
        value = error = None
        try:
            if status == "error":
                error = future.exception(timeout=ANSWER_SECONDS)
            elif fetches is None:
                self._fetch(number)
                return None
            elif done := [fetch for _, fetch in fetches if fetch.done()]:
                value = done[0].result()
            else:
                return None
        except (CancelledError, ClosedClientError, OSError, RuntimeError) as cancelled:
            raise LostError(reason_of(cancelled)) from cancelled
        self._fetches.pop(number, None)
        self._calls.pop(number).release()
        return Ended(number, value, error, killed=isinstance(error, KilledWorker))

    def _fetch(self, number: int) -> None:
        bringing = self._client.gather(self._calls[number], asynchronous=True)
        fetch = asyncio.run_coroutine_threadsafe(bringing, self._client.loop.asyncio_loop)
        self._fetches.setdefault(number, []).append((monotonic(), fetch))
        fetch.add_done_callback(lambda _: self._ended.put(number))


def _drain(queue: SimpleQueue[int], first: int) -> list[int]:
    numbers = [first]
    while not queue.empty():
        numbers.append(queue.get())
    return numbers
