"""How large a batch of records may be: what the broker says of a topic."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from xmatch_hats.errors import BrokerError
from xmatch_hats.step.kafka.topics import OutputTopics

logger = logging.getLogger(__name__)

_TIMEOUT = 5.0
_BATCH_BYTES = 1_000_000
"""librdkafka's own default."""
_OF_PRODUCERS = ("transactional.id", "transaction.timeout.ms", "enable.idempotence")


@dataclass(frozen=True)
class Capacity:
    """What topics take."""

    batch_bytes: int
    """Of a batch of records: the producer's ``batch.size``."""
    alerts: float = math.inf
    """Bytes of a message of the topic of alerts."""
    dead_letters: float = math.inf
    """The same of dead letters."""


def fit_batches(conf: dict[str, Any], topics: OutputTopics) -> tuple[dict[str, Any], Capacity]:
    """Have a producer make no batch of records that a topic would refuse, though every message of it is small enough.

    A refused batch is tried again message by message, and what was sent behind it has overtaken it by then. A broker
    that does not tell the limits of its topics leaves the producer as it is.

    Parameters
    ----------
    conf : dict
        Of the producer.
    topics : OutputTopics

    Returns
    -------
    dict
    Capacity
        Without limits where the broker does not tell them, and where compression lets larger messages through.

    Raises
    ------
    BrokerError
        The broker does not answer.
    """
    plain = {name: value for name, value in conf.items() if name not in _OF_PRODUCERS and not callable(value)}
    largest = int(conf.get("batch.size", _BATCH_BYTES))
    limits = dict(_limits(AdminClient(plain), (topics.alerts, topics.dead_letters)))
    for topic, limit in limits.items():
        if limit < largest:
            logger.info("%s takes %d bytes at once: batches are made no larger", topic, limit)
            largest = limit
    if conf.get("compression.type", conf.get("compression.codec", "none")) != "none":
        limits = {}
    alerts, dead_letters = (limits.get(topic, math.inf) for topic in (topics.alerts, topics.dead_letters))
    return conf | {"batch.size": largest}, Capacity(largest, alerts, dead_letters)


def _limits(admin: AdminClient, topics: Iterable[str]) -> Iterator[tuple[str, int]]:
    try:
        cluster = admin.list_topics(timeout=_TIMEOUT)
    except KafkaException as error:
        raise BrokerError(f"does not answer: {error.args[0].str()}", place="PRODUCER_SERVER") from error
    if cluster.controller_id not in cluster.brokers:
        # There is nobody to ask.
        return
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    for resource, answer in admin.describe_configs(resources, request_timeout=_TIMEOUT).items():
        try:
            yield resource.name, int(answer.result()["max.message.bytes"].value)
        except (KafkaException, KeyError, TypeError, ValueError) as error:
            logger.debug("%s: its largest message is not known: %s", resource.name, error)
