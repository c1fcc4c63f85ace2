"""The broker halts, dies and comes back at every boundary; the step waits, goes on and loses nothing."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import pytest

from tests.services.follower import Follower
from tests.services.topics import produce, read_all
from tests.step.streams import Stream, alerts, candids
from xmatch_hats.step.kafka import transactions
from xmatch_hats.step.loop import BatchLimits

BATCH = 20
BOUNDARIES = {
    "at-least-once": ["consumed", "matched", "produced", "flushed", "committing", "committed"],
    "exactly-once": ["consumed", "matched", "produced", "flushed", "committing", "committed"],
}


def cases(*quick: tuple[str, str]):
    """All of them in a campaign, and these in every run."""
    return [
        pytest.param(delivery, boundary, marks=() if (delivery, boundary) in quick else pytest.mark.campaign)
        for delivery, boundaries in BOUNDARIES.items()
        for boundary in boundaries
    ]


def check(step: Stream, total: int) -> None:
    counts = Counter(candids(read_all(step.address, step.out)))
    assert sorted(counts) == list(range(total))
    repeated = [number for number, count in counts.items() if count > 1]
    assert len(repeated) <= (0 if step.delivery == "exactly-once" else BATCH)


def interrupt(step: Stream, boundary: str, fault) -> None:
    """Have something happen when the second batch is at a boundary."""
    struck = threading.Event()

    def watch(name: str, number: int) -> None:
        if (name, number) == (boundary, 2) and not struck.is_set():
            struck.set()
            fault()

    step.watch = watch


def run_through(step: Stream, caplog) -> None:
    """Have a hundred alerts come out in spite of all."""
    produce(step.address, step.topics[0], alerts(100))
    with caplog.at_level(logging.INFO), step.running():
        step.wait_for(lambda: step.total.received >= 100, "all alerts", 90)
    check(step, 100)


@pytest.mark.parametrize(
    ("delivery", "boundary"),
    cases(("exactly-once", "committing")),
)
def test_a_broker_that_halts_for_a_while(kafka, make_stream, monkeypatch, caplog, delivery, boundary):
    """Longer than a transaction waits for an answer, so that a commit is in doubt."""
    monkeypatch.setattr(transactions, "_TIMEOUT", 1.0)
    step = make_stream(delivery, limits=BatchLimits(alerts=BATCH, seconds=0.3), until_end=False)

    def halt() -> None:
        kafka.pause()
        threading.Timer(2.5, kafka.resume).start()

    interrupt(step, boundary, halt)
    run_through(step, caplog)


@pytest.mark.campaign
@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_broker_that_halts_for_longer_than_a_session(kafka, make_stream, caplog, delivery):
    step = make_stream(delivery, limits=BatchLimits(alerts=BATCH, seconds=0.3), until_end=False)

    def halt() -> None:
        kafka.pause()
        threading.Timer(15, kafka.resume).start()

    interrupt(step, "produced", halt)
    run_through(step, caplog)


@pytest.mark.parametrize(("delivery", "boundary"), cases(("exactly-once", "committing")))
def test_a_broker_that_is_killed_and_comes_back(kafka, make_stream, caplog, delivery, boundary):
    step = make_stream(delivery, limits=BatchLimits(alerts=BATCH, seconds=0.3), until_end=False)

    def kill() -> None:
        kafka.stop(kill=True)
        threading.Thread(target=kafka.start).start()

    interrupt(step, boundary, kill)
    run_through(step, caplog)
    said = [record.getMessage() for record in caplog.records]
    assert any(text.startswith("waiting for ") for text in said)
    assert any("works again after" in text for text in said)


@pytest.mark.campaign
@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_an_idle_step_outlives_its_broker(kafka, make_stream, delivery):
    step = make_stream(delivery, until_end=False)
    with step.running():
        produce(step.address, step.topics[0], alerts(10))
        step.wait_for(lambda: step.total.out == 10, "the first alerts")
        kafka.restart()
        produce(step.address, step.topics[0], alerts(30)[10:])
        step.wait_for(lambda: step.total.out == 30, "the last alerts", 90)
    check(step, 30)


@pytest.mark.campaign
def test_a_reader_beside_never_sees_an_alert_twice_whatever_happens_to_the_broker(kafka, make_stream):
    """Killed, halted and stopped again and again while a thousand alerts go through."""
    step = make_stream("exactly-once", 3, limits=BatchLimits(alerts=50, seconds=0.3), until_end=False)
    produce(step.address, step.topics[0], alerts(1000, 3))
    with Follower(step.address, step.out) as follower, step.running():
        for number in range(6):
            step.wait_for(lambda number=number: step.total.out >= 150 * number, f"{150 * number} alerts", 120)
            kafka.restart(kill=number % 2 == 0)
        step.wait_for(lambda: step.total.out >= 1000, "all alerts", 120)
        follower.wait_for(1000)
    assert sorted(candids(follower.messages)) == list(range(1000))
