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
        return _report(flight, delivery, enricher.names, clock.seconds, rows)

    def _match(self, live: list[Fate]) -> tuple[Enricher, Matched]:
        enricher = self._enricher()
        return enricher, enricher.match([fate.packet for fate in live if fate.packet], self._max_positions)

    def _encode(self, enricher: Enricher, matched: Matched, live: list[Fate], goes_on: NDArray[np.bool_]) -> None:
        first = 0
        for fate, outcome in zip(live, enricher.encode(matched), strict=True):
            if outcome.rejects:
                goes_on[first + np.array(list(outcome.rejects), dtype=np.int64)] = False
            first += len(outcome.status)
            fate.outcome = outcome
            if outcome.chunks is None:
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


def _by_status(parts: list[NDArray[np.uint8]], rejected: int) -> dict[str, int]:
    """Count alerts by status, those of packets without an outcome as rejected."""
    counts = np.bincount(np.concatenate([np.empty(0, dtype=np.uint8), *parts]), minlength=len(MatchStatus))
    counts[MatchStatus.REJECTED] += rejected
    return dict(zip(STATUS_LABELS, counts.tolist(), strict=True))


def _report(
    flight: Flight, delivery: Delivery, names: tuple[str, ...], seconds: dict[str, float], rows: Mapping[str, int]
) -> BatchReport:
    received = Counter(fate.message.account for fate in flight.fates)
    for name in received.keys() | delivery.accounts.keys():
        account = delivery.accounts.setdefault(name, Account())
        account.received = received[name]
        account.check(name)
    candids, object_ids = alert_names(flight.fates)
    outcomes = [fate.outcome for fate in flight.fates if fate.outcome is not None]
    rejected = sum(fate.alerts for fate in flight.fates if fate.outcome is None)
    return BatchReport(
        flight.number,
        delivery.accounts,
        _by_status([outcome.status for outcome in outcomes], rejected),
        {name: _by_status([outcome.by_catalog[name] for outcome in outcomes], rejected) for name in names},
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
