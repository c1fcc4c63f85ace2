"""Where task graphs run: in this process, on a cluster of our own, or on somebody's Dask scheduler."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from xmatch_hats.errors import UsageError, XmatchError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = "10s"


class Scheduler:
    """Runs task graphs; starts what it needs at the first one, and closes only what it started.

    Parameters
    ----------
    client : distributed.Client, optional
        Used, and left open.
    address : str, optional
        Of a Dask scheduler to connect to.
    workers : int, optional
        Number of worker processes of a cluster of our own, one thread each; 0 means threads of this process, and no
        cluster; by default one worker per core.

    Raises
    ------
    UsageError
        More than one of the three is given, or a negative number of workers.
    """

    def __init__(self, client: Client | None = None, address: str | None = None, workers: int | None = None) -> None:
        if sum(given is not None for given in (client, address, workers)) > 1:
            raise UsageError("give only one of a Dask client, a scheduler address and a number of workers")
        if client is not None and not hasattr(client, "get"):
            raise UsageError(f"a client must be a distributed.Client, not a {type(client).__name__}", value=client)
        if workers is not None and workers < 0:
            raise UsageError(f"the number of workers must be at least 0, not {workers}", value=workers)
        self._given = client
        self._client = client
        self._address = address
        self._workers = workers
        self._owned: list[Client | LocalCluster] = []
        self._closed = False

    def run(self, graph: dict[Hashable, Any], keys: Sequence[Hashable]) -> list[Any]:
        """Compute the values of some keys of a graph.

        Raises
        ------
        XmatchError
            The scheduler cannot be reached, has no workers, or workers died; errors raised by tasks come as they are.
        UsageError
            It has been closed.
        """
        if self._closed:
            raise UsageError("it has been closed", hint="open a new one, and use it inside of its `with` block")
        if not keys:
            return []
        if self._workers == 0:
            from dask import threaded

            return list(threaded.get(graph, list(keys)))
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        try:
            return list(self._connect().get(graph, list(keys)))
        except KilledWorker as error:
            raise XmatchError(
                f"a Dask worker died, most likely for want of memory: {error}",
                hint="give the workers more memory, or ask for fewer columns",
            ) from error
        except CancelledError as error:
            raise XmatchError(f"the Dask scheduler cancelled the work: {error}") from error

    def close(self) -> None:
        """Close the client and the cluster that were started here, if any."""
        while self._owned:
            self._owned.pop().close()
        self._client = self._given
        self._closed = True

    def _connect(self) -> Client:
        if self._client is None:
            self._client = self._client_of(self._own_cluster() if self._address is None else self._address)
            self._owned.append(self._client)
        return self._client

    def _own_cluster(self) -> LocalCluster:
        from distributed import LocalCluster

        workers = self._workers or os.cpu_count() or 1
        logger.info("starting a local cluster of %d workers", workers)
        try:
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        except RuntimeError as error:
            # Each worker imports the script that started it, and would start a cluster of its own there.
            raise XmatchError(
                f"a local cluster cannot be started: {error}",
                hint='in a script, work under `if __name__ == "__main__":`, or ask for workers=0, which are threads',
            ) from error
        self._owned.append(cluster)
        return cluster

    def _client_of(self, place: str | LocalCluster) -> Client:
        from distributed import Client

        client = None
        try:
            # Other users of Dask in this process keep their own default.
            client = Client(place, set_as_default=False, timeout=CONNECT_TIMEOUT)
            # Without a worker a batch would wait for ever.
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT)
            return client
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            if client is not None:
                client.close()
            raise XmatchError(
                f"cannot connect to the Dask scheduler: {error}",
                place=self._address,
                hint="is it running, with workers?",
            ) from error
