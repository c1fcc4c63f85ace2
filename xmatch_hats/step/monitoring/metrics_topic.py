"""The metrics topic: one message a batch, sent when there is time, and never waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from xmatch_hats.step.monitoring.metrics_message import MetricsMessage
from xmatch_hats.step.report import BatchReport

logger = logging.getLogger(__name__)


class MetricsTopic:
    """Sends metrics messages; what cannot be sent is counted, and stops nothing.

    Parameters
    ----------
    conf : dict
        Of librdkafka.
    topic : str
    on_drop : callable, optional
        Called for each message that was not sent.
    """

    def __init__(self, conf: dict[str, Any], topic: str, on_drop: Callable[[], None] | None = None) -> None:
        self._producer = Producer({"queue.buffering.max.kbytes": 8192, **conf, "error_cb": _hear})
        self._topic = topic
        self._on_drop = on_drop or (lambda: None)
        # What librdkafka has queued counts its own events, too.
        self._on_the_way = 0

    def send(self, report: BatchReport) -> None:
        """Send a batch's message."""
        try:
            self._producer.produce(self._topic, MetricsMessage.build(report), on_delivery=self._delivered)
            self._on_the_way += 1
        except (BufferError, KafkaException) as error:
            self._dropped(error)
        self._producer.poll(0)

    def close(self, seconds: float) -> None:
        """Send what is left, within so many seconds."""
        self._producer.flush(seconds)
        for _ in range(self._on_the_way):
            self._on_drop()

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        self._on_the_way -= 1
        if error is not None:
            self._dropped(error)

    def _dropped(self, error: object) -> None:
        logger.warning("a metrics message was not sent: %s", error)
        self._on_drop()


def _hear(error: KafkaError) -> None:
    # librdkafka's own log has it, too.
    logger.debug("metrics: %s", error.str())
