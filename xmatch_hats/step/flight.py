"""A batch on its way: messages as they came, what became of each, and the protocols of the two ends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any, Protocol

from xmatch_hats.alerts.enrich import Outcome
from xmatch_hats.alerts.packet import Packet
from xmatch_hats.errors import PacketError, XmatchError
from xmatch_hats.step.report import Account, BatchReport
from xmatch_hats.step.waiting import AbandonedError

Watcher = Callable[[str, int], None]
"""Told of the boundaries that a batch crosses, by name and the batch's number: ``consumed``, ``matched``, ``stored``,
``produced``, ``flushed``, ``committing``, ``committed``; or ``abandoned``."""


def nobody(_boundary: str, _number: int) -> None:
    """Watch nothing."""


@dataclass(frozen=True, slots=True)
class Message:
    """One packet as it came."""

    data: bytes
    account: str
    """The input partition that it is counted with, ``topic[3]``."""
    number: int
    """Its offset there."""
    origin: Any = None
    """What its source and its sink know of it beyond that."""
    fault: PacketError | None = None
    """Why it has no data."""

    @property
    def place(self) -> str:
        """Where it came from, for people."""
        return f"{self.account} offset {self.number}" if self.origin is None else str(self.origin)


@dataclass(slots=True)
class Fate:
    """What became of a message."""

    message: Message
    packet: Packet | None = None
    outcome: Outcome | None = None
    error: PacketError | None = None
    """Why all of it is set aside, or skipped."""

    @property
    def alerts(self) -> int:
        """Number of alerts; a packet that cannot be read counts as one, whatever it may have held."""
        return 1 if self.packet is None else len(self.packet.alerts)

    @property
    def goes_out(self) -> bool:
        """Whether something of it goes out."""
        return self.outcome is not None and self.outcome.chunks is not None

    def refuse(self, error: PacketError) -> None:
        """Set all of it aside: it does not go out."""
        self.error, self.outcome = error, None


@dataclass(eq=False, slots=True)
class Chunk:
    """Messages that came together, and their decoding."""

    messages: list[Message]
    decoded: Future[list[Fate]] | list[Fate]
    """The fates themselves where it was done at once."""
    dropped: set[str] = field(default_factory=set)
    """Partitions that were taken away before anything was done."""

    @property
    def is_decoded(self) -> bool:
        """Whether its decoding has ended, well or not."""
        return isinstance(self.decoded, list) or self.decoded.done()

    @property
    def size(self) -> int:
        """Bytes in memory, as far as they are known."""
        fates = self._known()
        if fates is None:
            return sum(len(message.data) for message in self.messages)
        return sum(fate.packet.size if fate.packet else len(fate.message.data) for fate in fates)

    @property
    def alerts(self) -> int:
        """Number of alerts, of messages as long as they are not decoded."""
        fates = self._known()
        return len(self.messages) if fates is None else sum(fate.alerts for fate in fates)

    def _known(self) -> list[Fate] | None:
        decoded = self.decoded
        if isinstance(decoded, list):
            return decoded
        is_good = decoded.done() and not decoded.cancelled() and decoded.exception() is None
        return decoded.result() if is_good else None

    def fates(self) -> list[Fate]:
        """Wait for the decoding; partitions that were taken away are left out."""
        fates = self.decoded if isinstance(self.decoded, list) else self.decoded.result()
        return [fate for fate in fates if fate.message.account not in self.dropped] if self.dropped else fates


@dataclass(eq=False)
class Flight:
    """A batch: from the first message to the commit."""

    number: int
    chunks: list[Chunk] = field(default_factory=list)
    received: datetime = field(default_factory=lambda: datetime.now(UTC))
    done: Event = field(default_factory=Event)
    """Set when it has been delivered, or has failed."""
    report: BatchReport | None = None
    error: BaseException | None = None
    lost: bool = False
    """Some of its partitions belong to somebody else by now: it must not be delivered any more."""
    fates: list[Fate] = field(default_factory=list)
    _known_size: int = 0
    _known_alerts: int = 0
    _measured: int = 0

    @property
    def size(self) -> int:
        """Bytes in memory."""
        rest = self._measure()
        return self._known_size + sum(chunk.size for chunk in rest)

    @property
    def alerts(self) -> int:
        """Number of alerts."""
        rest = self._measure()
        return self._known_alerts + sum(chunk.alerts for chunk in rest)

    @property
    def undecoded(self) -> int:
        """Number of chunks from the first one that is not decoded."""
        return len(self._measure())

    def _measure(self) -> list[Chunk]:
        """Add up what has been decoded, once each, and give the rest."""
        while self._measured < len(self.chunks) and self.chunks[self._measured].is_decoded:
            chunk = self.chunks[self._measured]
            self._known_size += chunk.size
            self._known_alerts += chunk.alerts
            self._measured += 1
        return self.chunks[self._measured :]

    def drop(self, accounts: Iterable[str]) -> None:
        """Forget what came from partitions that were taken away; what comes from them later is kept."""
        gone = set(accounts)
        for chunk in self.chunks:
            chunk.dropped |= gone

    def require_kept(self) -> None:
        """See that it may be delivered.

        Raises
        ------
        AbandonedError
            Partitions of it are lost.
        """
        if self.lost:
            raise AbandonedError("its partitions belong to somebody else by now")

    def ends(self) -> dict[str, int]:
        """Number of the last message, by partition that is still here."""
        return {message.account: message.number for message in self._messages()}

    def starts(self) -> dict[str, int]:
        """Number of the first message, by partition that is still here."""
        starts: dict[str, int] = {}
        for message in self._messages():
            starts.setdefault(message.account, message.number)
        return starts

    def _messages(self) -> Iterator[Message]:
        for chunk in self.chunks:
            yield from (message for message in chunk.messages if message.account not in chunk.dropped)


@dataclass
class Delivery:
    """What a sink has confirmed."""

    accounts: dict[str, Account] = field(default_factory=dict)
    dead: Counter[str] = field(default_factory=Counter)
    """Dead letters by class of error."""
    bytes_out: int = 0

    def account(self, name: str) -> Account:
        """Account of a partition, opened if need be."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account()
        return account

    def count_dead(self, fate: Fate, error: PacketError) -> None:
        """Count a message that was set aside."""
        self.account(fate.message.account).dead += 1
        self.dead[type(error).__name__] += 1


