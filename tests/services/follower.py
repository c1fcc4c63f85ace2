"""A reader that runs beside a test and sees a topic as it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException

from tests.services.topics import COMMITTED, Reader, Received, TopicError, end_offsets


class Follower:
    """Collects a topic's messages from its beginning on, in a thread, until it is stopped.

    The topic must exist; partitions that it gets later are not followed. A broker that goes away and comes back is
    waited for.

    Parameters
    ----------
    address : str or Mapping
        As for `tests.services.topics.settings`.
    topic : str
    isolation : str
        `COMMITTED` or `UNCOMMITTED`.
    """

    def __init__(self, address: str | Mapping[str, Any], topic: str, *, isolation: str = COMMITTED) -> None:
        self._address, self._topic, self._isolation = address, topic, isolation
        self._messages: list[Received] = []
        self._ends: dict[int, int] | None = None
        self._deadline = float("inf")
        self._failure: KafkaException | TopicError | None = None
        # In this thread, so that a topic which is not there is told where the test asks for it.
        self._reader = Reader(address, topic, isolation)
        if not self._reader.positions:
            raise TopicError(f"there is no topic {topic} to follow")
        self._thread = threading.Thread(target=self._follow, name=f"follower of {topic}", daemon=True)
        self._thread.start()

    @property
    def messages(self) -> list[Received]:
        """What has come so far, in the order it came."""
        return list(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def wait_for(self, count: int, timeout_s: float = 60) -> list[Received]:
        """Wait until so many messages have come."""
        return self.wait_until(lambda: len(self) >= count, timeout_s, f"{count} messages")

    def wait_until(self, seen: Callable[[], bool], timeout_s: float = 60, what: str = "it") -> list[Received]:
        """Wait until something is true.

        Raises
        ------
        TopicError
            It is not, after so many seconds, or the follower itself has failed.
        """
        deadline = time.monotonic() + timeout_s
        while not seen():
            if self._failure is not None:
                raise TopicError(f"the follower of {self._topic} failed") from self._failure
            if time.monotonic() > deadline:
                raise TopicError(f"{len(self)} messages came to {self._topic} in {timeout_s:g} s, waiting for {what}")
            time.sleep(0.02)
        return self.messages

    def stop(self, timeout_s: float = 60) -> list[Received]:
        """Read to the present end, and stop.

        Raises
        ------
        TopicError
            The end was not reached in time.
        """
        if self._thread.is_alive():
            self._deadline = time.monotonic() + timeout_s
            self._ends = end_offsets(self._address, self._topic, isolation=self._isolation)
        self._thread.join()
        if self._failure is not None:
            raise TopicError(f"the follower of {self._topic} failed") from self._failure
        return self.messages

    def _follow(self) -> None:
        try:
            with self._reader as reader:
                while self._ends is None or not reader.has_reached(self._ends):
                    self._messages += reader.read()
                    if time.monotonic() > self._deadline:
                        raise TopicError(f"the end {self._ends} was not reached, but {reader.positions}")
        except (KafkaException, TopicError) as failure:
            self._failure = failure

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.stop()
        else:
            self._ends = {}
            self._thread.join()
