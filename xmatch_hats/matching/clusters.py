"""Dask's ends: clusters of our own, clients of schedulers, and what is asked of them within a bound of time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError as CancelledCall
from functools import partial
from http import HTTPStatus
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import urlopen
from uuid import uuid4

from xmatch_hats.matching.calls import Call, ask_workers
from xmatch_hats.matching.forks import start_fork_server

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, Security
    from tornado.ioloop import IOLoop

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 1.0
"""How long a scheduler may take to say how many workers it has."""
PATIENCE_SECONDS = 20.0
"""How long work may lie without a worker, or without a word of its scheduler, until it counts as lost. Within it a
worker that died is started again by its nanny."""
CLOSE_SECONDS = 5.0

_SHORT_LOGS = {"distributed.admin.low-level-log-length": 10}
"""Distributed keeps the last 1,000 messages for its developers, and whole task graphs, positions included, are among
them: up to a gigabyte."""
_NO_PAUSE = {"distributed.worker.memory.pause": False}
"""A worker that waits until it has more memory may wait for ever, as what libraries keep is not given back; without
that it goes on, and is started again where its memory ends."""


class LostError(Exception):
    """The scheduler, or the last of its workers, is gone; the work may be done again elsewhere."""


class Connection:
    """A client, with the cluster that was started for it, if any.

    Use `to_address` or `to_own_cluster`.
    """

    def __init__(self, loop: _LoopThread, client: Client, cluster: LocalCluster | None = None) -> None:
        self._loop = loop
        self.client = client
        self.cluster = cluster

    @classmethod
    def to_address(cls, address: str, seconds: float, security: Security | None) -> Connection:
        """Connect to a scheduler that has workers.

        Parameters
        ----------
        address : str
        seconds : float
            How long that may take.
        security : Security or None
            For an address with TLS.

        Raises
        ------
        OSError, ValueError
            It cannot be reached, or has no worker.
        """
        loop = _LoopThread()
        try:
            return cls(loop, _client_of(address, seconds, security=security, loop=loop.loop))
        except BaseException:
            loop.close()
            raise

    @classmethod
    def to_own_cluster(
        cls, workers: int, memory_limit: int | None, seconds: float, *, dashboard: bool = False
    ) -> Connection:
        """Start worker processes on this machine, of one thread each, that listen on the loopback interface only.

        Parameters
        ----------
        workers : int
        memory_limit : int or None
            Bytes for each worker; None is its share of the machine's, or the container's, memory.
        seconds : float
            How long connecting to the cluster may take, once it has started.
        dashboard : bool, optional
            Whether it has Dask's pages for people.

        Raises
        ------
        RuntimeError, OSError
            They do not start.
        """
        loop, cluster = _LoopThread(), None
        try:
            cluster = _start_cluster(workers, memory_limit, loop.loop, dashboard=dashboard)
            return cls(loop, _client_of(cluster, seconds), cluster)
        except BaseException:
            _close(cluster)
            loop.close()
            raise

    def close(self) -> None:
        """Close the client and the cluster, dead ones too, within a bound of time."""
        _close(self.client)
        _close(self.cluster)
        self._loop.close()


def is_running(client: Client) -> bool:
    """Whether a client is connected, as far as it has noticed."""
    return bool(client.status == "running")


def count_workers(client: Client) -> int | None:
    """Number of workers; None where the scheduler does not answer within a second."""
    return _count(client, "n_workers")


def count_threads(client: Client) -> int | None:
    """Number of threads of all workers together; None where the scheduler does not answer within a second."""
    return _count(client, "total_threads")


def _count(client: Client, what: str) -> int | None:
    scheduler = client.scheduler
    if scheduler is None or not is_running(client):
        return None
    try:
        return int(client.sync(scheduler.identity, n_workers=0, callback_timeout=ANSWER_SECONDS)[what])
    except (OSError, RuntimeError):  # RuntimeError: the client's loop was closed meanwhile
        return None


def dashboard_of(client: Client) -> str | None:
    """Address of the dashboard of a client's scheduler; None where it has none or does not answer."""
    scheduler = client.scheduler
    if scheduler is None or not is_running(client):
        return None
    try:
        found = client.sync(scheduler.identity, n_workers=0, callback_timeout=ANSWER_SECONDS)
    except (OSError, RuntimeError):
        return None
    if "dashboard" not in found["services"]:
        return None
    # A scheduler without the pages names their port all the same.
    address = str(client.dashboard_link)
    return None if _has_no_pages(address) else address


def _has_no_pages(address: str) -> bool:
    """Whether a server says that it has no dashboard; one that does not answer here may answer people elsewhere."""
    # To make the page itself takes the scheduler half a second; the list of its parts costs nothing.
    try:
        with urlopen(urljoin(address, "individual-plots.json"), timeout=ANSWER_SECONDS) as answer:
            return not json.load(answer)
    except HTTPError as error:
        return error.code == HTTPStatus.NOT_FOUND
    except (OSError, ValueError):
        return False


def compute(client: Client, graph: dict[Hashable, Any], keys: Sequence[Hashable]) -> list[Any]:
    """Compute the values of some keys of a graph, and leave nothing of it behind.

    Raises
    ------
    LostError
        The scheduler or all workers went away.
    Exception
        Whatever a task raised.
    """
    from distributed import CancelledError
    from distributed.client import ClosedClientError

    futures: list[Any] = []
    try:
        futures = client.get(graph, list(keys), sync=False)
        # Where that fails, releasing the futures ends the rest.
        return list(wait_for(client, client.gather(futures, asynchronous=True)))
    except (CancelledError, ClosedClientError, OSError, RuntimeError) as error:
        if is_running(client) and any(future.status == "error" for future in futures):
            raise
        raise LostError(reason_of(error)) from error
    finally:
        for future in futures:
            future.release()


