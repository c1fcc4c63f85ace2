"""What goes to Kafka: an alert with its key and headers, a dead letter with its reason; and whence both came."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from xmatch_hats.alerts.splice import Chunks
from xmatch_hats.errors import PacketError
from xmatch_hats.matching.status import STATUS_LABELS
from xmatch_hats.step.flight import Fate
from xmatch_hats.step.kafka.offsets import account_of

Headers = list[tuple[str, bytes | None]]

STATUS = "xmatch.status"
"""Header: ``matched``, ``unmatched`` or ``outside-coverage``; with several catalogues also one for each, by name."""
ERROR_CLASS, ERROR_MESSAGE = "xmatch.error.class", "xmatch.error.message"
SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET, SOURCE_TIME = (
    "xmatch.source.topic",
    "xmatch.source.partition",
    "xmatch.source.offset",
    "xmatch.source.timestamp",
)
DEAD_TIME, ATTEMPTS = "xmatch.dead.time", "xmatch.dead.attempts"
LENGTH, SHA256 = "xmatch.value.length", "xmatch.value.sha256"
_OF_LETTERS = ("xmatch.error.", "xmatch.source.", "xmatch.dead.", "xmatch.value.")
_MESSAGE_BYTES = 1000


@dataclass(frozen=True, slots=True)
class KafkaOrigin:
    """Where a message stood."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int
    """Milliseconds since 1970, negative where there is none."""

    def __str__(self) -> str:
        return f"{account_of(self.topic, self.partition)} offset {self.offset}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be produced."""

    key: bytes | None
    chunks: Chunks | None
    """Pieces of the value."""
    headers: Headers

    @property
    def value(self) -> bytes | None:
        """The value, joined anew each time it is asked for: a batch in memory is not there twice."""
        return None if self.chunks is None else b"".join(self.chunks)

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return sum(map(len, self.chunks or ()))

    @property
    def is_bare(self) -> bool:
        """Whether nothing is left of what it came with."""
        return (
            self.key is None and self.chunks is None and all(name.startswith(_OF_LETTERS) for name, _ in self.headers)
        )


def alert_message(fate: Fate) -> Outgoing:
    """Make the message of an alert that goes out.

    Its key is the object's name, else the alert's; what headers it came with are kept.
    """
    assert fate.packet is not None
    assert fate.outcome is not None
    (alert,) = fate.packet.alerts
    name = alert.object_id if alert.object_id is not None else alert.candid
    headers = [(name, value) for name, value in _foreign_headers(fate) if not name.startswith(STATUS)]
    headers.append((STATUS, STATUS_LABELS[fate.outcome.status[0]].encode()))
    if len(fate.outcome.by_catalog) > 1:
        headers += [
            (f"{STATUS}.{catalog}", STATUS_LABELS[status[0]].encode())
            for catalog, status in fate.outcome.by_catalog.items()
        ]
    return Outgoing(None if name is None else str(name).encode(), fate.outcome.chunks, headers)


def dead_letter(fate: Fate, error: PacketError) -> Outgoing:
    """Make the dead letter of a message: key, value and headers as they came, and why and whence behind them.

    A letter that dies again keeps telling where it first came from.
    """
    origin: KafkaOrigin = fate.message.origin
    old = dict(origin.headers)
    if SOURCE_TOPIC in old:
        whence = [(name, old.get(name)) for name in (SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET, SOURCE_TIME)]
    else:
        whence = [
            (SOURCE_TOPIC, origin.topic.encode()),
            (SOURCE_PARTITION, b"%d" % origin.partition),
            (SOURCE_OFFSET, b"%d" % origin.offset),
            (SOURCE_TIME, b"%d" % origin.timestamp_ms),
        ]
    headers = [
        *_foreign_headers(fate),
        (ERROR_CLASS, type(error).__name__.encode()),
        (ERROR_MESSAGE, _text(str(error))),
        *whence,
        (DEAD_TIME, b"%d" % (time.time() * 1000)),
        (ATTEMPTS, b"%d" % (_number(old.get(ATTEMPTS)) + 1)),
        *((name, old[name]) for name in (LENGTH, SHA256) if name in old),
    ]
    return Outgoing(origin.key, None if origin.value is None else [origin.value], headers)


def without_value(letter: Outgoing) -> Outgoing:
    """Make the dead letter of what no topic can hold: its length and checksum stand for it."""
    value = letter.value or b""
    digest = hashlib.sha256(value).hexdigest().encode()
    return Outgoing(letter.key, None, [*letter.headers, (LENGTH, b"%d" % len(value)), (SHA256, digest)])


def bare(letter: Outgoing) -> Outgoing:
    """Leave out even the key and the headers that it came with: they are more than the topic can hold."""
    return Outgoing(None, None, [(name, value) for name, value in letter.headers if name.startswith(_OF_LETTERS)])


def _text(message: str) -> bytes:
    """As UTF-8, cut between two letters."""
    return message.encode("utf-8", "replace")[:_MESSAGE_BYTES].decode("utf-8", "ignore").encode()


def _foreign_headers(fate: Fate) -> Headers:
    origin: KafkaOrigin = fate.message.origin
    return [(name, value) for name, value in origin.headers if not name.startswith(_OF_LETTERS)]


def _number(text: bytes | None) -> int:
    return int(text) if text is not None and text.isdigit() else 0
