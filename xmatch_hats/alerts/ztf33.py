"""Any ZTF alert as one of version 3.3, field by field.

Fields go by name. What a source lacks is taken from its nearest field where it has one (2018 packets tell of one
neighbour, later ones of three), else it is null where it may be, else ``""`` or 0. ``schemavsn`` tells the version of
the source's schema. What 3.3 has no field for is dropped and counted: forced photometry (``fp_hists`` of 4.x, the
``prv_candidates`` fields of 3.4 and 3.5), ``alertId`` and the first catalogue names of 2018, whatever brokers add.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import fastavro

from xmatch_hats.alerts.binary import encode_bytes, encode_long, read_bytes
from xmatch_hats.alerts.container import header_bytes
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.packet import Alert, Packet
from xmatch_hats.alerts.plan import XMATCHES, WriterPlan
from xmatch_hats.alerts.schema import Node, parse_schema, plain_schema
from xmatch_hats.alerts.splice import Chunks, RecordEncoder
from xmatch_hats.alerts.ztf33_schema import SCHEMA, SCHEMA_TEXT
from xmatch_hats.errors import PacketError

NEAREST_FIELDS = {
    "candid": "candidate.candid",
    "candidate.sgmag1": "candidate.sgmag",
    "candidate.srmag1": "candidate.srmag",
    "candidate.simag1": "candidate.simag",
    "candidate.szmag1": "candidate.szmag",
    "candidate.sgscore1": "candidate.sgscore",
    "candidate.distpsnr1": "candidate.distpsnr",
}
"""Fields of 3.3 that an older packet, or a broker's, has under another name or in another place."""

_ROOT = parse_schema(SCHEMA, FILE_LIMITS)
_SKIPPED = frozenset({XMATCHES})
_PLAIN = json.dumps(plain_schema(_ROOT, _SKIPPED))
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_FLOAT_MAX = float.fromhex("0x1.fffffefffffffp+127")
"""The largest double that rounds to a finite 32-bit float."""


class Ztf33Output:
    """Packets as version 3.3, whatever they came as.

    Attributes
    ----------
    dropped : Counter of str
        Dotted paths of source fields that 3.3 cannot hold, by the number of alerts that had them.
    """

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self._converters: WeakKeyDictionary[WriterPlan, _Converter] = WeakKeyDictionary()

    def begin(self, packet: Packet) -> tuple[bytes, RecordEncoder]:
        """Give the header with the schema of 3.3, all other metadata as it was, and what converts.

        Raises
        ------
        PacketError
            The packet has no field ``candidate``, so it is not one of ZTF.
        """
        converter = self._converters.get(packet.plan)
        if converter is None:
            converter = self._converters[packet.plan] = _Converter(packet.plan)
        header = header_bytes(packet.header.metadata | {"avro.schema": SCHEMA_TEXT})
        return header, lambda alert, union: [*converter.convert(alert, self.dropped), union]


class _Converter:
    """From one writer schema to 3.3."""

    def __init__(self, plan: WriterPlan) -> None:
        if plan.root.field("candidate") is None:
            raise PacketError("cannot become ztf-3.3: its schema has no field candidate")
        self._version = plan.version
        plain = plain_schema(plan.root, _SKIPPED)
        self._is_same = json.dumps(plain) == _PLAIN
        self._schema = fastavro.parse_schema(plain)
        self._dropped = sorted(_unknown_fields(plan.root, _ROOT, ""))

    def convert(self, alert: Alert, dropped: Counter[str]) -> Chunks:
        dropped.update(self._dropped)
        if self._is_same and self._version in (None, _first_string(alert)):
            return alert.chunks()
        try:
            record = fastavro.schemaless_reader(io.BytesIO(b"".join(alert.chunks())), self._schema)
        except (EOFError, IndexError, ValueError, MemoryError) as error:
            raise PacketError(f"cannot be decoded: {error or type(error).__name__}") from error
        if not isinstance(record.get("candidate"), dict):
            raise PacketError("cannot become ztf-3.3: its candidate is null")
        _fill_from_nearest(record)
        record["schemavsn"] = self._version or record.get("schemavsn")
        lost: set[str] = set()
        encoded = b"".join(encode(record.get(name), lost) for name, encode in _FIELDS if name != XMATCHES)
        dropped.update(lost)
        return [encoded]


def _first_string(alert: Alert) -> str:
    # What comes first may be an old xmatches, which does not count.
    start = alert.cut[1] if alert.cut is not None and alert.cut[0] == alert.start else alert.start
    return read_bytes(alert.data, start, alert.end)[0].decode()


