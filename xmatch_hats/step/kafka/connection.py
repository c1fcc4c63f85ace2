"""What librdkafka says of its brokers: told once when they go, and once when they are back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

logger = logging.getLogger(__name__)

T = TypeVar("T")
_PROBE_SECONDS = 1.0
_DOWN = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError._RESOLVE,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)


class Connection:
    """Whether the brokers of a client answer.

    Parameters
    ----------
    name : str
        What to call it in logs and health checks: ``source``.
    on_change : callable, optional
        Told whether they do, and why not.
    """

    def __init__(self, name: str, on_change: Callable[[bool, str], None] | None = None) -> None:
        self._name = name
        self._on_change = on_change or (lambda _up, _why: None)
        self._down_since: float | None = None
        self._probed = 0.0
        self._said: set[str] = set()

    def on_error(self, error: KafkaError) -> None:
        """Take an error that belongs to no message."""
        if error.code() in _DOWN:
            if self._down_since is None:
                self._down_since = time.monotonic()
                logger.warning("waiting for %s: %s", self._name, error.str())
            self._on_change(False, error.str())
        elif error.str() not in self._said:
            # A topic that is not there yet is told again with every look for it.
            self._said.add(error.str())
            logger.info("%s: %s", self._name, error.str())

    def is_up(self) -> None:
        """Take note that they answer."""
        if self._down_since is not None:
            logger.warning("%s works again after %.1f s", self._name, time.monotonic() - self._down_since)
            self._down_since = None
            self._on_change(True, "")

    def probe(self, client: Any, seconds: float = 0.2) -> None:
        """Ask them, now and then, while they are not known to answer.

        Only an answer tells: a message that comes now may have been fetched before they went, and of brokers that
        stay away librdkafka tells once.

        Parameters
        ----------
        client : Consumer or Producer
        seconds : float, optional
            How long an answer may take.
        """
        if self._down_since is None or time.monotonic() - self._probed < _PROBE_SECONDS:
            return
        try:
            client.list_topics(timeout=seconds)
        except KafkaException:
            self._probed = time.monotonic()
            return
        self.is_up()


def serve(call: Callable[[], T]) -> T:
    """Make a call that lets a client's callbacks be called.

    Raises
    ------
    KafkaException
        The client has failed for good.
    """
    try:
        return call()
    except SystemError as error:
        # The binding raises it from within a callback, and Python finds it there when the next one has been called.
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise
