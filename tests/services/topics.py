"""Topics as an outsider sees them: made, filled and read by the plain client, not by the code under test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka import Message as ClientMessage
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

LARGEST_BYTES = 10_000_000
"""Of a message that the producer here lets through; the broker of these tests takes 10 MiB."""
COMMITTED, UNCOMMITTED = "read_committed", "read_uncommitted"
NOT_READY = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
)

Answer = TypeVar("Answer")
Headers = Sequence[tuple[str, bytes | None]]


class TopicError(RuntimeError):
    """A topic that could not be made, filled or read as a test asked."""


@dataclass(frozen=True)
class Message:
    """What is produced: only the value must be said."""

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int | None = None
    """Now, if None."""
    partition: int | None = None
    """By the key, if None."""


@dataclass(frozen=True)
class Received:
    """What was read, and where it lay."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int | None

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset."""
        return self.partition, self.offset

    def header(self, name: str) -> str | None:
        """The last header of this name as text, or None."""
        found = [value for key, value in self.headers if key == name]
        return None if not found or found[-1] is None else found[-1].decode()


def settings(address: str | Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Settings of a client: of an address ``host:port``, or of what `KafkaBroker.scram` gives."""
    start = {"bootstrap.servers": address} if isinstance(address, str) else dict(address)
    # A test that stops the broker should not wait for the pauses between attempts to grow.
    return {**start, "log_level": 0, "reconnect.backoff.max.ms": 500, **more}


def create_topic(address: str | Mapping[str, Any], name: str, partitions: int = 1, **config: object) -> str:
    """Make a topic and wait until it can be used; underscores in the names of settings stand for dots.

    Returns
    -------
    str
        Its name.
    """
    admin = AdminClient(settings(address))
    wanted = NewTopic(name, partitions, 1, config={key.replace("_", "."): str(value) for key, value in config.items()})
    admin.create_topics([wanted])[name].result(timeout=30)
    deadline = time.monotonic() + 30
    while len(end_offsets(address, name)) < partitions:
        if time.monotonic() > deadline:
            raise TopicError(f"{name} has been made, and is not known after 30 s")
        time.sleep(0.05)
    return name


def add_partitions(address: str | Mapping[str, Any], topic: str, total: int) -> None:
    """Grow a topic to so many partitions."""
    admin = AdminClient(settings(address))
    admin.create_partitions([NewPartitions(topic, total)])[topic].result(timeout=30)


def partitions_of(address: str | Mapping[str, Any], topic: str) -> list[int]:
    """The partitions of a topic; none where there is no such topic."""
    with _nobody(address, UNCOMMITTED) as consumer:
        return _partitions(consumer, topic)


def _partitions(client: Consumer, topic: str) -> list[int]:
    # All topics are asked for: to ask for this one might make it.
    found = client.list_topics(timeout=30).topics.get(topic)
    return sorted(found.partitions) if found is not None else []


def produce(
    address: str | Mapping[str, Any], topic: str, messages: Iterable[Message | bytes], *, timeout_s: float = 120
) -> list[tuple[int, int]]:
    """Produce messages and see every one delivered.

    Returns
    -------
    list of tuple
        Partition and offset of each message, in the order given.

    Raises
    ------
    TopicError
        Some were not delivered.
    """
    more = {"enable.idempotence": True, "message.max.bytes": LARGEST_BYTES, "linger.ms": 5}
    producer = Producer(settings(address, **more))
    # Without a connection yet, it would wait up to a second for the number that makes it idempotent.
    with contextlib.suppress(KafkaException):
        producer.list_topics(timeout=min(timeout_s, 5))
    places: list[tuple[int, int] | None] = []
    errors: list[KafkaError] = []

    def delivered_at(number: int) -> Any:
        def report(error: KafkaError | None, message: ClientMessage) -> None:
            if error is not None:
                errors.append(error)
            else:
                places[number] = (message.partition(), message.offset())

        return report

    for number, given in enumerate(messages):
        places.append(None)
        _hand_over(producer, topic, given if isinstance(given, Message) else Message(given), delivered_at(number))
    producer.flush(timeout_s)
    done = [place for place in places if place is not None]
    if len(done) != len(places):
        raise TopicError(
            f"{len(places) - len(done)} of {len(places)} messages were not delivered to {topic}: {errors[:3]}"
        )
    return done


def _hand_over(producer: Producer, topic: str, message: Message, report: Any) -> None:
    where: dict[str, Any] = {}
    if message.partition is not None:
        where["partition"] = message.partition
    if message.timestamp_ms is not None:
        where["timestamp"] = message.timestamp_ms
    while True:
        try:
            producer.produce(
                topic, message.value, message.key, headers=list(message.headers), on_delivery=report, **where
            )
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def read_all(
    address: str | Mapping[str, Any],
    topic: str,
    *,
    isolation: str = COMMITTED,
    timeout_s: float = 60,
    patience_s: float = 5,
) -> list[Received]:
    """Read a topic from its beginning to its present end, without a group.

    With `COMMITTED` the end is the first message of a transaction that is still open. A producer hears that its
    transaction is committed before the broker has marked its messages so: for `patience_s` seconds an open transaction
    is given time to end.

    Returns
    -------
    list of Received
        Partition by partition, each in order of its offsets.

    Raises
    ------
    TopicError
        The end was not reached in time.
    """
    if isolation == COMMITTED:
        ends = _committed_ends(address, topic, patience_s)
    else:
        ends = end_offsets(address, topic, isolation=isolation)
    found: list[Received] = []
    with Reader(address, topic, isolation) as reader:
        deadline = time.monotonic() + timeout_s
        while not reader.has_reached(ends):
            if time.monotonic() > deadline:
                raise TopicError(f"{topic} was read to {reader.positions} in {timeout_s:g} s, and ends at {ends}")
            found += reader.read()
    return sorted((message for message in found if message.offset < ends[message.partition]), key=lambda m: m.place)