def _fill_from_nearest(record: dict[str, Any]) -> None:
    for target, source in NEAREST_FIELDS.items():
        (*folder, name), (*source_folder, source_name) = target.split("."), source.split(".")
        into, whence = (record["candidate"] if place else record for place in (folder, source_folder))
        if into.get(name) is None and whence.get(source_name) is not None:
            into[name] = whence[source_name]


def _unknown_fields(source: Node, target: Node, path: str) -> set[str]:
    """Dotted paths of the fields of a source that a target does not have, through unions, arrays and maps."""
    used = {place for place in NEAREST_FIELDS.values() if "." in place}
    unknown: set[str] = set()
    for record in _records(source):
        for name, node in record.fields:
            place = f"{path}.{name}" if path else name
            child = next((found for other in _records(target) if (found := other.field(name)) is not None), None)
            if child is not None:
                unknown |= _unknown_fields(node, child, place)
            elif place not in used and place != XMATCHES:
                unknown.add(place)
    return unknown


def _records(node: Node) -> list[Node]:
    if node.kind == "record":
        return [node]
    return [record for item in node.items for record in _records(item)]


Encoder = Callable[[Any, set[str]], bytes]
"""From a value, None for none, to its bytes; the path of a value that was lost goes into the set."""


@dataclass(frozen=True)
class _Scalar:
    """Encodes numbers, strings and bytes."""

    path: str
    encode: Callable[[Any], bytes | None]
    """Gives None for a value that has no place in the type."""
    present: bytes
    """What stands before a value."""
    missing: bytes
    """What stands for no value."""

    def __call__(self, value: Any, lost: set[str]) -> bytes:
        if value is None:
            return self.missing
        encoded = self.encode(value)
        if encoded is None:
            lost.add(self.path)
            return self.missing
        return self.present + encoded


def _float(value: Any) -> bytes | None:
    if not isinstance(value, int | float):
        return None
    number = float(value)
    if abs(number) > _FLOAT_MAX:
        # As rounding has it: what is beyond the type is infinite.
        number = math.copysign(math.inf, number)
    return _FLOAT.pack(number)


def _double(value: Any) -> bytes | None:
    return _DOUBLE.pack(float(value)) if isinstance(value, int | float) else None


def _integer(bits: int) -> Callable[[Any], bytes | None]:
    def encode(value: Any) -> bytes | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or not -(1 << bits - 1) <= value < 1 << bits - 1:
            return None
        return encode_long(value)

    return encode


def _string(value: Any) -> bytes | None:
    if isinstance(value, bool):
        # isdiffpos, the one flag that is a string, knows 1 and 0.
        value = int(value)
    return encode_bytes(str(value).encode()) if isinstance(value, str | int | float) else None


def _bytes(value: Any) -> bytes | None:
    return encode_bytes(value) if isinstance(value, bytes) else None


_SCALARS: dict[str, tuple[Callable[[Any], bytes | None], Any]] = {
    "float": (_float, 0),
    "double": (_double, 0),
    "int": (_integer(32), 0),
    "long": (_integer(64), 0),
    "string": (_string, ""),
    "bytes": (_bytes, b""),
}


def _encoder(node: Node, path: str) -> Encoder:
    if node.kind == "union":
        return _nullable(node.items[0], path)
    if node.kind == "record":
        return _record(node, path)
    if node.kind == "array":
        return _array(node.items[0], path)
    encode, default = _SCALARS[node.kind]
    return _Scalar(path, encode, b"", encode(default) or b"")


def _nullable(node: Node, path: str) -> Encoder:
    present, missing = encode_long(0), encode_long(1)
    if node.kind in _SCALARS:
        return _Scalar(path, _SCALARS[node.kind][0], present, missing)
    encode, kind = _encoder(node, path), dict if node.kind == "record" else list

    def optional(value: Any, lost: set[str]) -> bytes:
        if isinstance(value, kind):
            return present + encode(value, lost)
        if value is not None:
            lost.add(path)
        return missing

    return optional


def _record(node: Node, path: str) -> Encoder:
    fields = _record_fields(node, path)

    def encode(value: Any, lost: set[str]) -> bytes:
        return b"".join([field(value.get(name), lost) for name, field in fields])

    return encode


def _array(item: Node, path: str) -> Encoder:
    encode_item = _encoder(item, path)

    def encode(value: Any, lost: set[str]) -> bytes:
        records = [record for record in value if isinstance(record, dict)]
        if len(records) < len(value):
            lost.add(path)
        count = encode_long(len(records)) if records else b""
        return b"".join((count, *(encode_item(record, lost) for record in records), encode_long(0)))

    return encode


def _record_fields(node: Node, path: str) -> list[tuple[str, Encoder]]:
    return [
        (name, _encoder(child, f"{path}.{name}" if path else name)) for name, child in node.fields if name != XMATCHES
    ]


_FIELDS = _record_fields(_ROOT, "")
