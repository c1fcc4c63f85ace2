"""What a running step counts, for Prometheus: one registry of its own, rendered by the HTTP server."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from xmatch_hats import __version__
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.step.monitoring.metrics_message import elapsed_seconds
from xmatch_hats.step.report import Account, BatchReport
from xmatch_hats.store.counts import REASONS

PREFIX = "xmatch_hats"

STATUSES = tuple(status.label for status in MatchStatus if status is not MatchStatus.REJECTED)
"""What an alert that goes out can be."""

STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds: from a stage that hardly exists to one that is waited for."""
BATCH_BUCKETS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
"""Messages."""


class StepMetrics:
    """Counters, gauges and histograms of one step.

    Counts grow batch by batch, when a batch is delivered and committed. Partitions are labelled as in a `BatchReport`,
    ``topic[3]``.

    Parameters
    ----------
    catalogs : sequence of str
        Names of the catalogues, whose counts start at 0 rather than nowhere.
    """

    def __init__(self, catalogs: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()
        self._totals: dict[str, Account] = {}
        self._lagging: set[str] = set()
        self._failed_tries: dict[str, int] = {}
        self._plans = {"hits": 0, "misses": 0}
        self._partition_totals: dict[str, int] = defaultdict(int)
        self._make_counts(catalogs)
        self._make_sizes()
        self._make_surroundings()
        info = self._make(Info, "build", "Versions of this program")
        info.info({"version": __version__, "python": platform.python_version()})
        ProcessCollector(registry=self.registry)

    def _make(
        self, kind: type[MetricWrapperBase], name: str, about: str, labels: Sequence[str] = (), **more: Any
    ) -> Any:
        return kind(f"{PREFIX}_{name}", about, labels, registry=self.registry, **more)

    def _make_counts(self, catalogs: Sequence[str]) -> None:
        by_partition = ("partition",)
        self._in = self._make(Counter, "messages_in", "Messages consumed", by_partition)
        self._out = self._make(Counter, "messages_out", "Messages delivered, confirmed", by_partition)
        self._dead = self._make(Counter, "messages_dead", "Messages set aside as dead letters, confirmed", by_partition)
        self._skipped = self._make(Counter, "messages_skipped", "Messages left out by the error policy", by_partition)
        self._unaccounted = self._make(Gauge, "unaccounted", "In less out, dead and skipped; 0 always", by_partition)
        self._errors = self._make(Counter, "dead_letters", "Dead letters by class of error", ("error",))
        self._alerts = self._make(Counter, "alerts", "Alerts by status over all catalogues", ("status",))
        self._by_catalog = self._make(
            Counter, "catalog_alerts", "Alerts by status against each catalogue", ("catalog", "status")
        )
        for status in STATUSES:
            self._alerts.labels(status)
            for catalog in catalogs:
                self._by_catalog.labels(catalog, status)
        self._rows = self._make(Counter, "database_rows", "Rows written to the database", ("table",))
        self._unstored = self._make(Counter, "alerts_not_stored", "Alerts without rows in the database", ("reason",))
        self._account_errors = self._make(Counter, "account_errors", "Batches whose counts did not add up")

    def _make_sizes(self) -> None:
        self._batches = self._make(Counter, "batches", "Batches delivered and committed")
        self._last_batch = self._make(Gauge, "last_batch_timestamp_seconds", "When the last batch was delivered")
        self._size = self._make(Histogram, "batch_messages", "Messages of a batch", buckets=BATCH_BUCKETS)
        self._elapsed = self._make(
            Histogram, "batch_seconds", "From a batch's first message to its delivery", buckets=STAGE_BUCKETS
        )
        self._stages = self._make(
            Histogram, "stage_seconds", "What a batch spends in each stage", ("stage",), buckets=STAGE_BUCKETS
        )
        self._bytes_in = self._make(Counter, "in_bytes", "Bytes of the messages consumed")
        self._bytes_out = self._make(Counter, "out_bytes", "Bytes of the messages delivered")

    def _make_surroundings(self) -> None:
        self._lag = self._make(Gauge, "lag_messages", "Messages that wait in a partition", ("partition",))
        self._gaps = self._make(Counter, "offsets_lost", "Offsets that retention took before us", ("partition",))
        self._assigned = self._make(Gauge, "assigned_partitions", "Partitions of this member of the group")
        self._rebalances = self._make(Counter, "rebalances", "Changes of the partitions of this member")
        self._waiting = self._make(Gauge, "waiting", "1 while a component is waited for", ("component",))
        self._tries = self._make(Counter, "failed_tries", "Tries that a component failed", ("component",))
        self._workers = self._make(Gauge, "dask_workers", "Dask workers")
        self._hits = self._make(Counter, "schema_cache_hits", "Packets whose schema was known")
        self._misses = self._make(Counter, "schema_cache_misses", "Packets whose schema was new")
        self._partitions = {
            name: self._make(Counter, f"partition_cache_{name}", f"Partitions that {what}")
            for name, what in (
                ("hits", "workers had open"),
                ("misses", "workers had to open"),
                ("evictions", "workers gave up, to make room"),
            )
        }
        self._open_bytes = self._make(Gauge, "partition_cache_bytes", "Bytes of the partitions that workers have open")
        self._dropped = self._make(Counter, "metrics_messages_dropped", "Metrics messages that were not delivered")

    def batch(self, report: BatchReport) -> None:
        """Count a batch that has been delivered and committed."""
        for partition, account in report.accounts.items():
            self._account(partition, account)
        for error, count in report.dead.items():
            self._errors.labels(error).inc(count)
        for status, count in report.statuses.items():
            self._alerts.labels(status).inc(count)
        for catalog, statuses in report.by_catalog.items():
            for status, count in statuses.items():
                self._by_catalog.labels(catalog, status).inc(count)
        for name, count in report.tables.items():
            (self._unstored if name in REASONS else self._rows).labels(name).inc(count)
        for stage, seconds in report.seconds.items():
            self._stages.labels(stage).observe(seconds)
        self._size.observe(report.total.received)
        self._elapsed.observe(elapsed_seconds(report))
        self._bytes_in.inc(report.bytes_in)
        self._bytes_out.inc(report.bytes_out)
        self._batches.inc()
        self._last_batch.set(report.sent.timestamp())
        with self._lock:
            self._set_lag(report.lag)

    def _account(self, partition: str, account: Account) -> None:
        with self._lock:
            total = self._totals.setdefault(partition, Account())
            total.add(account)
            left = total.received - total.out - total.dead - total.skipped
        self._in.labels(partition).inc(account.received)
        self._out.labels(partition).inc(account.out)
        self._dead.labels(partition).inc(account.dead)
        self._skipped.labels(partition).inc(account.skipped)
        self._unaccounted.labels(partition).set(left)

    def lag(self, by_partition: Mapping[str, int]) -> None:
        """Set the lag of all partitions that this member has; those of others are forgotten.

        Parameters
        ----------
        by_partition : mapping of str to int
            Messages that wait, by partition.
        """
        with self._lock:
            for partition in self._lagging - set(by_partition):
                self._lag.remove(partition)
            self._lagging &= set(by_partition)
            self._set_lag(by_partition)

    def _set_lag(self, by_partition: Mapping[str, int]) -> None:
        for partition, messages in by_partition.items():
            self._lag.labels(partition).set(messages)
        self._lagging |= set(by_partition)

    def gap(self, partition: str, count: int) -> None:
        """Count offsets that were gone before they could be consumed."""
        self._gaps.labels(partition).inc(count)

    def assigned(self, n: int) -> None:
        """Set the number of partitions that this member has."""
        self._assigned.set(n)

    def rebalances(self, n: int = 1) -> None:
        """Count changes of the partitions that this member has."""
        self._rebalances.inc(n)

    def workers(self, n: int) -> None:
        """Set the number of Dask workers."""
        self._workers.set(n)

    def waiting(self, what: str, failed_tries: int) -> None:
        """Note that something is waited for.

        Parameters
        ----------
        what : str
            The component, as `Health` names it.
        failed_tries : int
            Tries that failed since it last worked.
        """
        with self._lock:
            new = failed_tries - self._failed_tries.get(what, 0)
            self._failed_tries[what] = failed_tries
        self._tries.labels(what).inc(max(new, 0))
        self._waiting.labels(what).set(1)

    def resumed(self, what: str) -> None:
        """Note that something works, or works again."""
        with self._lock:
            self._failed_tries.pop(what, None)
        self._tries.labels(what)
        self._waiting.labels(what).set(0)

    def cache(self, hits: int, misses: int) -> None:
        """Count writer schemas that were known, and those that were new.

        Parameters
        ----------
        hits, misses : int
            Running totals. Totals below the last ones come from somebody who counts anew.
        """
        with self._lock:
            known, self._plans = self._plans, {"hits": hits, "misses": misses}
        anew = hits < known["hits"] or misses < known["misses"]
        self._hits.inc(hits if anew else hits - known["hits"])
        self._misses.inc(misses if anew else misses - known["misses"])

    def partitions(self, counts: CacheCounts) -> None:
        """Count partitions that workers had open, opened and gave up.

        Parameters
        ----------
        counts : CacheCounts
            Running totals.
        """
        with self._lock:
            for name, counter in self._partitions.items():
                known, total = self._partition_totals[name], getattr(counts, name)
                # Whoever looks while versions are switched may be told more than there was.
                counter.inc(max(total - known, 0))
                self._partition_totals[name] = max(total, known)
        self._open_bytes.set(counts.bytes)

    def metrics_message_dropped(self, n: int = 1) -> None:
        """Count messages for the metrics topic that were not delivered."""
        self._dropped.inc(n)

    def account_error(self) -> None:
        """Count a batch whose counts did not add up."""
        self._account_errors.inc()
