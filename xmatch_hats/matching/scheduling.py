"""Where task graphs run: in this process, on a cluster of our own, or on somebody's Dask scheduler."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from xmatch_hats.errors import SystemFailure, UsageError
from xmatch_hats.matching import clusters
from xmatch_hats.matching.calls import Call
from xmatch_hats.matching.clusters import Connection, LostError
from xmatch_hats.matching.streaming import DaskStream, Stream, ThreadStream
from xmatch_hats.matching.tls import TlsFiles, check_address

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CONNECT_SECONDS", "Scheduler"]

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long a scheduler may take to answer and to have a worker."""


class Scheduler:
    """Runs task graphs and calls, for as long as it is open; starts what it needs at the first, closes what it started.

    One client and one cluster serve all, and nothing of a graph or a call stays behind. A worker that dies is survived:
    its work is done again by those that are left. A scheduler that is lost fails the work that it had; the next one
    connects anew, or to a new cluster where it was our own.

    Parameters
    ----------
    client : distributed.Client, optional
        Used, and left open.
    address : str, optional
        Of a Dask scheduler to connect to.
    workers : int, optional
        Number of worker processes of a cluster of our own, one thread each, which listens on the loopback interface
        only; 0 means threads of this process, and no cluster; by default one worker per core.
    memory_limit : int, optional
        Bytes that each worker of our own cluster may use: beyond 60 % of it results go to disk, at 95 % the worker is
        started again. By default its share of the memory of the machine or the container. Threads of this process have
        no limit, and other clusters their own.
    tls : TlsFiles, optional
        For an address that begins with ``tls://``.
    dashboard : bool, optional
        Whether a cluster of our own shows Dask's pages for people; they take half a second to start.

    Raises
    ------
    UsageError
        More than one of the first three is given, a number that cannot be, an address that is none, or an address and
        TLS files that do not go together.
    ConfigError
        TLS files that cannot be used.
    """

    def __init__(
        self,
        client: Client | None = None,
        address: str | None = None,
        workers: int | None = None,
        *,
        memory_limit: int | None = None,
        tls: TlsFiles | None = None,
        dashboard: bool = False,
    ) -> None:
        if sum(given is not None for given in (client, address, workers)) > 1:
            raise UsageError("give only one of a Dask client, a scheduler address and a number of workers")
        if client is not None and not hasattr(client, "get"):
            raise UsageError(f"a client must be a distributed.Client, not a {type(client).__name__}", value=client)
        if workers is not None and workers < 0:
            raise UsageError(f"the number of workers must be at least 0, not {workers}", value=workers)
        _check_memory(memory_limit, own=client is None and address is None)
        check_address(address, tls)
        self._given = client
        self._address = address
        self._workers = workers
        self._memory_limit = memory_limit
        self._dashboard = dashboard
        self._security = None if tls is None else tls.security()
        self._lock = RLock()
        self._connection: Connection | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._homes = 0
        self._closed = False
        self._endings: list[weakref.finalize] = []

    @property
    def place(self) -> str:
        """Where graphs run, for people."""
        if self._given is not None:
            return "the Dask client that was given"
        if self._address is not None:
            return self._address
        if self._workers == 0:
            return "threads of this process"
        return f"a cluster of {self._number_of_workers()} workers on this machine"

    @property
    def in_threads(self) -> bool:
        """Whether all runs in threads of this process."""
        return self._workers == 0

    @property
    def dashboard(self) -> str | None:
        """Address of Dask's dashboard; None where there is none, or nothing is connected."""
        connection = self._connection
        client = self._given if connection is None else connection.client
        return None if client is None else clusters.dashboard_of(client)

    def connect(self) -> None:
        """Start or reach what graphs will run on, now rather than with the first one.

        Raises
        ------
        SystemFailure
            It cannot be started, cannot be reached, or has no workers.
        UsageError
            It has been closed.
        """
        self._require_open()
        if self._workers != 0:
            self._connected()

    def run(self, graph: dict[Hashable, Any], keys: Sequence[Hashable]) -> list[Any]:
        """Compute the values of some keys of a graph.

        Parameters
        ----------
        graph : dict
            A Dask graph.
        keys : sequence of hashable
            Names that no other graph has: Dask takes what has the same name for the same, and may still hold it.

        Raises
        ------
        SystemFailure
            The scheduler cannot be reached or was lost, has no workers, or workers died of this graph. The work may be
            run again, under new names. Errors raised by tasks come as they are.
        UsageError
            It has been closed.
        """
        self._require_open()
        if not keys:
            return []
        if self._workers == 0:
            from dask import threaded

            return list(threaded.get(graph, list(keys)))
        client = self._connected()
        with self._telling(client):
            return clusters.compute(client, graph, keys)

    def ask(self, calls: Sequence[Call]) -> list[Any]:
        """Call functions, all at once, each at the worker that is its home; much quicker than a graph for small work.

        A home is the same worker for as long as the workers are the same, so that what a function keeps there for the
        next call is found again. Where it does not answer, another one makes the call.

        Parameters
        ----------
        calls : sequence of Call

        Returns
        -------
        list
            Values, in the order of the calls.

        Raises
        ------
        SystemFailure
            As by `run`. Errors raised by the functions come as they are.
        UsageError
            It has been closed.
        """
        self._require_open()
        if not calls:
            return []
        if self._workers == 0:
            return self._ask_threads(calls)
        client = self._connected()
        with self._telling(client):
            values, self._homes = clusters.ask(client, calls)
        return values

    @contextmanager
    def stream(self, name: str = "xmatch-call") -> Iterator[Stream]:
        """Open a stream of calls, for work that takes hours; what is left of it at the end is given up.

        Parameters
        ----------
        name : str, optional
            What the calls are named on Dask's dashboard.

        Returns
        -------
        Stream
            A context manager gives it. A call whose worker dies is made again by another one; which calls killed their
            workers again and again, it tells.

        Raises
        ------
        SystemFailure
            As by `run`, from inside of the block.
        UsageError
            It has been closed.
        """
        self._require_open()
        if self._workers == 0:
            with closing(ThreadStream(_number_of_cores())) as stream:
                yield stream
            return
        client = self._connected()
        with self._telling(client), closing(DaskStream(client, name)) as stream:
            yield stream

    def homes(self) -> int:
        """Number of workers that calls may name as their homes.

        Returns
        -------
        int
            At least 1: as many as the last `ask` met, or as there are now, if it is the first. Calls reach somebody
            also where it is out of date. Number of cores for threads of this process.
        """
        self._require_open()
        if self._workers == 0:
            return _number_of_cores()
        # To ask each time would be a good part of what a small batch takes.
        self._homes = self._homes or clusters.count_workers(self._connected()) or 1
        return self._homes

    @contextmanager
    def _telling(self, client: Client) -> Iterator[None]:
        """Raise what happens to a cluster as a failure of it, and errors of tasks as they are."""
        from distributed import KilledWorker
        from distributed.scheduler import NoValidWorkerError

        try:
            yield
        except LostError as error:
            self._drop(client)
            what = "it was closed meanwhile" if self._closed else f"the Dask scheduler was lost: {error}"
            raise self._failure(what) from error
        except (KilledWorker, NoValidWorkerError, ImportError, RuntimeError) as error:
            failure = self._of_the_cluster(error)
            if failure is None:
                raise
            raise failure from error

    def workers_alive(self) -> int | None:
        """Number of workers, asked of the scheduler now; takes a second at most.

        Returns
        -------
        int or None
            0 where the scheduler is not connected or does not answer; None for threads of this process.
        """
        if self._workers == 0:
            return None
        connection = self._connection
        client = self._given if connection is None else connection.client
        return 0 if client is None else clusters.count_workers(client) or 0

    def close(self) -> None:
        """Close the client and the cluster that were started here, if any; graphs that run on them fail.

        May be called from any thread; it waits for a connection that is being made.
        """
        self._closed = True
        self._drop()
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        for ending in self._endings:
            ending()

    def when_closed(self, call: Callable[[], object]) -> None:
        """Have something called when it is closed, or when nobody holds it any more."""
        self._endings.append(weakref.finalize(self, call))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask_threads(self, calls: Sequence[Call]) -> list[Any]:
        if len(calls) == 1:
            return [calls[0].function(*calls[0].arguments)]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_number_of_cores(), "xmatch-hats-call")
        return list(self._pool.map(lambda call: call.function(*call.arguments), calls))

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("it has been closed", hint="open a new one, and use it inside of its `with` block")

    def _connected(self) -> Client:
        """Client that is connected, as far as it knows; a new one where the last was lost."""
        if self._given is not None:
            if not clusters.is_running(self._given):
                raise self._failure(
                    f"it is {self._given.status}", hint="open a new client: one that was given is not opened again here"
                )
            return self._given
        with self._lock:
            if self._connection is not None and not clusters.is_running(self._connection.client):
                logger.warning("the Dask scheduler was lost; connecting again to %s", self.place)
                self._drop()
            if self._connection is None:
                self._require_open()
                self._connection = self._new_cluster() if self._address is None else self._new_client(self._address)
            return self._connection.client

    def _new_client(self, address: str) -> Connection:
        try:
            return Connection.to_address(address, CONNECT_SECONDS, self._security)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise self._failure(
                f"cannot connect to the Dask scheduler: {error}", hint="is it running, with workers?"
            ) from error

    def _new_cluster(self) -> Connection:
        try:
            return Connection.to_own_cluster(
                self._number_of_workers(), self._memory_limit, CONNECT_SECONDS, dashboard=self._dashboard
            )
        except (OSError, RuntimeError) as error:
            # Each worker imports the script that started it, and would start a cluster of its own there.
            raise self._failure(
                f"a local cluster cannot be started: {error}",
                hint='in a script, work under `if __name__ == "__main__":`, or ask for workers=0, which are threads',
            ) from error

    def _number_of_workers(self) -> int:
        return self._workers or _number_of_cores()

    def _drop(self, lost: Client | None = None) -> None:
        """Let go of what was started here; of a lost client, unless another run has already put one in its place."""
        with self._lock:
            connection = self._connection
            if connection is None or (lost is not None and lost is not connection.client):
                return
            self._connection = None
        connection.close()

    def _of_the_cluster(self, error: Exception) -> SystemFailure | None:
        """Failure that an error means which comes as a task's, and is the cluster's; None for a task's own."""
        from distributed import KilledWorker
        from distributed.scheduler import NoValidWorkerError

        if isinstance(error, KilledWorker):
            return self._failure(
                f"a Dask worker died, most likely for want of memory: {error}",
                hint="give the workers more memory, or ask for fewer columns",
            )
        if isinstance(error, NoValidWorkerError):
            return self._failure(f"no Dask worker may do the work: {error}")
        if isinstance(error, ImportError) or str(error).startswith("Error during deserialization"):
            first_line = next(iter(str(error).splitlines()), "")
            return self._failure(
                f"the Dask scheduler or a worker lacks software: {first_line}",
                hint="install the same xmatch-hats on all of them",
            )
        return None

    def _failure(self, message: str, hint: str = "") -> SystemFailure:
        return SystemFailure(message, place=self.place, hint=hint)


def _number_of_cores() -> int:
    from dask.system import CPU_COUNT

    return CPU_COUNT


def _check_memory(memory_limit: int | None, *, own: bool) -> None:
    if memory_limit is not None and not own:
        raise UsageError(
            "a memory limit is for workers that are started here", hint="give it to the workers where they are started"
        )
    if memory_limit is not None and memory_limit <= 0:
        raise UsageError(f"a worker's memory must be above 0 bytes, not {memory_limit}", value=memory_limit)


def __dir__() -> list[str]:
    return sorted(__all__)
