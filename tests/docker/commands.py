"""The scripts and commands of docker/ at work, and what they leave in Kafka."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.docker.parts import BIN, run, script


def messages_of(address: str, topic: str, count: int = 0) -> list[tuple[int, bytes | None, bytes]]:
    """Partition, key and value of all messages, in the order of their partitions; waits until there are so many."""
    settings = {"bootstrap.servers": address, "group.id": "reader", "enable.partition.eof": True}
    consumer = Consumer(settings | {"fetch.message.max.bytes": 8 << 20})
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found, ended, deadline = [], set(), time.monotonic() + 60
    while (len(ended) < len(partitions) or len(found) < count) and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error() is None:
            found.append((message.partition(), message.key(), message.value()))
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF
            ended.add(message.partition())
    consumer.close()
    return found


def make_topics(address: str, *topics: str, partitions: int = 3) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, script("topics.py"), f"--server={address}", f"--partitions={partitions}", *topics)


def feed(address: str, topic: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, script("feed.py"), "--server", address, "--topic", topic, *arguments)


def placed(text: str, places: Mapping[str, str]) -> str:
    """Put addresses, folders and names of this machine in the place of those of containers."""
    # The longest first, and each once: one name may begin another.
    pattern = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
    return re.sub(pattern, lambda found: places[found[0]], text)


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside the test, and end it by SIGTERM."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=log.parent,
            stdout=file,
            stderr=file,
            env=os.environ | environment,
        )
    try:
        yield process
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        process.wait()


def becomes_healthy(url: str) -> bool:
    """Whether the health check of the image passes within a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        # A process of its own for each look would take from what it waits for.
        if _answers(url) and run(sys.executable, script("healthcheck.py"), url).returncode == 0:
            return True
        time.sleep(0.1)
    return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=4):
            return True
    except OSError:
        return False
