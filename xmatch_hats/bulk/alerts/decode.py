"""From the members of a slice to their alerts, and what cannot be used of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from xmatch_hats.alerts.packet import Packet, PacketReader
from xmatch_hats.alerts.sources import RawPacket
from xmatch_hats.alerts.splice import lone_record
from xmatch_hats.bulk.alerts.columns import check_values
from xmatch_hats.bulk.alerts.slices import slice_packets
from xmatch_hats.errors import PacketError
from xmatch_hats.sphere import PositionFault

REJECT_SCHEMA = pa.schema(
    [
        pa.field("member", pa.int64()),
        pa.field("record", pa.int32()),
        pa.field("name", pa.string()),
        pa.field("source", pa.string()),
        pa.field("modified", pa.int64()),
        pa.field("error", pa.string()),
        pa.field("message", pa.string()),
        pa.field("data", pa.binary()),
    ]
)
"""Of what is set aside; `record` is null for a whole packet, `data` for what was not kept."""


@dataclass(frozen=True)
class Member:
    """One packet of a slice."""

    number: int
    """In the archive, from 0."""
    raw: RawPacket
    data: bytes
    packet: Packet


@dataclass
class Decoded:
    """The packets of a slice."""

    members: list[Member] = field(default_factory=list)
    rejects: list[dict] = field(default_factory=list)
    """As in `REJECT_SCHEMA`."""
    packets: int = 0
    """Members that were taken for packets."""
    skipped: int = 0
    """Members that are hidden or no files; folders are not counted."""

    def places(self) -> Iterator[tuple[Member, int]]:
        """Member and record of every alert, in order."""
        for member in self.members:
            for record in range(len(member.packet.alerts)):
                yield member, record

    def reject(self, member: Member, record: int, error: PacketError) -> None:
        """Set one alert aside, untouched."""
        alone = len(member.packet.alerts) == 1
        data = member.data if alone else lone_record(member.packet, member.packet.alerts[record])
        self.rejects.append(_reject(member.number, member.raw, error, data, None if alone else record))


def decode(
    data: bytes, members: int, first_member: int, place: str, reader: PacketReader, columns: Sequence[str]
) -> Decoded:
    """Read the packets of a slice.

    Parameters
    ----------
    data : bytes
    members : int
        Number of its members.
    first_member : int
        Number of the first one in the archive.
    place : str
        The archive, for people.
    reader : PacketReader
        With the paths of `columns`.
    columns : sequence of str
    """
    decoded = Decoded()
    for number, raw in slice_packets(data, members, place):
        if raw is None:
            decoded.skipped += 1
            continue
        decoded.packets += 1
        content: bytes | None = None
        try:
            content = raw.read()
            packet = reader.read(content)
            for record, alert in enumerate(packet.alerts):
                check_values(alert, columns, record)
            decoded.members.append(Member(first_member + number, raw, content, packet))
        except PacketError as error:
            decoded.rejects.append(_reject(first_member + number, raw, error, content, None))
    return decoded


def position_error(fault: int, record: int) -> PacketError:
    """Why an alert without a valid position is set aside."""
    return PacketError(f"cannot be matched: {PositionFault(fault).reason}", place=f"record {record}")


def _reject(member: int, raw: RawPacket, error: PacketError, data: bytes | None, record: int | None) -> dict:
    return {
        "member": member, "record": record, "name": raw.name, "source": raw.source, "modified": raw.modified,
        "error": type(error).__name__, "message": str(error), "data": data,
    }  # fmt: skip
