"""From the step's settings to librdkafka's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings

logger = logging.getLogger(__name__)

Role = Literal["consumer", "producer", "metrics"]
MESSAGE_BYTES = 20 << 20
"""What a producer takes; the topic's own limit, which is the one that counts, is asked of the broker."""
_FETCH_BYTES = 8 << 20
_QUEUE_KIB = 64 << 10
"""What a consumer fetches ahead of its caller: with the two batches it bounds the memory of a run."""


def client_conf(settings: StepSettings, role: Role) -> dict[str, Any]:
    """What any client of a role needs: address, login, and the user's own keys, which win.

    Parameters
    ----------
    settings : StepSettings
    role : {"consumer", "producer", "metrics"}
    """
    server, username, password, own = {
        "consumer": (
            settings.consumer_server,
            settings.consumer_kafka_username,
            settings.consumer_kafka_password,
            settings.consumer_conf,
        ),
        "producer": (
            settings.producer_server,
            settings.producer_kafka_username,
            settings.producer_kafka_password,
            settings.producer_conf,
        ),
        "metrics": (
            settings.metrics_host,
            settings.metrics_kafka_username,
            settings.metrics_kafka_password,
            settings.metrics_conf,
        ),
    }[role]
    conf: dict[str, Any] = {"bootstrap.servers": server, "client.id": "xmatch-hats", "logger": logger}
    if username:
        conf |= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": username,
            "sasl.password": password.get_secret_value() if password else "",
        }
    return conf | dict(own or {})


def consumer_conf(settings: StepSettings, *, group: str, until_end: bool, role: Role = "consumer") -> dict[str, Any]:
    """Keys of the step's consumer.

    Parameters
    ----------
    settings : StepSettings
    group : str
        Consumer group.
    until_end : bool
        Whether the ends of partitions are to be told.
    role : {"consumer", "producer"}, optional
        Whose brokers are read from: dead letters lie where the output goes.
    """
    return {
        "auto.offset.reset": "earliest",
        # New daily topics, and those of a regular expression, are found this soon.
        "topic.metadata.refresh.interval.ms": 10_000,
        "fetch.message.max.bytes": _FETCH_BYTES,
        "queued.max.messages.kbytes": _QUEUE_KIB,
        **client_conf(settings, role),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": until_end,
    }


def producer_conf(settings: StepSettings, *, transactional_id: str | None = None) -> dict[str, Any]:
    """Keys of the step's producer: acknowledged by all replicas, in order, without repeats of its own.

    Parameters
    ----------
    settings : StepSettings
    transactional_id : str, optional
        For exactly-once.
    """
    conf = {
        "message.max.bytes": MESSAGE_BYTES,
        "linger.ms": 5,
        **client_conf(settings, "producer"),
        "enable.idempotence": True,
        "acks": "all",
    }
    if transactional_id is not None:
        return {"transaction.timeout.ms": 60_000, **conf, "transactional.id": transactional_id}
    # A broker that is away is waited for by whoever flushes; a message never fails for its age.
    return {"message.timeout.ms": 0, **conf}
