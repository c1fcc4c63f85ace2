"""Being told to stop: the batch on its way is finished, or given up in time, and the group is left."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.services.topics import committed, produce, read_all
from tests.shared import full_size
from tests.step.streams import Gate, Stream, alerts, candids
from xmatch_hats.step.loop import BatchLimits

LIMITS = BatchLimits(alerts=20, seconds=0.3, stop_seconds=0.5)


def again(step: Stream, **changes) -> Stream:
    return Stream(step.address, step.topics, step.out, step.group, step.delivery, **changes)


def offset(step: Stream) -> int:
    return committed(step.address, step.group, step.topics[0]).get(0, 0)


@pytest.mark.parametrize("boundary", ["consumed", "committing"])
def test_the_batch_on_its_way_is_finished_and_committed(stream, boundary):
    step = stream(limits=BatchLimits(alerts=20, seconds=0.3, stop_seconds=20))
    step.watch = lambda name, number: step.stop.requested.set() if (name, number) == (boundary, 2) else None
    produce(step.address, step.topics[0], alerts(100))
    step.run()
    assert (step.total.out, len(step.reports)) == (40, 2)
    # Offsets of a transaction are there when its last mark is, a moment after the answer.
    second = again(step).run()
    assert second.total.received == 60
    assert candids(read_all(step.address, step.out)) == list(range(100))
    assert offset(step) >= 100


def test_a_batch_that_hangs_is_given_up_uncommitted_and_done_by_the_next_run(stream):
    gate = Gate()
    step = stream(limits=LIMITS, matcher=gate, until_end=False, consumer={"session.timeout.ms": 60_000})
    step.watch = lambda name, number: gate.open.clear() if (name, number) == ("consumed", 2) else None
    produce(step.address, step.topics[0], alerts(100))
    try:
        with step.running():
            step.wait_for(lambda: gate.begun == 2, "the second batch hangs")
        assert step.stop.abandoned.is_set()
        assert (len(step.reports), offset(step)) == (1, 20)
        # It has left the group in spite of it, or the partition would be its own for a minute.
        second = again(step).run()
    finally:
        gate.open.set()
    assert second.total.received == 80
    assert candids(read_all(step.address, step.out)) == list(range(100))


def test_what_waits_for_its_turn_is_left_to_the_next_run(stream):
    step = stream(limits=BatchLimits(alerts=50, seconds=60), until_end=False)
    produce(step.address, step.topics[0], alerts(30))
    with step.running():
        step.wait_for(lambda: step.source is not None and step.source.given == 30, "all is gathered")
    assert step.reports == []
    assert offset(step) == 0
    assert again(step).run().total.out == 30


def test_a_step_without_any_topic_ends(stream, topic_name):
    step = stream(until_end=False)
    step.topics = (topic_name("absent"),)
    with step.running():
        step.wait_for(lambda: step.source is not None, "it is there")
    assert step.reports == []


@pytest.mark.parametrize("delivery", [full_size("at-least-once"), "exactly-once"])
def test_a_step_is_stopped_while_its_broker_does_not_answer(kafka, stream):
    """In the middle of a batch: it cannot be delivered, nor its offsets be committed, nor the group be left."""
    step = stream(limits=LIMITS, until_end=False, consumer={"session.timeout.ms": 3000})
    step.watch = lambda name, number: kafka.pause() if (name, number) == ("matched", 2) else None
    produce(step.address, step.topics[0], alerts(100))
    with step.running():
        step.wait_for(lambda: len(step.reports) == 1 and not step.reports[1:], "the first batch")
    assert step.is_done
    kafka.resume()
    second = again(step, until_end=False)
    with second.running():
        second.wait_for(lambda: set(candids(read_all(step.address, step.out))) == set(range(100)), "all alerts")
    counts = Counter(candids(read_all(step.address, step.out)))
    repeated = [i for i, count in counts.items() if count > 1]
    assert not repeated or (step.delivery == "at-least-once" and len(repeated) <= 20)


def test_a_step_is_stopped_before_its_broker_ever_answered(kafka, make_stream):
    step = make_stream("exactly-once", until_end=False)
    kafka.pause()
    with step.running():
        step.wait_for(lambda: step.waits, "it waits")
        assert step.waits[0][0] == "producer"
        assert "does not answer" in step.waits[0][1]
    assert step.is_done
    kafka.resume()
