"""To Kafka, at least once: every message of a batch is confirmed before its offsets are committed."""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import KafkaException, Producer

from xmatch_hats.errors import BrokerError
from xmatch_hats.step.flight import Delivery, ErrorPolicy, Flight, Watcher
from xmatch_hats.step.kafka.connection import Connection
from xmatch_hats.step.kafka.limits import Capacity, fit_batches
from xmatch_hats.step.kafka.producing import Shipment, Shipper
from xmatch_hats.step.kafka.topics import OutputTopics
from xmatch_hats.step.waiting import Stop

logger = logging.getLogger(__name__)


class KafkaSink:
    """Produces batches.

    Parameters
    ----------
    conf : dict
        Of librdkafka: idempotent, and without a time-out of messages, so that they keep their order over an outage.
    topics : OutputTopics
    policy : ErrorPolicy
    stop : Stop
    connection : Connection, optional
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
        self._conf = conf | {"error_cb": self.connection.on_error}
        self._producer: Producer | None = None
        self._capacity = Capacity(0)
        self._topics = topics
        self._policy = policy
        self._stop = stop
        self._shipment: Shipment | None = None

    def open(self) -> None:
        """Make a producer, and see that the broker answers.

        Raises
        ------
        BrokerError
            It does not.
        """
        if self._producer is not None:
            return
        conf, capacity = fit_batches(self._conf, self._topics)
        self._producer, self._capacity = Producer(conf), capacity
        self.connection.is_up()

    def deliver(self, flight: Flight, watch: Watcher) -> Delivery:
        """Produce a batch; returns when the broker has confirmed all of it."""
        flight.require_kept()
        self.open()
        assert self._producer is not None
        if self._shipment is None or self._shipment.flight is not flight:
            self._shipment = Shipment(flight, self._policy, self._capacity)
        shipment = self._shipment
        shipper = Shipper(self._producer, self._topics, self._stop, batch_bytes=self._capacity.batch_bytes)
        try:
            while waiting := shipment.outstanding:
                shipper.produce(waiting)
                watch("produced", flight.number)
                shipper.flush()
                shipper.sift(shipment)
        except KafkaException as error:
            self._producer = None
            raise BrokerError(f"the producer has failed: {error.args[0].str()}", place="PRODUCER_SERVER") from error
        self.connection.is_up()
        watch("flushed", flight.number)
        self._shipment = None
        return shipment.finish()

    def close(self, seconds: float) -> None:
        """Give up what was not confirmed."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(seconds)
