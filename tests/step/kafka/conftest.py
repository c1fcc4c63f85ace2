"""Steps between fresh topics of a real broker, in both deliveries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.services.topics import create_topic
from tests.step.streams import Stream

DELIVERIES = ["at-least-once", "exactly-once"]


@pytest.fixture(params=DELIVERIES)
def delivery(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_stream(kafka_address: str, topic_name: Callable[[str], str]) -> Callable[..., Stream]:
    """Make a step between fresh topics: ``make_stream(delivery, partitions)``."""

    def make(delivery: str, partitions: int = 1, **settings) -> Stream:
        topic, out = topic_name("in"), topic_name("out")
        create_topic(kafka_address, topic, partitions)
        create_topic(kafka_address, out, **settings.pop("out_config", {}))
        create_topic(kafka_address, f"{out}_dlq", **settings.pop("dead_config", {}))
        return Stream(kafka_address, (topic,), out, topic_name("group"), delivery, **settings)

    return make


@pytest.fixture
def stream(make_stream: Callable[..., Stream], delivery: str) -> Callable[..., Stream]:
    """Make a step between fresh topics; the test runs with both deliveries."""
    return lambda partitions=1, **settings: make_stream(delivery, partitions, **settings)
