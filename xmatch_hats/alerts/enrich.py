"""Packets in, packets with ``xmatches`` out. Nothing here knows of files or streams.

Whoever uses it reads bytes from somewhere, has them decoded, hands over decoded packets in batches, and writes or sends
what comes back. A packet that cannot be used never disturbs the others; a catalogue that cannot be searched fails the
whole batch, so that nothing is called unmatched for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.alerts.packet import Alert, Packet
from xmatch_hats.alerts.splice import Chunks, Output, assemble
from xmatch_hats.alerts.xmatches import XmatchesEncoder, encode_xmatches
from xmatch_hats.errors import PacketError
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import MatchStatus, combine_statuses
from xmatch_hats.sphere import PositionFault


class Matcher(Protocol):
    """What `xmatch_hats.matching.crossmatcher.Crossmatcher` offers."""

    @property
    def targets(self) -> Sequence[Any]:
        """The catalogues: `name`, `copy` and the `schema` of the answers."""

    def match(self, ra: Any, dec: Any) -> Mapping[str, MatchResult]:
        """Match positions, degrees, against every catalogue."""


@dataclass(frozen=True)
class Outcome:
    """What became of one packet."""

    chunks: Chunks | None
    """Pieces of the new packet, None if none of its alerts goes on: views of the old one mostly, so that every byte is
    copied once, where the packet is written or sent."""
    status: NDArray[np.uint8]
    """`MatchStatus` of each alert over all catalogues."""
    by_catalog: dict[str, NDArray[np.uint8]]
    """The same for each catalogue."""
    rejects: dict[int, PacketError] = field(default_factory=dict)
    """Why alerts were rejected, by their number in the packet."""

    @property
    def data(self) -> bytes | None:
        """The new packet, joined anew each time it is asked for."""
        return None if self.chunks is None else b"".join(self.chunks)

    @property
    def size(self) -> int:
        """Bytes of the new packet."""
        return sum(map(len, self.chunks or ()))


@dataclass(frozen=True)
class Matched:
    """Packets whose alerts have been matched."""

    packets: Sequence[Packet]
    alerts: list[Alert]
    """Of all packets, in order."""
    answers: list[Mapping[str, MatchResult]]
    """By catalogue, to `size` alerts at a time."""
    size: int


class Enricher:
    """Matches the alerts of packets, and encodes them anew.

    Parameters
    ----------
    matcher : Matcher
        It answers with the nearest row of each catalogue at least.
    output : Output
        The form that packets leave in.
    columns : mapping of str to sequence of str, optional
        By catalogue, the columns of the answers that go into ``xmatches``; by default all that are answered with.

    Raises
    ------
    UsageError
        A column of a catalogue has no form on the wire.
    """

    def __init__(self, matcher: Matcher, output: Output, columns: Mapping[str, Sequence[str]] | None = None) -> None:
        self.output = output
        self.targets = tuple(matcher.targets)
        self._matcher = matcher
        self._encoders = {
            target.name: XmatchesEncoder(target.name, _wire_schema(target, columns), _wire_names(target))
            for target in self.targets
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the catalogues."""
        return tuple(self._encoders)

    @property
    def nulled(self) -> dict[str, int]:
        """By catalogue, how many values so far became null because a 32-bit float cannot hold them."""
        return {name: encoder.nulled for name, encoder in self._encoders.items()}

    def match(self, packets: Sequence[Packet], max_positions: int | None = None) -> Matched:
        """Match the alerts of packets.

        Parameters
        ----------
        packets : sequence of Packet
        max_positions : int, optional
            Positions to match at once; default all.

        Raises
        ------
        PartitionReadError
            A partition that is needed cannot be read.
        """
        alerts = [alert for packet in packets for alert in packet.alerts]
        ra = np.array([alert.ra for alert in alerts], dtype=np.float64)
        dec = np.array([alert.dec for alert in alerts], dtype=np.float64)
        size = max_positions or max(len(alerts), 1)
        answers = [self._matcher.match(ra[i : i + size], dec[i : i + size]) for i in range(0, len(alerts), size)]
        return Matched(packets, alerts, answers, size)

    def encode(self, matched: Matched) -> Iterator[Outcome]:
        """Encode packets one by one as the outcomes are asked for: one for each packet, in order."""
        unions = [union for answer in matched.answers for union in self._unions(answer)]
        # A position is a position for every catalogue alike.
        faults = _joined([next(iter(answer.values())).faults for answer in matched.answers])
        statuses = {name: _joined([answer[name].status for answer in matched.answers]) for name in self._encoders}
        combined = combine_statuses(list(statuses.values()))
        return self._encode_all(matched.packets, unions, faults.tolist(), combined, statuses)

    def _encode_all(
        self,
        packets: Sequence[Packet],
        unions: Sequence[bytes],
        faults: Sequence[int],
        combined: NDArray[np.uint8],
        statuses: dict[str, NDArray[np.uint8]],
    ) -> Iterator[Outcome]:
        first = 0
        for packet in packets:
            own = slice(first, first + len(packet.alerts))
            chunks, rejects = self._encode(packet, unions[own], faults[own])
            if rejects:
                for status in (combined, *statuses.values()):
                    status[own][list(rejects)] = MatchStatus.REJECTED
            yield Outcome(chunks, combined[own], {name: status[own] for name, status in statuses.items()}, rejects)
            first = own.stop

    def _unions(self, answer: Mapping[str, MatchResult]) -> list[bytes]:
        entries = [encoder.encode(answer[name]) for name, encoder in self._encoders.items()]
        return [encode_xmatches(entries, row) for row in range(next(iter(answer.values())).num_positions)]

    def _encode(
        self, packet: Packet, unions: Sequence[bytes], faults: Sequence[int]
    ) -> tuple[Chunks | None, dict[int, PacketError]]:
        """Encode a packet's alerts but for those that cannot be: the new packet, and why they cannot."""
        records: list[Chunks | None] = []
        rejects: dict[int, PacketError] = {}
        try:
            header, encode = self.output.begin(packet)
        except PacketError as error:
            return None, dict.fromkeys(range(len(packet.alerts)), error)
        for number, (alert, union, fault) in enumerate(zip(packet.alerts, unions, faults, strict=True)):
            records.append(None)
            try:
                if fault:
                    raise PacketError(f"cannot be matched: {PositionFault(fault).reason}", place=f"record {number}")
                records[-1] = encode(alert, union)
            except PacketError as error:
                rejects[number] = error
        goes_on = len(rejects) < len(packet.alerts) or not packet.alerts
        return assemble(header, packet, records) if goes_on else None, rejects


def _joined(parts: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint8)


def _wire_schema(target: Any, columns: Mapping[str, Sequence[str]] | None) -> pa.Schema:
    if columns is None or target.name not in columns:
        return target.schema
    return pa.schema([target.schema.field(name) for name in columns[target.name]])


def _wire_names(target: Any) -> dict[str, str]:
    definition = target.copy.definition
    if definition is None:
        return {}
    return {name: definition.vizier_name(name) for name in target.schema.names}
