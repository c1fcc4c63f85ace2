"""librdkafka's built-in mock cluster: the real protocol over TCP, without a broker."""

from __future__ import annotations

from confluent_kafka import Producer

from tests.services.process import ServiceError


class MockKafka:
    """A cluster that lives inside this process.

    A topic comes into being, with four partitions, when somebody asks for it; it cannot be made otherwise. A partition
    keeps its last 5 MB. Groups and committed offsets work. Aborted transactions are not hidden, nor are offsets kept
    that were sent within one: exactly once needs the real broker.
    """

    def __init__(self, brokers: int = 1) -> None:
        # The cluster lives as long as this handle. The addresses of the configuration are not used with it.
        self._handle: Producer | None = Producer(
            {"bootstrap.servers": "mock", "test.mock.num.brokers": brokers, "log_level": 0}
        )
        found = self._handle.list_topics(timeout=10).brokers.values()
        if len(found) != brokers:
            raise ServiceError(f"the mock cluster has {len(found)} brokers instead of {brokers}")
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in found)

    def close(self) -> None:
        """End the cluster and forget its messages."""
        self._handle = None

    def __enter__(self) -> MockKafka:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
