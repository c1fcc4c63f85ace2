"""Replays: a part of the topics by time, and dead letters as they are now."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace

import pytest

from tests.services.topics import Message, committed, create_topic, produce, read_all, settings
from tests.shared import full_size
from tests.step.streams import Stream, alerts, candids, wait_until
from xmatch_hats.step.flight import Chunk, Flight
from xmatch_hats.step.flight import Message as GivenMessage
from xmatch_hats.step.kafka.offsets import Span
from xmatch_hats.step.kafka.source import KafkaSource
from xmatch_hats.step.kafka.topics import TopicPlan
from xmatch_hats.step.loop import BatchLimits
from xmatch_hats.step.waiting import Stop, Waiter

T0 = 1_700_000_000_000
"""Of the first alert, milliseconds since 1970; each comes a second after the last one."""


@pytest.fixture(params=["at-least-once", full_size("exactly-once")])
def delivery(request: pytest.FixtureRequest) -> str:
    """One in every run, and both in the campaign: what is read does not depend on it."""
    return request.param


def timed(count: int, partitions: int = 1) -> list[Message]:
    return [
        replace(message, timestamp_ms=T0 + 1000 * i, partition=i % partitions)
        for i, message in enumerate(alerts(count))
    ]


def replay(step: Stream, span: Span, **changes) -> Stream:
    return Stream(
        step.address,
        step.topics,
        step.out,
        f"{step.group}.replay",
        step.delivery,
        span=span,
        until_end=False,
        **changes,
    )


def test_a_span_has_its_first_moment_and_not_its_last(stream):
    step = stream(partitions=3)
    produce(step.address, step.topics[0], timed(90, 3))
    first = replay(step, Span(T0 + 20_000, T0 + 50_000)).run()
    assert sorted(candids(read_all(step.address, step.out))) == list(range(20, 50))
    assert (first.total.received, first.gaps) == (30, [])
    assert replay(step, Span(T0 + 20_000, T0 + 50_000)).run().total.received == 0
    assert committed(step.address, step.group, step.topics[0]) == {}


def test_a_span_may_lack_either_end_or_hold_nothing(make_stream):
    step = make_stream("at-least-once", partitions=2)
    produce(step.address, step.topics[0], timed(30, 2))
    for number, (span, expected) in enumerate(
        [
            (Span(None, T0 + 10_000), range(10)),
            (Span(T0 + 25_500, None, until_now=True), range(26, 30)),
            (Span(T0 + 90_000, T0 + 99_000), range(0)),
            (Span(None, T0), range(0)),
        ]
    ):
        run = replay(step, span)
        run.group = f"{run.group}.{number}"
        run.run()
        assert sorted(int(candid) for report in run.reports for candid in report.candids) == list(expected)


def test_a_replay_that_was_cut_short_goes_on_where_it_was(stream):
    step = stream()
    produce(step.address, step.topics[0], timed(100))
    span = Span(T0 + 10_000, T0 + 90_000)
    first = replay(step, span, limits=BatchLimits(alerts=20, seconds=5))
    first.watch = lambda boundary, number: first.stop.requested.set() if boundary == "matched" and number == 2 else None
    first.run()
    assert 0 < first.total.out < 80
    second = replay(step, span).run()
    assert first.total.out + second.total.out == 80
    assert candids(read_all(step.address, step.out)) == list(range(10, 90))


def test_a_span_that_ends_in_the_future_waits_for_its_end(stream):
    """One partition gets a message behind the end, one only messages before it, and one none at all."""
    step = stream(partitions=3)
    now = time.time() * 1000
    span = Span(None, round(now) + 2_500)
    early = [replace(message, partition=i % 2) for i, message in enumerate(alerts(8))]
    run = replay(step, span)
    with run.running():
        produce(step.address, step.topics[0], early[:6])
        run.wait_for(lambda: run.total.out == 6, "the first alerts")
        produce(step.address, step.topics[0], early[6:])
        produce(step.address, step.topics[0], [replace(early[0], timestamp_ms=round(now) + 60_000, partition=0)])
        run.wait_for(lambda: run.is_done, "its end")
    assert time.time() * 1000 >= now + 2_500
    assert run.total.out == 8
    assert sorted(candids(read_all(step.address, step.out))) == list(range(8))


def test_a_run_over_dead_letters_does_not_read_what_it_appends(stream):
    step = stream()
    produce(step.address, step.topics[0], [Message(b"broken %d" % i) for i in range(30)])
    step.run()
    for attempts, total in (("2", 60), ("3", 120)):
        letters = Stream(
            step.address, (step.dead,), step.out, f"{step.group}.dead", step.delivery, dead_topic=step.dead,
            span=Span(until_now=True), until_end=False, limits=BatchLimits(alerts=7, seconds=0.3),
        )  # fmt: skip
        letters.run()
        assert letters.total.received == letters.total.dead == 30
        found = read_all(step.address, step.dead)
        assert [letter.header("xmatch.dead.attempts") for letter in found[-30:]] == [attempts] * 30
        assert len(found) == total - 30 * (attempts == "3")
    assert committed(step.address, f"{step.group}.dead", step.dead)[0] >= 60


def test_a_batch_that_was_given_up_behind_the_end_of_a_span_is_read_again(kafka_address, topic_name):
    """Its partitions were done with, and paused."""
    topic = create_topic(kafka_address, topic_name(), 2)
    produce(kafka_address, topic, timed(40, 2))
    conf = {"group.id": topic_name("group"), "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    span = Span(None, T0 + 30_000)
    source = KafkaSource(settings(kafka_address, **conf), TopicPlan((topic,)), Waiter(Stop()), span=span)
    source.open(lambda accounts, lost: None)

    def read() -> list[GivenMessage]:
        found: list[GivenMessage] = []
        wait_until(lambda: bool(found.extend(source.poll(100, 0.1))) or source.finished, "the end of the span")
        return found

    try:
        messages = read()
        assert sorted(message.origin.timestamp_ms for message in messages) == [T0 + 1000 * i for i in range(30)]
        flight = Flight(1, [Chunk(messages, Future())])
        flight.drop({f"{topic}[1]"})
        source.rewind(flight)
        assert not source.finished
        assert [message.number for message in read()] == list(range(15))
        assert source.settle(flight, at_once=True)
    finally:
        source.close(10)
    assert committed(kafka_address, conf["group.id"], topic) == {0: 15}
