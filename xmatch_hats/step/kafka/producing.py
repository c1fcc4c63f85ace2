"""Producing a batch: every message confirmed, and those that a topic cannot hold found out one by one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from xmatch_hats.errors import BrokerError, PacketError
from xmatch_hats.step.flight import Delivery, ErrorPolicy, Fate, Flight
from xmatch_hats.step.kafka.connection import serve
from xmatch_hats.step.kafka.limits import Capacity
from xmatch_hats.step.kafka.messages import Outgoing, alert_message, bare, dead_letter, without_value
from xmatch_hats.step.kafka.topics import OutputTopics
from xmatch_hats.step.waiting import AbandonedError, Stop

logger = logging.getLogger(__name__)

_SLICE = 0.1
_SAY_AFTER = 5.0
_SERVED_TOGETHER = 16
"""Messages after which confirmations are asked for: with each call other threads have their turn."""
_TOO_LARGE = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG}
)
_TAKEN_ALONG = frozenset({KafkaError._STATE, KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


class TooLargeError(PacketError):
    """A packet that is larger than its topic takes."""


@dataclass(eq=False)
class _Item:
    """One message of a batch until it is confirmed."""

    fate: Fate
    error: PacketError | None
    """Why it is a dead letter."""
    message: Outgoing
    confirmed: bool = False
    failure: KafkaError | None = None
    alone: bool = False
    """Whether it is tried by itself: a broker refuses all that came with a message that is too large."""

    @property
    def size(self) -> int:
        """Bytes of its value."""
        return self.message.size


@dataclass
class Shipment:
    """A batch as it is produced; it remembers what is confirmed when it has to be tried again."""

    flight: Flight
    policy: ErrorPolicy
    capacity: Capacity
    delivery: Delivery = field(default_factory=Delivery)
    items: list[_Item] = field(default_factory=list)

    def __post_init__(self) -> None:
        for fate in self.flight.fates:
            if fate.error is not None:
                self.refuse(fate, fate.error)
                continue
            item = _Item(fate, None, alert_message(fate))
            if item.size <= self.capacity.alerts:
                self.items.append(item)
            else:
                # The topic would refuse it, and with it all that it came with.
                self.refuse(fate, _too_large(item, f"its topic takes {self.capacity.alerts:.0f}"))

    def refuse(self, fate: Fate, error: PacketError) -> None:
        """Make a dead letter of a message, or skip it, as the policy has it."""
        fate.refuse(error)
        if self.policy.sets_aside(fate.message, error):
            item = _Item(fate, error, dead_letter(fate, error))
            if item.size > self.capacity.dead_letters:
                item.message = without_value(item.message)
            self.items.append(item)
        else:
            logger.warning("skipped %s: %s", fate.message.place, error)
            self.delivery.account(fate.message.account).skipped += 1

    @property
    def outstanding(self) -> list[_Item]:
        """What is not confirmed."""
        return [item for item in self.items if not item.confirmed]

    def forget_confirmations(self) -> None:
        """Begin anew: an aborted transaction has delivered nothing."""
        for item in self.items:
            item.confirmed, item.failure = False, None

    def finish(self) -> Delivery:
        """Count what was confirmed."""
        for item in self.items:
            self.delivery.bytes_out += item.size
            if item.error is None:
                self.delivery.account(item.fate.message.account).out += 1
            else:
                self.delivery.count_dead(item.fate, item.error)
                logger.warning("dead letter %s: %s", item.fate.message.place, item.error)
        return self.delivery


class Shipper:
    """Produces shipments with a producer.

    Parameters
    ----------
    producer : confluent_kafka.Producer
    topics : OutputTopics
    stop : Stop
    batch_bytes : int
        The producer's ``batch.size``: what is larger travels alone.
    in_transaction : bool, optional
        Whether all of it fails with the first message that does: what is behind that one is not waited for.
    """

    def __init__(
        self,
        producer: Producer,
        topics: OutputTopics,
        stop: Stop,
        *,
        batch_bytes: int,
        in_transaction: bool = False,
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._stop = stop
        self._batch_bytes = batch_bytes
        self._in_transaction = in_transaction
        self._has_failed = False

    def produce(self, items: Iterable[_Item]) -> None:
        """Hand messages to the producer, in order; those that are to travel alone are confirmed one by one."""
        for number, item in enumerate(items, 1):
            item.failure = None
            if item.alone:
                self.flush()
            while not self._is_over and not self._try(item):
                serve(lambda: self._producer.poll(_SLICE))
                self._check_stop()
            if item.alone:
                self.flush()
            if number % _SERVED_TOGETHER == 0:
                serve(lambda: self._producer.poll(0))

    @property
    def _is_over(self) -> bool:
        return self._in_transaction and self._has_failed

    def _try(self, item: _Item) -> bool:
        topic = self._topics.alerts if item.error is None else self._topics.dead_letters
        message = item.message
        try:
            self._producer.produce(
                topic, message.value, message.key, headers=message.headers, on_delivery=self._confirmation(item)
            )
        except BufferError:
            return False
        except KafkaException as error:
            item.failure = error.args[0]
            self._has_failed = True
        return True

    def _confirmation(self, item: _Item) -> Callable[[KafkaError | None, KafkaMessage], None]:
        def confirm(error: KafkaError | None, _message: Any) -> None:
            item.confirmed, item.failure = error is None, error
            self._has_failed |= error is not None

        return confirm

    def flush(self) -> None:
        """Wait until every message has been confirmed or refused.

        Raises
        ------
        AbandonedError
            The run is made to end.
        KafkaException
            The producer has failed for good.
        """
        since = time.monotonic()
        said = False
        while not self._is_over and serve(lambda: self._producer.flush(_SLICE)):
            self._check_stop()
            if not said and time.monotonic() - since > _SAY_AFTER:
                said = True
                logger.warning("waiting for output: the broker has not confirmed what was sent")
        if said:
            logger.warning("output works again after %.1f s", time.monotonic() - since)

    def _check_stop(self) -> None:
        if self._stop.abandoned.is_set():
            raise AbandonedError("given up while waiting for output")

    def sift(self, shipment: Shipment) -> None:
        """Look through what was not confirmed, and prepare for the next try.

        A message that was refused for its size travels alone next time, since a broker refuses all that came with it.
        Refused alone, it becomes a dead letter, and a dead letter leaves its value behind, and what else it came with.

        Raises
        ------
        BrokerError
            Messages failed for a reason that is not theirs.
        """
        failures = [(item, item.failure) for item in shipment.outstanding if item.failure is not None]
        refused = [item for item, failure in failures if failure.code() in _TOO_LARGE]
        for item in refused:
            if item.alone or item.size > self._batch_bytes:
                self._give_up(shipment, item)
            else:
                item.alone = True
        # In a transaction, one that is refused takes all that follow with it.
        harmless = _TOO_LARGE | _TAKEN_ALONG if refused else _TOO_LARGE
        for _, failure in failures:
            if failure.code() not in harmless:
                raise BrokerError(f"messages are refused: {failure.str()}", place="PRODUCER_SERVER")

    def _give_up(self, shipment: Shipment, item: _Item) -> None:
        reason = item.failure.str() if item.failure is not None else "too large"
        if item.error is None:
            shipment.items.remove(item)
            shipment.refuse(item.fate, _too_large(item, f"{self._topics.alerts} refuses it: {reason}"))
        elif item.message.chunks is not None:
            item.message = without_value(item.message)
        elif not item.message.is_bare:
            item.message = bare(item.message)
        else:
            raise BrokerError(f"a dead letter's headers are refused: {reason}", place=self._topics.dead_letters)


def _too_large(item: _Item, why: str) -> TooLargeError:
    return TooLargeError(f"cannot be produced, {item.size} bytes: {why}")
