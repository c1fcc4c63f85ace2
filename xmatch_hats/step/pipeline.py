"""What is done with a batch once it is gathered: match, encode, write to the database, deliver."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.alerts.enrich import Enricher, Matched
from xmatch_hats.matching.status import STATUS_LABELS, MatchStatus
from xmatch_hats.step.flight import Delivery, Fate, Flight, Sink, Watcher, alert_names, nobody
from xmatch_hats.step.report import Account, BatchReport
from xmatch_hats.step.waiting import Waiter


class Tables(Protocol):
    """Where rows of matched alerts go."""

    def write(self, matched: Matched, enricher: Enricher, goes_on: NDArray[np.bool_]) -> Mapping[str, int]:
        """Write the rows of a batch, those of alerts that go on, and count them."""


class Pipeline:
    """Takes batches one after the other.

    Parameters
    ----------
    enricher : callable
        Gives the enricher for the next batch: of the versions of the catalogues that are current then.
    sink : Sink
    waiter : Waiter
    tables : Tables, optional
    watch : callable, optional
    max_positions : int, optional
        Positions to match at once.
    """

    def __init__(
        self,
        enricher: Callable[[], Enricher],
        sink: Sink,
        waiter: Waiter,
        *,
        tables: Tables | None = None,
        watch: Watcher = nobody,
        max_positions: int | None = None,
    ) -> None:
        self._enricher = enricher
        self._sink = sink
        self._waiter = waiter
        self._tables = tables
        self._watch = watch
        self._max_positions = max_positions

    def process(self, flight: Flight) -> BatchReport:
        """Take a batch from its messages to the confirmation of its sink.

        Raises
        ------
        AccountError
            What was confirmed is not what came in.
        AbandonedError
            The batch was given up.
        PoisonedError
            A packet cannot be used, and the policy is to stop.
        """
        clock = _Clock()
        with clock("decode"):
            flight.fates = [fate for chunk in flight.chunks for fate in chunk.fates()]
        self._watch("consumed", flight.number)
        live = [fate for fate in flight.fates if fate.packet is not None]
        with clock("match"):
            enricher, matched = self._waiter.until_done("catalogue", lambda: self._match(live))
        self._watch("matched", flight.number)
        statuses = _Statuses(enricher.names)
        goes_on = np.ones(len(matched.alerts), dtype=bool)
        with clock("encode"):
            self._encode(enricher, matched, live, goes_on)
        rows: Mapping[str, int] = {}
        if self._tables is not None:
            tables = self._tables
            # Whoever has the partitions now has written later rows, maybe, which these must not replace.
            flight.require_kept()
            with clock("store"):
                rows = self._waiter.until_done("database", lambda: tables.write(matched, enricher, goes_on))
            self._watch("stored", flight.number)
        with clock("deliver"):
            delivery = self._waiter.until_done("output", lambda: self._sink.deliver(flight, self._watch))
        for fate in flight.fates:
            statuses.add(fate)
        return _report(flight, delivery, statuses, clock.seconds, rows)

    def _match(self, live: list[Fate]) -> tuple[Enricher, Matched]:
        enricher = self._enricher()
        return enricher, enricher.match([fate.packet for fate in live if fate.packet], self._max_positions)

    def _encode(self, enricher: Enricher, matched: Matched, live: list[Fate], goes_on: NDArray[np.bool_]) -> None:
        first = 0
        for fate, outcome in zip(live, enricher.encode(matched), strict=True):
            goes_on[first + np.array(list(outcome.rejects), dtype=np.int64)] = False
            first += len(outcome.status)
            fate.outcome = outcome
            if outcome.data is None:
                # The whole packet is set aside for its first reason; a sink that can part packets tells each one's.
                fate.error = next(iter(outcome.rejects.values()))


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = time.monotonic() - started


class _Statuses:
    """Alerts by status, over all catalogues and for each."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._combined = np.zeros(len(MatchStatus), dtype=np.int64)
        self._by_catalog = {name: np.zeros(len(MatchStatus), dtype=np.int64) for name in names}

    def add(self, fate: Fate) -> None:
        if fate.outcome is None:
            for counts in (self._combined, *self._by_catalog.values()):
                counts[MatchStatus.REJECTED] += fate.alerts
            return
        self._combined += np.bincount(fate.outcome.status, minlength=len(MatchStatus))
        for name, status in fate.outcome.by_catalog.items():
            self._by_catalog[name] += np.bincount(status, minlength=len(MatchStatus))

    def combined(self) -> dict[str, int]:
        return _labelled(self._combined)

    def by_catalog(self) -> dict[str, dict[str, int]]:
        return {name: _labelled(counts) for name, counts in self._by_catalog.items()}


def _labelled(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(STATUS_LABELS, counts.tolist(), strict=True))


def _report(
    flight: Flight, delivery: Delivery, statuses: _Statuses, seconds: dict[str, float], rows: Mapping[str, int]
) -> BatchReport:
    received = Counter(fate.message.account for fate in flight.fates)
    for name in received.keys() | delivery.accounts.keys():
        account = delivery.accounts.setdefault(name, Account())
        account.received = received[name]
        account.check(name)
    candids, object_ids = alert_names(flight.fates)
    return BatchReport(
        flight.number,
        delivery.accounts,
        statuses.combined(),
        statuses.by_catalog(),
        seconds,
        flight.received,
        datetime.now(UTC),
        bytes_in=sum(len(fate.message.data) for fate in flight.fates),
        bytes_out=delivery.bytes_out,
        candids=candids,
        object_ids=object_ids,
        dead=delivery.dead,
        tables=rows,
    )
