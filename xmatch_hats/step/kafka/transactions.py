"""To Kafka, exactly once: a batch, its dead letters and its offsets in one transaction.

A transaction begins when the batch is computed, so it is short. Whatever goes wrong in it, the batch is still in memory
and is produced anew; nothing is read again unless its partitions were taken away. After a call that timed out nobody
knows how the transaction ended: the producer is thrown away, a new one with the same id ends what the old one left, and
the group's committed offsets tell whether that was a commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition, libversion

from xmatch_hats.errors import BrokerError, XmatchError
from xmatch_hats.step.flight import Delivery, ErrorPolicy, Flight, Watcher
from xmatch_hats.step.kafka.connection import Connection, serve
from xmatch_hats.step.kafka.limits import Capacity, fit_batches
from xmatch_hats.step.kafka.membership import Membership
from xmatch_hats.step.kafka.offsets import account_of
from xmatch_hats.step.kafka.producing import Shipment, Shipper
from xmatch_hats.step.kafka.topics import OutputTopics
from xmatch_hats.step.waiting import AbandonedError, Stop

logger = logging.getLogger(__name__)

_TIMEOUT = 20.0
_OFFSETS_TIMEOUT = 10.0
_OPEN_TIMEOUT = 5.0
"""Nobody can be told to stop in between."""
_FENCED = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.FENCED_INSTANCE_ID}
)
_FENCED_TRIES = 3
_THROWN_OUT = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION})
"""The group goes on without this member, or has begun anew."""
# What has lost all its brokers should find them again, not begin anew: a producer that has done so knows its group's
# coordinator no more. Older versions do not begin anew.
_KEEP_BROKERS = {"metadata.recovery.strategy": "none"} if libversion()[1] >= 0x020B0000 else {}


class FencedError(XmatchError):
    """Another step uses the same transactional id."""


class TransactionalSink:
    """Produces each batch in a transaction of its own.

    Parameters
    ----------
    conf : dict
        Of librdkafka, with the transactional id.
    topics : OutputTopics
    policy : ErrorPolicy
    stop : Stop
    connection : Connection, optional

    Attributes
    ----------
    group : Membership or None
        The group whose offsets are part of the transactions; to be set before the first batch.
    """

    def __init__(
        self,
        conf: dict[str, Any],
        topics: OutputTopics,
        policy: ErrorPolicy,
        stop: Stop,
        connection: Connection | None = None,
    ) -> None:
        self.connection = connection or Connection("producer")
        self.group: Membership | None = None
        self._conf = _KEEP_BROKERS | conf | {"error_cb": self.connection.on_error}
        self._producer: Producer | None = None
        self._capacity = Capacity(0)
        self._topics = topics
        self._policy = policy
        self._stop = stop
        self._shipment: Shipment | None = None
        self._is_open = False
        self._in_doubt = False
        self._fenced = 0
        self._refused = 0

    def open(self) -> None:
        """Make a producer, and end what one with the same id may have left open.

        Raises
        ------
        BrokerError
            The broker does not answer.
        """
        if self._producer is not None:
            return
        conf, capacity = fit_batches(self._conf, self._topics)
        producer = Producer(conf)
        try:
            producer.init_transactions(_OPEN_TIMEOUT)
        except KafkaException as error:
            raise BrokerError(f"no transactions: {error.args[0].str()}", place="PRODUCER_SERVER") from error
        self._producer, self._capacity = producer, capacity
        self.connection.is_up()

    def deliver(self, flight: Flight, watch: Watcher) -> Delivery:
        """Produce and commit a batch."""
        self.open()
        if self._shipment is None or self._shipment.flight is not flight:
            self._shipment, self._in_doubt, self._refused = Shipment(flight, self._policy, self._capacity), False, 0
        shipment = self._shipment
        if not (self._in_doubt and self._was_committed(flight)):
            self._in_doubt = False
            flight.require_kept()
            while not self._transact(shipment, watch):
                self.open()
        self._shipment, self._in_doubt, self._fenced = None, False, 0
        self.connection.is_up()
        return shipment.finish()

    def close(self, seconds: float) -> None:
        """Abort what is open, if the broker answers in time; else it ends by itself, or with the next run."""
        if self._producer is not None and self._is_open:
            self._abort(self._producer, seconds)
        self._producer = None

    def _transact(self, shipment: Shipment, watch: Watcher) -> bool:
        """Try the whole batch in a transaction, and tell whether it was committed.

        It is not where a message turned out to be too large: the next try takes care of that.
        """
        producer, number = self._producer, shipment.flight.number
        assert producer is not None
        shipment.forget_confirmations()
        shipper = Shipper(
            producer, self._topics, self._stop, batch_bytes=self._capacity.batch_bytes, in_transaction=True
        )
        with self._recovering(producer):
            producer.begin_transaction()
            self._is_open = True
            shipper.produce(shipment.items)
            watch("produced", number)
            shipper.flush()
            if shipment.outstanding:
                # One that has refused a message does not get over it: its next transaction may fail from the start.
                self._drop(producer)
                shipper.sift(shipment)
                return False
            watch("flushed", number)
            _send_offsets(producer, _ends(shipment.flight), self._member(shipment.flight))
            watch("committing", number)
            self._in_doubt = True
            producer.commit_transaction(_TIMEOUT)
        self._is_open = False
        watch("committed", number)
        return True

    @contextmanager
    def _recovering(self, producer: Producer) -> Iterator[None]:
        """Leave no transaction open, and no producer of which nobody knows the state."""
        try:
            yield
        except KafkaException as raised:
            error: KafkaError = raised.args[0]
            if error.code() in _FENCED:
                self._fenced += 1
                self._drop(producer)
                if self._fenced > _FENCED_TRIES:
                    raise FencedError(
                        f"another step has taken the transactions over: {error.str()}",
                        place="TRANSACTIONAL_ID",
                        hint="give each step one of its own",
                    ) from raised
            elif error.code() in _THROWN_OUT:
                self._abort(producer)
                self._refused += 1
                if self._refused > 1:
                    # The loop has had time to hear what is lost. If it has not, it may be waiting for this very batch.
                    raise AbandonedError(f"the group takes no offsets of this member: {error.str()}") from raised
            elif error.txn_requires_abort():
                self._abort(producer)
            else:
                self._drop(producer)
            raise BrokerError(f"the transaction failed: {error.str()}", place="PRODUCER_SERVER") from raised
        except AbandonedError:
            self._abort(producer, 1.0)
            raise

    def _abort(self, producer: Producer, seconds: float = _TIMEOUT) -> None:
        try:
            serve(lambda: producer.abort_transaction(seconds))
        except KafkaException as error:
            logger.warning("a transaction cannot be aborted: %s", error.args[0].str())
            self._drop(producer)
        else:
            self._in_doubt = self._is_open = False

    def _drop(self, producer: Producer) -> None:
        producer.purge()
        self._producer, self._is_open = None, False

    def _member(self, flight: Flight) -> Any:
        """Give the membership under which offsets are committed.

        It is looked at first: one of a later generation is noted only after the batch was told of its loss.
        """
        assert self.group is not None
        metadata = self.group.metadata
        flight.require_kept()
        if metadata is None:
            raise KafkaException(
                KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "this is no member of the group now", txn_requires_abort=True)
            )
        return metadata

    def _was_committed(self, flight: Flight) -> bool:
        """Ask the group how a transaction ended that nobody heard the end of.

        Where a partition is still here, nobody else can have moved it on.
        """
        assert self.group is not None
        kept = flight.starts()
        ends = {(end.topic, end.partition): end.offset for end in _ends(flight)}
        committed = self.group.committed(list(ends))
        was = all(
            committed[place] == end or (committed[place] > end and account_of(*place) not in kept)
            for place, end in ends.items()
        )
        logger.warning("batch %d was %s before its producer failed", flight.number, "committed" if was else "aborted")
        return was


def _send_offsets(producer: Producer, offsets: list[TopicPartition], member: Any) -> None:
    """Make offsets part of the transaction, or fail in time.

    The call's own time-out is not heeded while it looks for a coordinator that is gone, so it may never return; it is
    left alone then, with its producer, which is fenced by the one that comes next.
    """
    outcome: list[KafkaException | None] = []

    def send() -> None:
        try:
            producer.send_offsets_to_transaction(offsets, member, _OFFSETS_TIMEOUT)
        except KafkaException as error:
            outcome.append(error)
        else:
            outcome.append(None)

    sending = Thread(target=send, name="offsets", daemon=True)
    sending.start()
    sending.join(_OFFSETS_TIMEOUT)
    if not outcome:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the group's coordinator does not answer"))
    if outcome[0] is not None:
        raise outcome[0]


def _ends(flight: Flight) -> list[TopicPartition]:
    ends = {(fate.message.origin.topic, fate.message.origin.partition): fate.message.number for fate in flight.fates}
    return [TopicPartition(topic, partition, last + 1) for (topic, partition), last in ends.items()]