def _committed_ends(address: str | Mapping[str, Any], topic: str, patience_s: float) -> dict[int, int]:
    """Ends with `COMMITTED`, once all transactions have ended that are in the topic now, or after so many seconds."""
    deadline = time.monotonic() + patience_s
    last = end_offsets(address, topic, isolation=UNCOMMITTED)
    while True:
        ends = end_offsets(address, topic, isolation=COMMITTED)
        if time.monotonic() > deadline or all(ends[partition] >= end for partition, end in last.items()):
            return ends
        time.sleep(0.05)


class Reader:
    """Reads all partitions of a topic from the beginning, as a group of nobody."""

    def __init__(self, address: str | Mapping[str, Any], topic: str, isolation: str) -> None:
        self.positions = start_offsets(address, topic)
        more = {
            "group.id": "nobody",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": LARGEST_BYTES,
            "fetch.wait.max.ms": 100,
        }
        self._consumer = Consumer(settings(address, **more))
        # Numbers, since to ask for "the beginning" costs half a second.
        self._consumer.assign([TopicPartition(topic, partition, start) for partition, start in self.positions.items()])

    def read(self, wait_s: float = 0.1) -> list[Received]:
        """Read what is there, or what comes within so many seconds."""
        found = []
        for message in self._consumer.consume(1000, wait_s):
            error = message.error()
            if error is None:
                found.append(_received(message))
                self.positions[message.partition()] = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # Only this tells that the marks which end transactions, and what was aborted, have been passed.
                self.positions[message.partition()] = message.offset()
            elif error.fatal():
                raise KafkaException(error)
        return found

    def has_reached(self, ends: Mapping[int, int]) -> bool:
        return all(self.positions.get(partition, 0) >= end for partition, end in ends.items())

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _received(message: ClientMessage) -> Received:
    kind, time_ms = message.timestamp()
    return Received(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=tuple(message.headers() or ()),
        timestamp_ms=None if kind == TIMESTAMP_NOT_AVAILABLE else time_ms,
    )


def end_offsets(address: str | Mapping[str, Any], topic: str, *, isolation: str = UNCOMMITTED) -> dict[int, int]:
    """By partition, the offset behind the last message; with `COMMITTED`, no further than an open transaction."""
    return {partition: end for partition, (_, end) in _watermarks(address, topic, isolation).items()}


def start_offsets(address: str | Mapping[str, Any], topic: str) -> dict[int, int]:
    """By partition, the offset of the first message that is kept."""
    return {partition: start for partition, (start, _) in _watermarks(address, topic, UNCOMMITTED).items()}


def _watermarks(address: str | Mapping[str, Any], topic: str, isolation: str) -> dict[int, tuple[int, int]]:
    # Not the AdminClient, whose `list_offsets` gives up where this asks again; of a broker that has just come back a
    # client keeps what it was told first, so that each look has a client of its own.
    return _ask(partial(_look, address, topic, isolation))


def _look(address: str | Mapping[str, Any], topic: str, isolation: str) -> dict[int, tuple[int, int]]:
    with _nobody(address, isolation) as consumer:
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            for partition in _partitions(consumer, topic)
        }


@contextlib.contextmanager
def _nobody(address: str | Mapping[str, Any], isolation: str, group: str = "nobody") -> Iterator[Consumer]:
    """A consumer that asks about topics and joins no group."""
    consumer = Consumer(settings(address, **{"group.id": group, "isolation.level": isolation}))
    try:
        yield consumer
    finally:
        consumer.close()


def committed(address: str | Mapping[str, Any], group: str, topic: str) -> dict[int, int]:
    """By partition, the offset that a group has committed; partitions without are missing.

    A transaction that is still open, with offsets in it, is not waited for.
    """
    # Not the AdminClient, which crashes at times where the answer is an error.
    with _nobody(address, UNCOMMITTED, group) as consumer:
        places = [TopicPartition(topic, partition) for partition in _partitions(consumer, topic)]
        found = _ask(partial(consumer.committed, places, timeout=10)) if places else []
    return {place.partition: place.offset for place in found if place.offset >= 0}


def _ask(ask: Callable[[], Answer], timeout_s: float = 30) -> Answer:
    """Ask again while a broker, or a topic, that has just come is not ready."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in NOT_READY or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def delete_records_before(address: str | Mapping[str, Any], topic: str, partition: int, offset: int) -> None:
    """Delete a partition's messages before an offset, as retention does."""
    place = TopicPartition(topic, partition, offset)
    admin = AdminClient(settings(address))
    for answer in admin.delete_records([place]).values():
        answer.result(timeout=30)
