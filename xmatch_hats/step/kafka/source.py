"""Messages from Kafka: a member of a consumer group that commits only what has been delivered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from xmatch_hats.errors import BrokerError, PacketError, UsageError
from xmatch_hats.step.flight import Flight, Message
from xmatch_hats.step.kafka.connection import Connection, serve
from xmatch_hats.step.kafka.membership import Membership
from xmatch_hats.step.kafka.messages import LENGTH, KafkaOrigin
from xmatch_hats.step.kafka.offsets import Offsets, Partition, Span, account_of
from xmatch_hats.step.kafka.topics import Subscription, TopicPlan
from xmatch_hats.step.waiting import AbandonedError, Waiter

logger = logging.getLogger(__name__)

_RENEW_SECONDS = 5.0
_MAX_POLL_MS = 300_000
"""librdkafka's own default of the time after which a member that does not poll is thrown out."""
_FETCH_WAIT_MS = 500
"""Its default of how long a broker holds a fetch that it has no messages for."""
_COMMIT_PAUSE = 1.0
_PATIENCE = 30.0
"""Seconds after which a commit that nobody answers is sent anew."""
Release = Callable[[set[str], bool], None]


@dataclass
class SourceEvents:
    """What a source tells of itself; each may be replaced."""

    assigned: Callable[[set[str]], None] = lambda _: None
    """The partitions that it has now."""
    gap: Callable[[str, int], None] = lambda _partition, _count: None
    """Messages of a partition that were deleted before they were read."""
    rebalanced: Callable[[], None] = lambda: None
    joined: Callable[[], None] = lambda: None
    """The group has given this member its partitions, if any."""
    thrown_out: Callable[[], None] = lambda: None
    """The group has gone on without this member."""


