"""Decoding ahead: the messages of the next batch are read while the last one is matched."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

from xmatch_hats.alerts.packet import Packet
from xmatch_hats.errors import PacketError
from xmatch_hats.step.flight import Chunk, Fate, Message
from xmatch_hats.step.waiting import Waiter

Read = Callable[[bytes], Packet]
"""From the bytes of a message to its packet; raises PacketError, or SystemFailure where it has to ask for a schema."""

_Task = tuple[list[Message], "Future[list[Fate]]"]


def decode(messages: list[Message], read: Read, waiter: Waiter) -> list[Fate]:
    """Read messages one by one.

    Parameters
    ----------
    messages : list of Message
    read : callable
    waiter : Waiter
        Waits for what the reading needs, a schema registry.
    """
    return [_decode(message, read, waiter) for message in messages]


def _decode(message: Message, read: Read, waiter: Waiter) -> Fate:
    if message.fault is not None:
        return Fate(message, error=message.fault)
    try:
        return Fate(message, waiter.until_done("schema registry", lambda: read(message.data)))
    except PacketError as error:
        return Fate(message, error=error)


class Decoder:
    """Decodes chunks of messages, in a thread of its own or, for files, in the caller's.

    Parameters
    ----------
    read : callable
    waiter : Waiter
    ahead : bool, optional
        Whether in a thread, which ends with the program at the latest.
    """

    def __init__(self, read: Read, waiter: Waiter, *, ahead: bool = True) -> None:
        self._read = read
        self._waiter = waiter
        self._queue: SimpleQueue[_Task | None] | None = SimpleQueue() if ahead else None
        if ahead:
            Thread(target=self._work, name="decoder", daemon=True).start()

    def submit(self, messages: list[Message]) -> Chunk:
        """Have messages decoded; without a thread of its own, what goes wrong is raised here."""
        if self._queue is None:
            return Chunk(messages, decode(messages, self._read, self._waiter))
        decoded: Future[list[Fate]] = Future()
        self._queue.put((messages, decoded))
        return Chunk(messages, decoded)

    def close(self) -> None:
        """Decode no more."""
        if self._queue is not None:
            self._queue.put(None)

    def _work(self) -> None:
        assert self._queue is not None
        while (task := self._queue.get()) is not None:
            messages, decoded = task
            try:
                decoded.set_result(decode(messages, self._read, self._waiter))
            except BaseException as error:  # noqa: BLE001, whoever asks for the result gets it
                decoded.set_exception(error)
