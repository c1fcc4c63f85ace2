"""How much of anything a packet may claim or hold before it is refused.

Real alert packets are 20-200 kB with schemas of 8-26 kB; every limit leaves an order of magnitude or more above what
surveys send, and none lets a packet of a few bytes cost more than megabytes or milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on one container; what is beyond them is refused with a `PacketError`."""

    file_bytes: int = 256 * MIB
    """Size of a container, and of all its blocks once decompressed: with the two, what one file can cost in memory."""
    metadata_entries: int = 64
    """Entries of the header's metadata map."""
    metadata_bytes: int = 2 * MIB
    """Size of the header."""
    schema_bytes: int = 1 * MIB
    """Size of the writer schema's JSON text."""
    schema_depth: int = 32
    """Types within types."""
    schema_nodes: int = 20_000
    """Types written down in the schema, and also types met when every name is replaced by what it stands for: without
    the second, n records that each hold the next one twice make 2^n fields."""
    records: int = 250_000
    """Records in a container: each costs a few hundred bytes while it is matched."""
    record_steps: int = 2_000_000
    """Steps to walk over one record, two or three a value. It bounds the memory of a decoded record to some 300 MB, and
    the time to some milliseconds."""


FILE_LIMITS = Limits()
"""For files and members of archives."""

MESSAGE_LIMITS = Limits(file_bytes=16 * MIB, records=1)
"""For messages of a stream: one record each."""
