"""Where a group begins, and what was deleted before it was read."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.services.topics import committed, create_topic, delete_records_before, produce, read_all, settings
from tests.shared import full_size
from tests.step.streams import Gate, Stream, alerts, candids, wait_until
from xmatch_hats.step.kafka.source import KafkaSource
from xmatch_hats.step.loop import BatchLimits


@pytest.fixture(params=[full_size("at-least-once"), "exactly-once"])
def delivery(request: pytest.FixtureRequest) -> str:
    """The one whose marks lie between messages in every run, and both in the campaign."""
    return request.param


def again(step: Stream) -> Stream:
    return Stream(step.address, step.topics, step.out, step.group, step.delivery)


def test_messages_deleted_between_two_runs_are_counted_exactly(stream):
    step = stream(partitions=2)
    sent = [replace(message, partition=i % 2) for i, message in enumerate(alerts(100))]
    produce(step.address, step.topics[0], sent[:40])
    assert step.run().gaps == []
    produce(step.address, step.topics[0], sent[40:])
    # One partition loses 13 of those that nobody has read; the other one only what was read.
    delete_records_before(step.address, step.topics[0], 0, 33)
    delete_records_before(step.address, step.topics[0], 1, 15)
    second = again(step).run()
    assert second.gaps == [(f"{step.topics[0]}[0]", 13)]
    assert (second.total.received, second.total.out) == (47, 47)
    expected = {i for i in range(100) if not (i % 2 == 0 and 20 <= i // 2 < 33)}
    assert set(candids(read_all(step.address, step.out))) == expected


def test_messages_deleted_while_the_step_was_busy_are_counted_too(make_stream, monkeypatch):
    """Its source is paused meanwhile, so that nothing has been fetched ahead."""
    gate, paused = Gate(is_open=False), threading.Event()
    pause = KafkaSource.pause
    monkeypatch.setattr(KafkaSource, "pause", lambda source: (pause(source), paused.set()))
    step = make_stream("at-least-once", until_end=False, matcher=gate, limits=BatchLimits(alerts=5, seconds=0.3))
    with step.running():
        produce(step.address, step.topics[0], alerts(10))
        step.wait_for(paused.is_set, "its source is paused")
        produce(step.address, step.topics[0], alerts(30)[10:])
        delete_records_before(step.address, step.topics[0], 0, 24)
        gate.open.set()
        step.wait_for(lambda: step.total.out == 16, "the last alerts")
    assert candids(read_all(step.address, step.out)) == [*range(10), *range(24, 30)]
    assert step.gaps == [(f"{step.topics[0]}[0]", 14)]


def test_a_new_group_begins_at_the_earliest_and_misses_nothing_that_it_never_had(stream):
    step = stream()
    produce(step.address, step.topics[0], alerts(50))
    delete_records_before(step.address, step.topics[0], 0, 20)
    step.run()
    assert candids(read_all(step.address, step.out)) == list(range(20, 50))
    assert step.gaps == []


def test_marks_of_transactions_in_the_input_are_no_loss(stream):
    """The input comes from a step that uses transactions itself; some of them were aborted."""
    step = stream()
    producer = Producer(settings(step.address, **{"transactional.id": step.topics[0]}))
    producer.init_transactions(30)
    sent = alerts(60)
    for i in range(0, 60, 10):
        producer.begin_transaction()
        for message in sent[i : i + 10]:
            producer.produce(step.topics[0], message.value, message.key)
        producer.flush(30)
        if i in (20, 50):
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    expected = [i for i in range(60) if i // 10 not in (2, 5)]
    step.run()
    assert candids(read_all(step.address, step.out)) == expected
    assert step.gaps == []
    assert again(step).run().total.received == 0
    # Among marks, too, what was deleted is told from what was never there.
    produce(step.address, step.topics[0], alerts(70)[60:])
    assert again(step).run().total.received == 10
    *_, (_, place) = produce(step.address, step.topics[0], alerts(81)[70:])
    delete_records_before(step.address, step.topics[0], 0, place)
    last = again(step).run()
    assert (last.total.received, last.gaps) == (1, [(f"{step.topics[0]}[0]", 10)])


def test_a_topic_made_anew_with_fewer_messages_is_read_from_its_beginning(stream):
    step = stream()
    produce(step.address, step.topics[0], alerts(60))
    step.run()
    admin = AdminClient(settings(step.address))
    admin.delete_topics(list(step.topics))[step.topics[0]].result(timeout=30)
    wait_until(lambda: step.topics[0] not in admin.list_topics(timeout=10).topics, "the topic is gone")
    create_topic(step.address, step.topics[0])
    produce(step.address, step.topics[0], alerts(25))
    second = again(step).run()
    assert (second.total.received, second.gaps) == (25, [])
    assert candids(read_all(step.address, step.out)) == [*range(60), *range(25)]
    assert committed(step.address, step.group, step.topics[0])[0] == 25
