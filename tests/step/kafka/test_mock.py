"""At least once on librdkafka's mock cluster: anywhere, without Java, and with a broker that refuses on order."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from tests.alerts.makers import unpack
from tests.services.topics import Message, committed, produce, read_all
from tests.step.kafka.faults import JOIN_GROUP, OFFSET_COMMIT, OFFSET_FETCH, PRODUCE, FaultyKafka, fail_for_good
from tests.step.streams import STATUSES, Stream, alerts, candids
from xmatch_hats.step.loop import BatchLimits

PARTITIONS = 4
"""What every topic of the mock cluster has."""


@pytest.fixture
def faulty_kafka():
    with FaultyKafka() as cluster:
        yield cluster


@pytest.fixture
def step(faulty_kafka, topic_name) -> Stream:
    """With 100 alerts to do, in one partition."""
    step = Stream(faulty_kafka.address, (topic_name("in"),), topic_name("out"), topic_name("group"))
    step.limits = BatchLimits(alerts=20, seconds=0.3)
    produce(step.address, step.topics[0], alerts(100))
    return step


def check(step: Stream, *, repeats: int = 0) -> None:
    """All came out, in order; the output is keyed, so one object's alerts share a partition."""
    received = read_all(step.address, step.out)
    seen = candids(received)
    assert sorted(set(seen)) == list(range(100))
    assert len(seen) <= 100 + repeats
    for name in {message.key for message in received}:
        numbers = list(dict.fromkeys(candids(message for message in received if message.key == name)))
        assert numbers == sorted(numbers)
    assert sum(committed(step.address, step.group, step.topics[0]).values()) == 100
    assert step.total.received == 100


def test_a_stream_without_java(mock_kafka, topic_name):
    step = Stream(mock_kafka, (topic_name("in"),), topic_name("out"), topic_name("group"))
    sent = alerts(100, PARTITIONS)
    bad = [Message(b"broken", b"key", [("trace", b"1")], partition=1), Message(b"", b"key", partition=2)]
    produce(step.address, step.topics[0], [*sent[:50], *bad, *sent[50:]])
    step.run()
    received = read_all(step.address, step.out)
    assert sorted(candids(received)) == list(range(100))
    assert all(
        message.header("xmatch.status") == STATUSES[unpack(message.value)[0]["candid"] % 4] for message in received
    )
    letters = sorted(read_all(step.address, step.dead), key=lambda letter: letter.header("xmatch.source.partition"))
    assert [(letter.value, letter.key, letter.headers[:-8]) for letter in letters] == [
        (message.value, message.key, tuple(message.headers)) for message in bad
    ]
    assert (step.total.received, step.total.out, step.total.dead) == (102, 100, 2)
    assert sum(committed(step.address, step.group, step.topics[0]).values()) == 102


@pytest.mark.parametrize(
    "errors",
    [
        (KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_LEADER_FOR_PARTITION),
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, KafkaError.REQUEST_TIMED_OUT),
        (0, KafkaError.TOPIC_AUTHORIZATION_FAILED, 0, KafkaError.TOPIC_AUTHORIZATION_FAILED),
        (KafkaError.INVALID_REQUIRED_ACKS,),
    ],
    ids=lambda errors: "-".join(KafkaError(error).name() for error in errors if error),
)
def test_what_a_broker_refuses_is_produced_again(step, faulty_kafka, errors):
    refused = []

    def refuse(name: str, number: int) -> None:
        if (name, number) == ("matched", 2) and not refused:
            refused.append(number)
            faulty_kafka.refuse(PRODUCE, *errors)

    step.watch = refuse
    step.run()
    assert refused == [2]
    check(step)


def test_a_message_that_the_broker_calls_too_large_is_a_dead_letter(step, faulty_kafka):
    """Refused with those beside it, it is tried alone; refused alone, it is one."""
    step.producer = {"linger.ms": 300}
    sent = [message for message in alerts(7) if message.key == b"ZTF3"]
    step.topics = (f"{step.topics[0]}-one",)
    produce(step.address, step.topics[0], sent)
    step.watch = lambda name, number: (
        faulty_kafka.refuse(PRODUCE, *[KafkaError.MSG_SIZE_TOO_LARGE] * 2) if name == "matched" else None
    )
    step.run()
    (letter,) = read_all(step.address, step.dead)
    assert letter.header("xmatch.error.class") == "TooLargeError"
    assert letter.value == sent[0].value
    assert (step.total.out, step.total.dead) == (0, 1)


def test_a_producer_that_has_failed_for_good_is_replaced(step):
    failed = []

    def fail(name: str, number: int) -> None:
        if (name, number) == ("matched", 2) and not failed:
            failed.append(step.sink._producer)
            fail_for_good(step.sink._producer, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "made up")

    step.watch = fail
    step.run()
    assert step.sink._producer is not failed[0]
    assert "output" in [what for what, _, _ in step.waits]
    check(step)


def test_a_sequence_that_is_lost_in_the_middle_of_a_batch_does_not_end_the_step(step, faulty_kafka):
    """The client takes that for fatal while its callbacks run."""
    failed = []

    def fail(name: str, number: int) -> None:
        if (name, number) == ("matched", 2) and not failed:
            failed.append(number)
            faulty_kafka.refuse(PRODUCE, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)

    step.watch = fail
    step.run()
    check(step, repeats=20)


@pytest.mark.parametrize(
    "error",
    [
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
    ],
    ids=lambda error: KafkaError(error).name(),
)
def test_offsets_that_are_refused_are_committed_again_and_no_batch_goes_before(step, faulty_kafka, monkeypatch, error):
    monkeypatch.setattr("xmatch_hats.step.kafka.source._COMMIT_PAUSE", 0.05)
    seen, refused = [], []

    def refuse(name: str, number: int) -> None:
        seen.append((name, number))
        if (name, number) == ("committing", 2):
            refused.append(number)
            faulty_kafka.refuse(OFFSET_COMMIT, *[error] * 3)

    step.watch = refuse
    step.run()
    assert refused == [2]
    assert [pair for pair in seen if pair[0] in ("consumed", "committed")] == [
        (name, number) for number in range(1, 6) for name in ("consumed", "committed")
    ]
    check(step)


def test_offsets_that_cannot_be_had_when_partitions_come_are_waited_for(step, faulty_kafka):
    faulty_kafka.refuse(OFFSET_FETCH, *[KafkaError.GROUP_AUTHORIZATION_FAILED] * 2)
    step.run()
    assert "source" in [what for what, _, _ in step.waits]
    check(step)


def test_a_group_that_cannot_be_joined_at_once_is_joined_later(step, faulty_kafka):
    faulty_kafka.refuse(JOIN_GROUP, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
    step.run()
    check(step)
