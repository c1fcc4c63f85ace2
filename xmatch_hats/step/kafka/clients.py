"""Whether librdkafka takes the settings, told before anything connects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer

from xmatch_hats.errors import ConfigError
from xmatch_hats.step.kafka.conf import client_conf, consumer_conf, producer_conf

if TYPE_CHECKING:
    from xmatch_hats.step.reading import Reading
    from xmatch_hats.step.settings import StepSettings


def check_clients(settings: StepSettings, reading: Reading) -> None:
    """Make the clients of a run, without brokers, so that nobody hears of it.

    Raises
    ------
    ConfigError
        librdkafka refuses an option, or what belongs together is not there.
    """
    check_consumer(settings, reading)
    check_producer(settings, reading)
    if settings.metrics_topic is not None:
        check_metrics(settings)


def check_consumer(settings: StepSettings, reading: Reading) -> None:
    """Make the consumer of a run alone."""
    until_end = reading.until_end or reading.span is not None
    conf = consumer_conf(settings, group=reading.group, until_end=until_end, role=reading.role)
    check_conf(Consumer, conf, settings.origin(f"{reading.role}_conf").place)


def check_producer(settings: StepSettings, reading: Reading) -> None:
    """Make the producer of a run alone."""
    name = reading.transactional_id if settings.delivery == "exactly-once" else None
    check_conf(Producer, producer_conf(settings, transactional_id=name), settings.origin("producer_conf").place)


def check_metrics(settings: StepSettings) -> None:
    """Make the producer of metrics messages alone."""
    check_conf(Producer, client_conf(settings, "metrics"), settings.origin("metrics_conf").place)


def check_conf(make: Callable[[dict[str, Any]], Any], conf: dict[str, Any], place: str) -> None:
    """Make one client without brokers.

    Raises
    ------
    ConfigError
        librdkafka refuses its options.
    """
    try:
        make(conf | {"bootstrap.servers": ""})
    except KafkaException as error:
        raise ConfigError(f"librdkafka refuses it: {error.args[0].str()}", place=place) from error
