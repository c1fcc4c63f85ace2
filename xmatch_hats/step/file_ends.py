"""Files as the ends of the loop: packets one by one, a folder or an archive of them, and a folder of rejects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from typing_extensions import override

from xmatch_hats.alerts.rejects import Rejects
from xmatch_hats.alerts.sinks import Sink as PacketSink
from xmatch_hats.alerts.sources import PacketSources, RawPacket
from xmatch_hats.alerts.splice import lone_record
from xmatch_hats.errors import PacketError
from xmatch_hats.step.flight import Delivery, ErrorPolicy, Fate, Flight, Message, Sink, Source, Watcher
from xmatch_hats.step.waiting import AbandonedError, Stop

logger = logging.getLogger(__name__)

ACCOUNT = "files"
"""All packets of files are counted together."""


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """Which packet a message was."""

    raw: RawPacket
    is_kept: bool
    """Whether its bytes could be read."""

    def __str__(self) -> str:
        return self.raw.source


class FileSource(Source):
    """Gives the packets of files, folders and archives, one at a time: nobody knows what the next one unpacks to."""

    commits = False

    def __init__(self, sources: PacketSources) -> None:
        self._packets: Iterator[RawPacket] = iter(sources)
        self._given = 0
        self._finished = False

    @property
    @override
    def finished(self) -> bool:
        """Whether the last packet has been given."""
        return self._finished

    @override
    def open(self, release: Callable[[set[str], bool], None]) -> None:
        """Nothing is ever taken away from a reader of files."""

    @override
    def poll(self, limit: int, seconds: float) -> list[Message]:
        """Read one packet, if any are wanted."""
        if limit < 1:
            return []
        raw = next(self._packets, None)
        if raw is None:
            self._finished = True
            return []
        self._given += 1
        try:
            return [Message(raw.read(), ACCOUNT, self._given, FileOrigin(raw, True))]
        except PacketError as error:
            return [Message(b"", ACCOUNT, self._given, FileOrigin(raw, False), error)]

    @override
    def pause(self) -> None:
        """Files wait by themselves."""

    @override
    def resume(self) -> None:
        """Files wait by themselves."""

    @override
    def lag(self) -> dict[str, int]:
        """How much is left nobody knows."""
        return {}

    @override
    def close(self, seconds: float) -> None:
        """Nothing stays open."""

    @override
    def settle(self, flight: Flight, *, at_once: bool = False) -> bool:
        """Nothing is noted of what has been read: a run that is cut short leaves no output."""
        return True

    @override
    def rewind(self, flight: Flight) -> None:
        """Give up: packets of an archive cannot be read twice."""
        raise AbandonedError("the run was given up")


class FileSink(Sink):
    """Writes packets into a folder or an archive, and those that cannot be used into a folder of rejects.

    Parameters
    ----------
    packets : Sink
    rejects : Rejects
    policy : ErrorPolicy, optional
    progress : callable, optional
        Called with the number of alerts done since the last call.
    stop : Stop, optional
        Between two packets it may tell that the run is given up.
    """

    def __init__(
        self,
        packets: PacketSink,
        rejects: Rejects,
        policy: ErrorPolicy | None = None,
        progress: Callable[[int], None] | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._packets = packets
        self._rejects = rejects
        self._policy = policy or ErrorPolicy()
        self._progress = progress or (lambda _: None)
        self._stop = stop or Stop()

    @override
    def deliver(self, flight: Flight, watch: Watcher) -> Delivery:
        """Write the packets of a batch."""
        delivery = Delivery()
        for fate in flight.fates:
            if self._stop.abandoned.is_set():
                # What is written is removed by then, or about to be.
                raise AbandonedError("the run was given up")
            self._write(fate, delivery)
            self._progress(fate.alerts)
        return delivery

    def _write(self, fate: Fate, delivery: Delivery) -> None:
        account = delivery.account(fate.message.account)
        if fate.outcome is not None and fate.outcome.chunks is not None:
            raw = fate.message.origin.raw
            self._packets.write(raw.name, fate.outcome.chunks, raw.modified)
            delivery.bytes_out += fate.outcome.size
            account.out += 1
            self._set_aside_records(fate)
        elif fate.error is not None and self._set_aside(fate):
            delivery.count_dead(fate, fate.error)
        else:
            account.skipped += 1

    def _set_aside(self, fate: Fate) -> bool:
        """Set a whole packet aside, as it came if there is one reason for all of it."""
        assert fate.error is not None
        if not self._policy.sets_aside(fate.message, fate.error):
            return False
        reasons = fate.outcome.rejects.values() if fate.outcome is not None else (fate.error,)
        if len(set(map(id, reasons))) == 1:
            self._reject(fate, fate.message.data, fate.error)
        else:
            self._set_aside_records(fate)
        return True

    def _set_aside_records(self, fate: Fate) -> None:
        if fate.packet is None or fate.outcome is None:
            return
        for number, error in fate.outcome.rejects.items():
            if self._policy.sets_aside(fate.message, error):
                self._reject(fate, lone_record(fate.packet, fate.packet.alerts[number]), error, number)

    def _reject(self, fate: Fate, data: bytes, error: PacketError, record: int | None = None) -> None:
        raw, kept = fate.message.origin.raw, fate.message.origin.is_kept
        logger.warning("rejected %s%s: %s", raw.source, "" if record is None else f" record {record}", error)
        self._rejects.add(
            raw.name, data if kept else None, error, source=raw.source, modified=raw.modified, record=record
        )

    @override
    def close(self, seconds: float) -> None:
        """Whoever opened the folder or the archive, and the rejects, closes them."""
