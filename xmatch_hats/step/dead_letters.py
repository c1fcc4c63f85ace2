"""Reading dead letters, for people: all of them, whoever has read them before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from xmatch_hats.alerts.names import safe_name
from xmatch_hats.errors import BrokerError, UsageError, XmatchError
from xmatch_hats.step.kafka import messages
from xmatch_hats.step.kafka.clients import check_conf
from xmatch_hats.step.kafka.conf import consumer_conf
from xmatch_hats.step.kafka.offsets import account_of

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings

_TIMEOUT = 10.0


@dataclass(frozen=True)
class DeadLetter:
    """One message that could not be used."""

    place: str
    """Its own place, ``topic[partition] offset n``."""
    source: str
    """Where it first came from."""
    error: str
    """Class of the error."""
    message: str
    attempts: int
    dead: str | None
    """When it died last, ISO 8601, UTC."""
    size: int
    """Bytes of the value, as it came."""
    sha256: str | None
    """Of a value that no topic could hold."""
    key: str | None
    value: bytes | None = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Give all but the value."""
        return {name: value for name, value in asdict(self).items() if name != "value"}


def read_letters(settings: StepSettings, limit: int) -> Iterator[DeadLetter]:
    """Read the dead letters that are there now, partition by partition.

    Parameters
    ----------
    settings : StepSettings
    limit : int
        How many at most.

    Raises
    ------
    BrokerError
        The broker does not answer.
    UsageError
        There is no such topic.
    ConfigError
        The settings of librdkafka are wrong.
    """
    topic = str(settings.dead_letter_topic)
    # The group has no member here: it is named because librdkafka asks for a name.
    conf = consumer_conf(settings, role="producer", group=f"{settings.consumer_group_id}.dead-letters", until_end=True)
    check_conf(Consumer, conf, settings.origin("producer_conf").place)
    consumer = Consumer(conf)
    try:
        left = limit
        for number in _partitions(consumer, topic):
            for message in _read(consumer, TopicPartition(topic, number)):
                yield _letter(message)
                left -= 1
                if not left:
                    return
    except KafkaException as error:
        raise BrokerError(f"cannot be read: {error.args[0].str()}", place=topic) from error
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    # All topics are asked for: a broker may make one that is asked for by name.
    found = consumer.list_topics(timeout=_TIMEOUT).topics.get(topic)
    if found is None:
        raise UsageError(f"there is no topic {topic}", hint="nothing has died yet, or DLQ_TOPIC names another one")
    return sorted(found.partitions)


def _read(consumer: Consumer, partition: TopicPartition) -> Iterator[KafkaMessage]:
    """Read a partition from its beginning to what is its end now."""
    low, high = consumer.get_watermark_offsets(partition, _TIMEOUT)
    consumer.assign([TopicPartition(partition.topic, partition.partition, low)])
    while low < high:
        message = consumer.poll(_TIMEOUT)
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = message.error()
        if error is None:
            low = message.offset() + 1
            if low <= high:
                yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            # The last offsets may be marks of transactions, which are no messages.
            return
        elif not error.retriable():
            raise KafkaException(error)


def _letter(message: KafkaMessage) -> DeadLetter:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()}
    value, key = message.value(), message.key()
    source = headers.get(messages.SOURCE_TOPIC)
    return DeadLetter(
        place=f"{account_of(message.topic(), message.partition())} offset {message.offset()}",
        source="unknown"
        if source is None
        else f"{source}[{headers.get(messages.SOURCE_PARTITION)}] offset {headers.get(messages.SOURCE_OFFSET)}",
        error=headers.get(messages.ERROR_CLASS, "unknown"),
        message=headers.get(messages.ERROR_MESSAGE, ""),
        attempts=_number(headers.get(messages.ATTEMPTS)) or 1,
        dead=_moment(_number(headers.get(messages.DEAD_TIME))),
        size=(_number(headers.get(messages.LENGTH)) or 0) if value is None else len(value),
        sha256=headers.get(messages.SHA256),
        key=None if key is None else key.decode("utf-8", "replace"),
        value=value,
    )


def _number(text: str | None) -> int | None:
    """Read a header that should be a number; anybody may write to a topic."""
    with suppress(TypeError, ValueError):
        return int(text)  # type: ignore[arg-type]
    return None


def _moment(time_ms: int | None) -> str | None:
    with suppress(TypeError, ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()  # type: ignore[operator]
    return None


def save_letter(letter: DeadLetter, folder: Path) -> Path | None:
    """Write a dead letter's packet as it came, and give its path; None for one whose value was not kept."""
    if letter.value is None:
        return None
    path = folder / f"{safe_name(letter.place.replace(' offset ', '-'))}.avro"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(letter.value)
    except OSError as error:
        raise XmatchError(f"cannot be written: {error.strerror or error}", place=path) from error
    return path