def ask(client: Client, calls: Sequence[Call]) -> tuple[list[Any], int]:
    """Make calls at workers, and those whose worker went away or cannot make them once more as tasks.

    Returns
    -------
    list
        Values, in the order of the calls.
    int
        Number of workers at the beginning.

    Raises
    ------
    LostError
        The scheduler or all workers went away.
    Exception
        Whatever a function raised.
    """
    try:
        answers, workers = wait_for(client, ask_workers(client, calls))
    except (asyncio.CancelledError, CancelledCall, OSError, RuntimeError) as error:
        raise LostError(reason_of(error)) from error
    for answer in answers:
        if answer is not None and answer.error is not None:
            raise answer.error
    left = [number for number, answer in enumerate(answers) if answer is None]
    if not left:
        return [answer.value for answer in answers if answer is not None], workers
    # Dask knows how long to wait for workers, how often work may kill them, and what to say of it.
    logger.warning("%d of %d calls were not answered by their Dask workers, and are made again", len(left), len(calls))
    graph: dict[Hashable, Any] = {
        (f"call-{uuid4().hex}", number): (partial(calls[number].function, *calls[number].arguments),) for number in left
    }
    again = dict(zip(left, compute(client, graph, list(graph)), strict=True))
    return [again[number] if answer is None else answer.value for number, answer in enumerate(answers)], workers


def reason_of(error: BaseException) -> str:
    """Why work was cancelled, in one line and without naming tasks."""
    reason = getattr(error, "reason", None)
    text = str(reason).replace("-", " ") if reason else str(error)
    return next(iter(text.splitlines()), type(error).__name__)


class Patience:
    """How long nobody has worked for a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lost_since: float | None = None

    def check(self) -> None:
        """Look whether there are workers; to be called again and again while one waits.

        Raises
        ------
        LostError
            There have been none for too long.
        """
        workers = count_workers(self._client)
        if workers:
            self._lost_since = None
            return
        self._lost_since = self._lost_since or monotonic()
        if monotonic() - self._lost_since > PATIENCE_SECONDS:
            raise LostError("it has no workers" if workers == 0 else "it does not answer")


def wait_for(client: Client, coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait for what a client brings, for as long as somebody works on it."""
    waiting = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
    patience = Patience(client)
    try:
        while True:
            try:
                return waiting.result(timeout=ANSWER_SECONDS)
            except TimeoutError:
                if waiting.done():
                    raise
            patience.check()
    except BaseException:
        # Whoever interrupts does not want the answer either.
        waiting.cancel()
        raise


def _start_cluster(workers: int, memory_limit: int | None, loop: IOLoop, *, dashboard: bool) -> LocalCluster:
    from dask import config
    from distributed import LocalCluster, SpecCluster
    from distributed.scheduler import DEFAULT_EXTENSIONS as SCHEDULER_EXTENSIONS
    from distributed.worker import DEFAULT_EXTENSIONS as WORKER_EXTENSIONS

    logger.info("starting a local cluster of %d workers", workers)
    forked = {"distributed.worker.multiprocessing-method": "forkserver"} if start_fork_server() else {}
    with config.set({**_SHORT_LOGS, **_NO_PAUSE, **forked}):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            memory_limit="auto" if memory_limit is None else memory_limit,
            # The pages for people cost half a second.
            scheduler_kwargs={"extensions": _without_spans(SCHEDULER_EXTENSIONS), "dashboard": dashboard},
            extensions=_without_spans(WORKER_EXTENSIONS),
            loop=loop,
        )
    # Not SpecCluster's own way, which after 15 s closes a nanny for good whose new worker has not started yet.
    cluster._update_worker_status = super(SpecCluster, cluster)._update_worker_status
    return cluster


def _without_spans(extensions: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the history of all graphs ever computed, which grows for as long as a scheduler lives."""
    return {name: extension for name, extension in extensions.items() if name != "spans"}


def _client_of(place: str | LocalCluster, seconds: float, **keywords: Any) -> Client:
    from dask import config
    from distributed import Client

    deadline = monotonic() + seconds
    with config.set(_SHORT_LOGS):
        # Other users of Dask in this process keep their own default.
        client = Client(place, set_as_default=False, timeout=seconds, **keywords)
    while not count_workers(client):
        # Without a worker a batch would wait for ever.
        if monotonic() > deadline:
            _close(client)
            raise TimeoutError(f"no worker within {seconds:g} s")
        sleep(0.05)
    return client


def _close(end: Client | LocalCluster | None) -> None:
    if end is None:
        return
    try:
        end.close(timeout=CLOSE_SECONDS)
    except (OSError, RuntimeError, AssertionError) as error:  # a cluster asserts that its workers ended as it thinks
        logger.debug("%s was not closed in order: %s", type(end).__name__, error)


class _LoopThread:
    """An event loop in a thread of its own: that of a client that fails to connect, or dies, would run on for ever."""

    def __init__(self) -> None:
        self._ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._wait()), name="dask-loop", daemon=True)
        self._thread.start()
        self._ready.wait()

    async def _wait(self) -> None:
        from tornado.ioloop import IOLoop

        self.loop = IOLoop.current()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def close(self) -> None:
        self.loop.add_callback(self._stop.set)
        self._thread.join(timeout=CLOSE_SECONDS)
