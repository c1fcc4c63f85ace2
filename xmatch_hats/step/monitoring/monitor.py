"""What watches a running step: health, metrics, logs, and who asks for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

from xmatch_hats.errors import AccountError, XmatchError
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.step.flight import Watcher
from xmatch_hats.step.monitoring.health import Health
from xmatch_hats.step.monitoring.http import HttpServer
from xmatch_hats.step.monitoring.logs import batch_line
from xmatch_hats.step.monitoring.metrics import StepMetrics
from xmatch_hats.step.report import Account, BatchReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmatch_hats.step.monitoring.metrics_topic import MetricsTopic

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0


class Monitor:
    """Is told of everything that happens to a step, and tells everybody.

    Parameters
    ----------
    catalogs : sequence of str
        Names of the catalogues.
    patience : int
        Failed tries of a component after which the step is not ready.

    Attributes
    ----------
    topic : MetricsTopic or None
        Where a message for each batch goes.
    lag, workers, cache : callable
        Give what is looked at now and then: messages that wait by partition, Dask workers (None: no cluster), packets
        whose schema was known and those whose was new.
    partitions : callable
        Gives what became of the partitions that were asked for; looked at now and then, too.
    connect : callable
        Connects to a cluster that has no workers; called in a thread of its own.
    """

    def __init__(self, catalogs: Sequence[str], patience: int) -> None:
        self.health = Health()
        self.metrics = StepMetrics(catalogs)
        self.topic: MetricsTopic | None = None
        self.total = Account()
        """All messages so far."""
        self.lag: Callable[[], Mapping[str, int]] = dict
        self.workers: Callable[[], int | None] = lambda: None
        self.cache: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.partitions: Callable[[], CacheCounts] = CacheCounts
        self.connect: Callable[[], None] = lambda: None
        self._reviving: Thread | None = None
        self._patience = patience
        self._looked = 0.0
        self._is_working = False
        self._cut_off: set[str] = set()

    def serve(self, host: str, port: int, secrets: Sequence[str]) -> HttpServer:
        """Answer over HTTP from now on."""
        server = HttpServer(host, port, self.health, self.metrics, secrets=secrets)
        server.start()
        return server

    def watcher(self, watch: Watcher) -> Watcher:
        """Take note of every boundary that a batch crosses, before somebody else does."""

        def noting(boundary: str, number: int) -> None:
            self._is_working = boundary not in ("committed", "abandoned")
            self._beat_worker()
            watch(boundary, number)

        return noting

    def _beat_worker(self) -> None:
        if self._is_working:
            self.health.beat("worker")
        else:
            self.health.idle("worker")

    def on_wait(self, what: str, why: str, failures: int) -> None:
        """Take note of what is waited for, or, without failures, of what works again."""
        self._beat_worker()
        if what == "source":
            # There it is the loop that waits.
            self.health.beat("loop")
        if failures == 0:
            self.health.set(what, True)
            self.metrics.resumed(what)
            return
        self.metrics.waiting(what, failures)
        if failures > self._patience:
            self.health.set(what, False, why)

    def on_connection(self, name: str) -> Callable[[bool, str], None]:
        """Give what takes note of a connection to brokers."""

        def noting(is_up: bool, why: str) -> None:
            self.health.set(name, is_up, why)
            if is_up:
                self._cut_off.discard(name)
                self.metrics.resumed(name)
            else:
                self._cut_off.add(name)
                self.metrics.waiting(name, 1)

        return noting

    def on_beat(self) -> None:
        """Take note of a turn of the loop, and look around now and then."""
        self.health.beat("loop")
        if self._cut_off:
            # A worker that waits for a broker does not hang, however long that takes.
            self._beat_worker()
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        self.metrics.lag(self.lag())
        self.metrics.cache(*self.cache())
        self.metrics.partitions(self.partitions())
        workers = self.workers()
        if workers is not None:
            self.metrics.workers(workers)
            self.health.set("dask", workers > 0, "it has no workers")
        if workers == 0 and not (self._reviving is not None and self._reviving.is_alive()):
            self._reviving = Thread(target=self._revive, name="revive", daemon=True)
            self._reviving.start()

    def _revive(self) -> None:
        # A batch connects anew by itself, but a step that has none would stay cut off.
        try:
            self.connect()
        except XmatchError as error:
            logger.debug("no workers yet: %s", error)

    def on_assigned(self, partitions: set[str]) -> None:
        """Take note of the partitions that this member has."""
        self.metrics.assigned(len(partitions))

    def on_joined(self) -> None:
        """Take note that the group has this member, with partitions or without."""
        self.health.set("joined", True)

    def on_thrown_out(self) -> None:
        """Take note that the group has gone on without this member."""
        self.health.set("joined", False, "the group has gone on without this member")

    def on_gap(self, partition: str, count: int) -> None:
        """Take note of messages that were deleted before they were read."""
        self.metrics.gap(partition, count)

    def on_batch(self, report: BatchReport) -> None:
        """Tell of a batch that is committed."""
        report = replace(report, lag=self.lag())
        self._is_working = False
        self._beat_worker()
        self.total.add(report.total)
        self.metrics.batch(report)
        if self.topic is not None:
            self.topic.send(report)
        logger.info("batch done", extra=batch_line(report))

    def on_failure(self, error: Exception) -> None:
        """Take note of what the step stops at."""
        if isinstance(error, AccountError):
            self.metrics.account_error()