class PoisonedError(XmatchError):
    """A packet that cannot be used, where the policy is to stop at one."""


class ErrorPolicy:
    """What is done with a packet that cannot be used.

    Parameters
    ----------
    name : {"dlq", "skip", "fail"}
        Set aside as a dead letter; leave out; stop.
    """

    def __init__(self, name: str = "dlq") -> None:
        self.name = name

    def sets_aside(self, message: Message, error: PacketError) -> bool:
        """Tell whether the message becomes a dead letter; otherwise it is skipped.

        Raises
        ------
        PoisonedError
            The policy is to stop.
        """
        if self.name == "fail":
            raise PoisonedError(f"cannot be used: {error}", place=message.place, hint="ERROR_POLICY is fail")
        return self.name == "dlq"


class Source(Protocol):
    """Gives messages, and is told when they are dealt with. All its methods are called from one thread."""

    commits: bool
    """Whether `settle` commits anything; with transactions the sink has done so."""
    patience: float = math.inf
    """Seconds that `release` may take."""

    def open(self, release: Callable[[set[str], bool], None]) -> None:
        """Begin.

        `release` is to be called, from within `poll`, before partitions are given up; the flag says that they are lost
        already.
        """

    def poll(self, limit: int, seconds: float) -> list[Message]:
        """Give some messages, at most `limit`, after at most so many seconds; with 0, only look after all else."""

    def pause(self) -> None:
        """Give no more messages, not of partitions that come later either, but go on being polled."""

    def resume(self) -> None:
        """Undo `pause`."""

    @property
    def finished(self) -> bool:
        """Whether all messages that there will be have been given."""

    def settle(self, flight: Flight, *, at_once: bool = False) -> bool:
        """Commit a delivered batch; called until it says that this is done.

        At once: try so from within `release`, and tell whether it worked.
        """

    def rewind(self, flight: Flight) -> None:
        """Give the messages of a batch again that was given up, as far as its partitions are still here."""

    def lag(self) -> dict[str, int]:
        """Messages that wait behind the last ones given, by partition, where known."""

    def close(self, seconds: float) -> None:
        """Leave, within so many seconds."""


class Sink(Protocol):
    """Takes what comes out of a batch. `deliver` is called from the thread that processes batches."""

    def deliver(self, flight: Flight, watch: Watcher) -> Delivery:
        """Deliver all fates of a batch, and return when every one is confirmed.

        Called again for the same batch after a `SystemFailure`; what was confirmed before is not delivered again.

        Raises
        ------
        AbandonedError
            The run is made to end, or partitions of the batch were lost before any of it was delivered.
        """

    def close(self, seconds: float) -> None:
        """Close, within so many seconds; what was not confirmed is given up."""


def alert_names(fates: Sequence[Fate]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of alerts and of objects of what goes out."""
    alerts = [alert for fate in fates if fate.packet and fate.goes_out for alert in fate.packet.alerts]
    return (
        tuple("" if alert.candid is None else str(alert.candid) for alert in alerts),
        tuple("" if alert.object_id is None else str(alert.object_id) for alert in alerts),
    )