class KafkaSource:
    """Reads topics as a member of a group.

    Parameters
    ----------
    conf : dict
        Of librdkafka, with the group.
    plan : TopicPlan
    waiter : Waiter
        Waits for the broker where partitions are taken up.
    span : Span, optional
        Part of the topics to read, by time.
    until_end : bool, optional
        Whether to finish when every partition has been read to its end.
    events : SourceEvents, optional
    connection : Connection, optional
        Told what librdkafka says of the brokers.
    commits : bool, optional
        Whether this commits; in transactions the sink does.
    """

    def __init__(
        self,
        conf: dict[str, Any],
        plan: TopicPlan,
        waiter: Waiter,
        *,
        span: Span | None = None,
        until_end: bool = False,
        events: SourceEvents | None = None,
        connection: Connection | None = None,
        commits: bool = True,
    ) -> None:
        self.connection = connection or Connection("source")
        self._events = events or SourceEvents()
        self._consumer = Consumer(conf | {"error_cb": self.connection.on_error, "on_commit": self._on_commit})
        self.group = Membership(conf)
        self._subscription = Subscription(plan, self._subscribe)
        self._offsets = Offsets(self._consumer, span)
        self._span = span
        self._until_end = until_end
        self._waiter = waiter
        self.commits = commits
        self._is_incremental = (
            "cooperative" in conf.get("partition.assignment.strategy", "") or conf.get("group.protocol") == "consumer"
        )
        # Half of it: the group's clock may have begun to run before this member hears of a rebalance.
        self.patience = int(conf.get("max.poll.interval.ms", _MAX_POLL_MS)) / 2000
        # A question waits behind the fetch that the broker holds until there are messages.
        self._answer_seconds = int(conf.get("fetch.wait.max.ms", _FETCH_WAIT_MS)) / 1000 + 0.3
        self._release: Release = lambda _accounts, _lost: None
        self._assigned: dict[Partition, None] = {}
        self._joined = False
        self._paused = False
        self._kept: list[Message] = []
        """Came when no more were asked for."""
        self._at_end: set[Partition] = set()
        self._beyond: set[Partition] = set()
        self._renewed = 0.0
        self._commit_sent: float | None = None
        self._commit_result: KafkaError | bool | None = None
        self._commit_offsets: dict[Partition, int] = {}
        self._commit_again = 0.0

    def open(self, release: Release) -> None:
        """Subscribe; partitions come with later polls."""
        self._release = release
        self._subscription.renew()

    @property
    def assigned(self) -> set[str]:
        """The partitions that this member has."""
        return {account_of(*partition) for partition in self._assigned}

    @property
    def finished(self) -> bool:
        """Whether every partition of this member has been read to where it is to be read."""
        if not self._joined or self._kept or not (self._until_end or self._span):
            return False
        return all(
            p in self._beyond or self._offsets.is_read(p) or (self._until_end and p in self._at_end)
            for p in self._assigned
        )

    def poll(self, limit: int, seconds: float) -> list[Message]:
        """Give messages, in the order of their partitions."""
        now = time.monotonic()
        if now - self._renewed >= _RENEW_SECONDS:
            self._renewed = now
            self._subscription.renew()
        self.connection.probe(self._consumer, self._answer_seconds)
        try:
            # Commits are confirmed, and partitions come and go, in the middle of messages.
            received = serve(lambda: self._consumer.consume(max(limit - len(self._kept), 1), seconds))
            self._waiter.until_done("source", lambda: self._offsets.find_stops(self._assigned), until_asked=True)
        except KafkaException as error:
            raise BrokerError(f"cannot be read: {error.args[0].str()}", place="CONSUMER_SERVER") from error
        except AbandonedError:
            # The run is asked to end while partitions are taken up: they are as good as not taken.
            return []
        if not self.commits:
            self.group.note(self._consumer)
        self._kept += [message for raw in received if (message := self._take(raw)) is not None]
        self._tell_gaps()
        given, self._kept = self._kept[:limit], self._kept[limit:]
        return given

    def _take(self, raw: KafkaMessage) -> Message | None:
        error = raw.error()
        if error is not None:
            self._hear(raw, error)
            return None
        partition = (raw.topic(), raw.partition())
        if partition not in self._assigned:
            return None
        offset = raw.offset()
        self._offsets.step(partition, offset)
        if self._offsets.is_beyond(partition, offset, raw.timestamp()[1]):
            self._finish(partition)
            return None
        self._at_end.discard(partition)
        return _message(raw)

    def _tell_gaps(self) -> None:
        for partition, lost in self._offsets.deleted().items():
            logger.warning("%s: %d messages were deleted before they were read", account_of(*partition), lost)
            self._events.gap(account_of(*partition), lost)

    def _hear(self, raw: KafkaMessage, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            partition = (raw.topic(), raw.partition())
            if partition in self._assigned:
                self._at_end.add(partition)
                self._offsets.reach_end(partition, raw.offset())
            return
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise BrokerError(f"the consumer cannot go on: {error.str()}", place="CONSUMER_SERVER")
        self.connection.on_error(error)

    def _finish(self, partition: Partition) -> None:
        if partition not in self._beyond:
            self._beyond.add(partition)
            self._consumer.pause([TopicPartition(*partition)])

    def pause(self) -> None:
        """Give no more messages; what has been fetched is fetched again later."""
        self._paused = True
        self._consumer.pause([TopicPartition(*partition) for partition in self._assigned])

    def resume(self) -> None:
        """Go on, with those partitions that are not finished."""
        self._paused = False
        self._consumer.resume([TopicPartition(*p) for p in self._assigned if p not in self._beyond])

    # Commits are sent without waiting and confirmed by a callback: a broker that is away must not stop the loop.

    def settle(self, flight: Flight, *, at_once: bool = False) -> bool:
        """Commit what follows a batch, for the partitions that are still here."""
        offsets = self._ends(flight) if self.commits else []
        if not offsets:
            self._commit_sent = self._commit_result = None
            return True
        if at_once:
            return self._commit_now(offsets)
        now = time.monotonic()
        if self._commit_sent is None or now - self._commit_sent > _PATIENCE:
            if now >= self._commit_again:
                self._send_commit(offsets, now)
            return False
        if self._commit_result is None:
            return False
        result, self._commit_sent, self._commit_result = self._commit_result, None, None
        if result is True:
            return True
        self._commit_again = now + _COMMIT_PAUSE
        logger.warning("waiting for source: offsets cannot be committed: %s", result)
        return False

    def _ends(self, flight: Flight) -> list[TopicPartition]:
        ends = flight.ends()
        places = {account_of(*partition): partition for partition in self._assigned}
        return [TopicPartition(*places[name], end + 1) for name, end in ends.items() if name in places]

    def _send_commit(self, offsets: list[TopicPartition], now: float) -> None:
        self._commit_sent, self._commit_result = now, None
        self._commit_offsets = _offsets_of(offsets)
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._commit_result = error.args[0]

    def _commit_now(self, offsets: list[TopicPartition]) -> bool:
        self._commit_sent = self._commit_result = None
        try:
            committed = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            logger.warning("offsets cannot be committed before partitions are given up: %s", error.args[0].str())
            return False
        return all(partition.error is None for partition in committed or ())

    def _on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        if _offsets_of(partitions) != self._commit_offsets:
            # Of an earlier batch: nobody waits for it any more.
            return
        failed = error or next((partition.error for partition in partitions if partition.error), None)
        self._commit_result = failed if failed is not None else True

    def rewind(self, flight: Flight) -> None:
        """Read a batch's messages again, of those partitions that were here all the time."""
        starts = flight.starts()
        for partition in self._assigned:
            start = starts.get(account_of(*partition))
            if start is not None:
                self._offsets.rewind(partition, start)
                self._forget_kept({account_of(*partition)})
                self._at_end.discard(partition)
                self._consumer.seek(TopicPartition(*partition, start))
                if partition in self._beyond:
                    self._beyond.discard(partition)
                    self._consumer.resume([TopicPartition(*partition)])

    def lag(self) -> dict[str, int]:
        """Messages behind the last ones given, as far as the broker has told."""
        lags = {account_of(*partition): self._offsets.lag(partition) for partition in self._assigned}
        return {account: lag for account, lag in lags.items() if lag is not None}

    def close(self, seconds: float) -> None:
        """Leave the group; a broker that does not answer is not waited for longer than that."""
        closing = Thread(target=self._consumer.close, name="closing", daemon=True)
        closing.start()
        closing.join(seconds)

    def _subscribe(self, names: Sequence[str]) -> None:
        logger.info("reading topics %s", ", ".join(names))
        try:
            self._consumer.subscribe(
                list(names), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        except KafkaException as error:
            raise UsageError(f"cannot be subscribed to: {error.args[0].str()}", place=", ".join(names)) from error

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = True
        self._events.joined()
        try:
            self._waiter.until_done("source", lambda: self._offsets.begin(partitions), until_asked=True)
        except AbandonedError:
            # The run is told to end: what it takes up now would be given up at once.
            return
        (consumer.incremental_assign if self._is_incremental else consumer.assign)(partitions)
        # A partition that was here before comes back as it went: paused, if it was.
        (consumer.pause if self._paused else consumer.resume)(partitions)
        self._assigned |= dict.fromkeys((p.topic, p.partition) for p in partitions)
        self._tell(f"got {len(partitions)} partitions")

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, lost=False)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, lost=True)

    def _give_up(self, partitions: list[TopicPartition], *, lost: bool) -> None:
        gone = [(p.topic, p.partition) for p in partitions]
        accounts = {account_of(*partition) for partition in gone}
        self._forget_kept(accounts)
        if self._is_incremental and not lost and not self.commits:
            # There the group's new generation has begun before partitions are asked for.
            self.group.note(self._consumer)
        self._release(accounts, lost)
        for partition in gone:
            self._assigned.pop(partition, None)
            self._at_end.discard(partition)
            self._beyond.discard(partition)
            self._offsets.forget(partition)
        self._joined = False
        if lost:
            self._events.thrown_out()
        self._tell(f"{'lost' if lost else 'gave up'} {len(partitions)} partitions")

    def _forget_kept(self, accounts: set[str]) -> None:
        self._kept = [message for message in self._kept if message.account not in accounts]

    def _tell(self, what: str) -> None:
        logger.info("rebalance: %s, has %d now", what, len(self._assigned))
        self._events.rebalanced()
        self._events.assigned(self.assigned)


def _offsets_of(partitions: Sequence[TopicPartition]) -> dict[Partition, int]:
    return {(partition.topic, partition.partition): partition.offset for partition in partitions}


def _message(raw: KafkaMessage) -> Message:
    kind, timestamp = raw.timestamp()
    value = raw.value()
    origin = KafkaOrigin(
        raw.topic(),
        raw.partition(),
        raw.offset(),
        raw.key(),
        value,
        tuple(raw.headers() or ()),
        timestamp if kind else -1,
    )
    fault = _no_value(origin) if value is None else None
    return Message(value or b"", account_of(raw.topic(), raw.partition()), raw.offset(), origin, fault)


def _no_value(origin: KafkaOrigin) -> PacketError:
    size = next((size for name, size in origin.headers if name == LENGTH and size), None)
    if size is None:
        return PacketError("is empty: the message has no value")
    return PacketError(f"its {size.decode('ascii', 'replace')} bytes were more than a topic of dead letters can hold")
