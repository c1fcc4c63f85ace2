"""Who processes batches: a thread beside the loop."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from xmatch_hats.errors import AccountError
from xmatch_hats.step.flight import Flight
from xmatch_hats.step.report import BatchReport
from xmatch_hats.step.worker import ThreadWorker


def report(flight: Flight) -> BatchReport:
    if flight.number == 2:
        raise AccountError("one is missing")
    if flight.number == 3:
        raise MemoryError
    return BatchReport(flight.number, {}, {}, {}, {}, datetime.now(UTC), datetime.now(UTC))


def test_a_thread_takes_batches_in_turn_and_outlives_those_that_fail():
    seen = []

    def process(flight: Flight) -> BatchReport:
        seen.append((flight.number, threading.current_thread().name))
        return report(flight)

    worker, flights = ThreadWorker(process), [Flight(number) for number in range(1, 5)]
    for flight in flights:
        worker.launch(flight)
    assert all(flight.done.wait(30) for flight in flights)
    worker.close()
    assert seen == [(number, "worker") for number in range(1, 5)]
    assert [flight.report and flight.report.number for flight in flights] == [1, None, None, 4]
    assert [type(flight.error) for flight in flights] == [type(None), AccountError, MemoryError, type(None)]


def test_a_batch_that_hangs_does_not_hold_up_whoever_closes():
    release = threading.Event()
    worker, flight = ThreadWorker(lambda flight: release.wait(30) and report(flight)), Flight(1)
    worker.launch(flight)
    worker.close()
    worker.wait(0.01)
    assert not flight.done.is_set()
    release.set()
    worker.wait(30)
    assert flight.done.is_set()
