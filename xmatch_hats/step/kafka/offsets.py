"""Where partitions are read from and to, and what was deleted before it was read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from xmatch_hats.errors import BrokerError

_TIMEOUT = 2.0
"""Seconds. Nobody can be told to stop in between."""
_GAP_TIMEOUT = 1.0
Partition = tuple[str, int]


def account_of(topic: str, partition: int) -> str:
    """Name of a partition in counts, logs and metrics."""
    return f"{topic}[{partition}]"


@dataclass(frozen=True)
class Span:
    """A part of the topics by the timestamps of their messages: milliseconds since 1970, UTC."""

    start_ms: int | None = None
    """None is the earliest message."""
    stop_ms: int | None = None
    """The first moment that does not belong to it; None is no end."""
    until_now: bool = False
    """Stop at what is there when a partition is taken up."""

    @property
    def is_open(self) -> bool:
        """Whether messages of it may still come."""
        return not self.until_now and (self.stop_ms is None or self.stop_ms > time.time() * 1000)


class Offsets:
    """What is known of the offsets of a consumer's partitions.

    Parameters
    ----------
    consumer : confluent_kafka.Consumer
    span : Span, optional
    """

    def __init__(self, consumer: Consumer, span: Span | None = None) -> None:
        self._consumer = consumer
        self._span = span
        self._expected: dict[Partition, int] = {}
        self._stops: dict[Partition, int] = {}
        self._gaps: dict[Partition, list[tuple[int, int]]] = {}

    def begin(self, partitions: list[TopicPartition]) -> None:
        """Prepare for partitions that are taken up; with a span, their starting offsets are set in place.

        A group that has been there before goes on where it was, if that is later.

        Raises
        ------
        BrokerError
            The broker does not tell.
        """
        with _telling():
            asked = [TopicPartition(p.topic, p.partition) for p in partitions]
            known = _by_partition(self._consumer.committed(asked, _TIMEOUT))
            committed = {partition: offset for partition, offset in known.items() if offset >= 0}
            if self._span is not None and self._span.start_ms is not None:
                self._set_starts(self._span.start_ms, partitions, committed)
        self._expected |= committed
        self.find_stops([(p.topic, p.partition) for p in partitions])

    def _set_starts(self, time_ms: int, partitions: list[TopicPartition], committed: dict[Partition, int]) -> None:
        starts = self._at_time([(p.topic, p.partition) for p in partitions], time_ms)
        for partition in partitions:
            key = (partition.topic, partition.partition)
            if starts[key] > committed.get(key, -1):
                partition.offset = committed[key] = starts[key]

    def find_stops(self, partitions: Iterable[Partition]) -> None:
        """Ask where the span ends in partitions, as soon as it has ended by the clock.

        Where it ended once it ends still: what a run appends to its own topic does not come to it, though partitions go
        and come back.

        Raises
        ------
        BrokerError
            The broker does not tell.
        """
        new = [partition for partition in partitions if partition not in self._stops]
        if self._span is None or self._span.is_open or not new:
            return
        with _telling():
            if self._span.stop_ms is None:
                self._stops |= {partition: self._watermarks(partition)[1] for partition in new}
            else:
                self._stops |= self._at_time(new, self._span.stop_ms)

    def _at_time(self, partitions: list[Partition], time_ms: int) -> dict[Partition, int]:
        """Offset of the first message that is as late as that; where there is none, the end."""
        asked = [TopicPartition(*partition, time_ms) for partition in partitions]
        found = _by_partition(self._consumer.offsets_for_times(asked, _TIMEOUT))
        return {p: offset if offset >= 0 else self._watermarks(p)[1] for p, offset in found.items()}

    def step(self, partition: Partition, offset: int) -> None:
        """Take note of a message."""
        expected = self._expected.get(partition, offset)
        self._expected[partition] = offset + 1
        if offset > expected:
            self._gaps.setdefault(partition, []).append((expected, offset))

    def deleted(self) -> dict[Partition, int]:
        """Tell how many messages were deleted unread before those that came since the last call.

        Offsets also leave gaps where transactions ended and where topics are compacted; only what lies below the
        partition's first message was deleted. A broker that does not tell which that is will be asked again.
        """
        found: dict[Partition, int] = {}
        for partition, gaps in list(self._gaps.items()):
            try:
                low = self._watermarks(partition, _GAP_TIMEOUT)[0]
            except KafkaException:
                break
            if lost := sum(max(min(low, stop) - start, 0) for start, stop in gaps):
                found[partition] = lost
            del self._gaps[partition]
        return found

    def is_beyond(self, partition: Partition, offset: int, timestamp_ms: int) -> bool:
        """Tell whether a message lies behind the span."""
        if self._span is None:
            return False
        stop = self._stops.get(partition)
        if stop is not None:
            return offset >= stop
        return self._span.stop_ms is not None and timestamp_ms >= self._span.stop_ms

    def is_read(self, partition: Partition) -> bool:
        """Tell whether the next message lies behind the span, as far as is known without it."""
        stop = self._stops.get(partition)
        return stop is not None and self._expected.get(partition, 0) >= stop

    def reach_end(self, partition: Partition, offset: int) -> None:
        """Take note that a partition ends there for now: marks of transactions may lie before it."""
        self._expected[partition] = offset

    def rewind(self, partition: Partition, offset: int) -> None:
        """Expect an offset again."""
        self._expected[partition] = offset

    def forget(self, partition: Partition) -> None:
        """Forget a partition that was given up."""
        self._expected.pop(partition, None)
        self._gaps.pop(partition, None)

    def lag(self, partition: Partition) -> int | None:
        """Messages behind the last one, None where the broker has not told yet."""
        expected = self._expected.get(partition)
        try:
            marks = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        except KafkaException:
            # The client has not come to it yet, or has lost sight of it.
            return None
        if expected is None or not marks or marks[1] < 0:
            return None
        return max(int(marks[1]) - expected, 0)

    def _watermarks(self, partition: Partition, seconds: float = _TIMEOUT) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), seconds)
        return low, high


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise BrokerError(f"does not tell the offsets: {error.args[0].str()}", place="CONSUMER_SERVER") from error


def _by_partition(found: list[TopicPartition]) -> dict[Partition, int]:
    for partition in found:
        if partition.error is not None:
            raise KafkaException(partition.error)
    return {(partition.topic, partition.partition): partition.offset for partition in found}
