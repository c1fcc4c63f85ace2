#!/usr/bin/env python3
"""Feed alert packets to a Kafka topic: the files of folders and tar archives, one message each, bytes as they are.

The key is the alert's `objectId`, so that an object's alerts stay in order; a packet that cannot be read goes without.

Example: feed.py --server localhost:9094 --topic ztf_alerts ztf_public_20200101.tar.gz
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.errors import PacketError, XmatchError

MAX_BYTES = 10 << 20
"""Size of the largest message; the broker and the topic may allow less."""
QUEUE_KBYTES = 64 << 10
"""What may wait in memory for the broker."""


class Feeder:
    """Produces packets, and counts what became of them.

    Parameters
    ----------
    topic : str
    configuration : dict
        Of librdkafka; at least ``bootstrap.servers``.
    keyed : bool
        Whether messages get the alert's object id as their key.

    Attributes
    ----------
    counts : Counter
        ``sent`` (confirmed by the broker), ``failed``, ``unreadable`` (not sent).
    faults : Counter
        Why they failed.
    """

    def __init__(self, topic: str, configuration: dict[str, Any], *, keyed: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._topic = topic
        self._reader = PacketReader() if keyed else None
        defaults = {
            "enable.idempotence": True,
            "linger.ms": 20,
            "message.max.bytes": MAX_BYTES,
            "queue.buffering.max.kbytes": QUEUE_KBYTES,
        }
        self._producer = Producer({**defaults, **configuration})

    def feed(self, sources: Iterable[tuple[str, bytes]]) -> None:
        """Produce packets, and wait until the broker has confirmed or refused every one.

        Parameters
        ----------
        sources : iterable of (str, bytes)
            Where each packet is from, and its bytes.
        """
        for source, data in sources:
            try:
                self._produce(data)
            except KafkaException as error:
                self._fail(f"{source}: {error.args[0].str()}")
        while self._producer.flush(1.0):
            pass

    def read(self, packets: PacketSources, limit: int | None) -> Iterator[tuple[str, bytes]]:
        """Read packets; those that cannot be read are counted."""
        for packet in islice(packets, limit):
            try:
                yield packet.source, packet.read()
            except PacketError as error:
                self.counts["unreadable"] += 1
                self.faults[f"{packet.source}: {error}"] += 1

    def _produce(self, data: bytes) -> None:
        key = self._key(data)
        while True:
            try:
                self._producer.produce(self._topic, data, key, on_delivery=self._delivered)
            except BufferError:
                # The queue is full: what is confirmed meanwhile makes room.
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _key(self, data: bytes) -> bytes | None:
        if self._reader is None:
            return None
        try:
            alerts = self._reader.read(data).alerts
        except PacketError:
            return None
        name = alerts[0].object_id if alerts else None
        return None if name is None else str(name).encode()

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.counts["sent"] += 1
        else:
            self._fail(error.str())

    def _fail(self, reason: str) -> None:
        self.counts["failed"] += 1
        self.faults[reason] += 1


def paced(packets: Iterable[tuple[str, bytes]], rate: float) -> Iterator[tuple[str, bytes]]:
    """Pass packets on at so many a second at most."""
    started = time.monotonic()
    for number, packet in enumerate(packets):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        yield packet


def main(arguments: list[str]) -> str | int:
    """Feed, and return what went wrong or 0."""
    options = _parser().parse_args(arguments)
    try:
        configuration = {"bootstrap.servers": options.server, **_read_configuration(options.config)}
        packets = PacketSources(options.paths)
        feeder = Feeder(options.topic, configuration, keyed=options.key)
        read = feeder.read(packets, options.limit)
        feeder.feed(paced(read, options.rate) if options.rate else read)
    except (XmatchError, OSError, ValueError) as error:
        return f"feed.py: {error}"
    except KafkaException as error:
        return f"feed.py: {error.args[0].str()}"
    counts = feeder.counts
    sys.stdout.write(f"{counts['sent']} sent, {counts['failed']} failed, {counts['unreadable']} unreadable\n")
    for reason, count in feeder.faults.most_common(5):
        sys.stderr.write(f"{count} x {reason}\n")
    return 1 if counts["failed"] or counts["unreadable"] else 0


def _read_configuration(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must be a JSON object of librdkafka settings")
    return values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="packets, folders, tar archives")
    parser.add_argument(
        "--server",
        default=os.environ.get("CONSUMER_SERVER", "localhost:9092"),
        help="HOST:PORT; default: CONSUMER_SERVER, else localhost:9092",
    )
    parser.add_argument("--topic", required=True)
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON object of librdkafka settings, such as SASL")
    parser.add_argument("--no-key", dest="key", action="store_false", help="spread the messages over the partitions")
    parser.add_argument("--limit", type=int, metavar="N", help="stop after so many packets")
    parser.add_argument("--rate", type=float, metavar="N", help="packets a second at most")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
