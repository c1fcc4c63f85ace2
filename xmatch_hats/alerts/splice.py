"""New packets out of old ones: the record's bytes as they are, the encoded union behind them.

``xmatches`` is the record's last field, so nothing before it changes, and a record is never decoded. This holds for
every packet that has been walked over: the ends of all records are known, in however many blocks, compressed or not,
and where an old ``xmatches`` lies. The bytes are those that decoding and encoding the whole record would give, except
where that would lose something (the payload of a NaN, how a writer cut an array into blocks).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from xmatch_hats.alerts.container import Header, block_chunks, header_bytes
from xmatch_hats.alerts.packet import Alert, Packet

Chunks = list[bytes | memoryview]
"""Pieces of a record or of a packet, to be joined."""


RecordEncoder = Callable[[Alert, bytes], Chunks]
"""From an alert and its encoded `xmatches` to the bytes of its new record; it raises PacketError if it has none."""


class Output(Protocol):
    """A form that packets leave in."""

    dropped: Counter[str]
    """Dotted paths of source fields that the form cannot hold, by the number of alerts that had them."""

    def begin(self, packet: Packet) -> tuple[bytes, RecordEncoder]:
        """Prepare for the alerts of a packet.

        Returns
        -------
        header : bytes
            Header of the new packet, up to the sync marker.
        encode : RecordEncoder

        Raises
        ------
        PacketError
            The packet has no place in this form.
        """


class InputOutput:
    """Packets under their own writer schema, plus ``xmatches`` as the last field; one that was there is replaced."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._headers: WeakKeyDictionary[Header, bytes] = WeakKeyDictionary()

    def begin(self, packet: Packet) -> tuple[bytes, RecordEncoder]:
        """Give the header with the extended schema, all other metadata as it was, and what splices."""
        header = self._headers.get(packet.header)
        if header is None:
            metadata = packet.header.metadata | {"avro.schema": packet.plan.extended_schema}
            header = self._headers[packet.header] = header_bytes(metadata)
        return header, _splice


def _splice(alert: Alert, union: bytes) -> Chunks:
    return [*alert.chunks(), union]


def assemble(header: bytes, packet: Packet, records: Sequence[Chunks | None]) -> Chunks:
    """Put a new packet together, in the old one's codec, blocks and sync marker.

    Parameters
    ----------
    header : bytes
        Up to the sync marker.
    packet : Packet
        The old packet.
    records : sequence of list of bytes, or None
        One for each alert of `packet`, in order; None leaves it out.

    Returns
    -------
    list of bytes
        Its pieces, to be joined or written one behind the other: what is not compressed has not been copied yet.
    """
    chunks: Chunks = [header, packet.sync]
    first = 0
    for count in packet.blocks:
        kept = [record for record in records[first : first + count] if record is not None]
        first += count
        if kept:
            pieces = kept[0] if len(kept) == 1 else [piece for record in kept for piece in record]
            chunks += block_chunks(len(kept), pieces, packet.header.codec, packet.sync)
    return chunks


def lone_record(packet: Packet, alert: Alert) -> bytes:
    """One alert as a packet of its own under its old schema, its bytes unchanged: how it is set aside."""
    block = block_chunks(1, [alert.original()], packet.header.codec, packet.sync)
    return b"".join((header_bytes(packet.header.metadata), packet.sync, *block))
