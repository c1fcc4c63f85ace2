"""From the bytes of a packet to its alerts: checked, located, not decoded."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from xmatch_hats.alerts.binary import read_bytes, read_long
from xmatch_hats.alerts.container import SYNC_BYTES, Block, Header, header_bytes, read_blocks, read_header
from xmatch_hats.alerts.limits import FILE_LIMITS, Limits
from xmatch_hats.alerts.plan import FieldPaths, PlanCache, WriterPlan, make_plan
from xmatch_hats.alerts.program import Slot
from xmatch_hats.alerts.walk import FAULTS, walk
from xmatch_hats.errors import PacketError

_RECENT_HEADERS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Alert:
    """One record of a packet: where its bytes are, and what the crossmatch needs of them."""

    data: bytes
    """What holds the record, at ``data[start:end]``."""
    start: int
    end: int
    cut: tuple[int, int] | None
    """Where the record has an `xmatches` already."""
    ra: float
    """Degrees; NaN where the record has none."""
    dec: float
    """Degrees; NaN where the record has none."""
    object_id: str | int | None
    candid: str | int | None
    extra: tuple[float | int | str | None, ...] = ()
    """Values of `FieldPaths.extra`, in that order; None where missing, null, or neither number nor string."""

    def chunks(self) -> list[bytes | memoryview]:
        """Bytes of the record without `xmatches`, as views: they are copied where the new packet is put together."""
        view = memoryview(self.data)
        if self.cut is None:
            return [view[self.start : self.end]]
        return [view[self.start : self.cut[0]], view[self.cut[1] : self.end]]

    def original(self) -> memoryview:
        """Bytes of the record as it came."""
        return memoryview(self.data)[self.start : self.end]


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """A container, or a bare record as the container that it becomes: its writer's plan, its alerts."""

    header: Header
    plan: WriterPlan
    sync: bytes
    alerts: list[Alert]
    """All alerts, in order."""
    blocks: tuple[int, ...]
    """Number of alerts in each block."""
    size: int
    """Bytes that it holds in memory."""


class PacketReader:
    """Reads packets one after the other, remembering the writer schemas it has met; one thread at a time may use it.

    Parameters
    ----------
    paths : FieldPaths, optional
        Where records keep their position and names; default as ZTF has them.
    limits : Limits, optional
        Default for files; a stream's messages have tighter ones.
    """

    def __init__(self, paths: FieldPaths | None = None, limits: Limits = FILE_LIMITS) -> None:
        self.limits = limits
        self._paths = paths or FieldPaths()
        self._plans = PlanCache(lambda text: make_plan(text, self._paths, self.limits))
        self._recent: list[tuple[bytes, Header, WriterPlan]] = []
        self._bare_headers: WeakKeyDictionary[WriterPlan, Header] = WeakKeyDictionary()
        self._found: WeakKeyDictionary[WriterPlan, _Values] = WeakKeyDictionary()
        self._packets = 0

    @property
    def schema_cache(self) -> tuple[int, int]:
        """How many packets so far had a schema that was known, and how many a new one."""
        return self._packets - self._plans.misses, self._plans.misses

    def read(self, data: bytes) -> Packet:
        """Read one packet, every byte of it checked.

        Parameters
        ----------
        data : bytes
            An Avro object container.

        Returns
        -------
        Packet
            It refers to `data`, or to its decompressed blocks; no record is copied.

        Raises
        ------
        PacketError
            The packet is not a container of records that can be walked over from end to end. Nothing else is raised,
            whatever the bytes.
        """
        self._check_size(data)
        header, plan = self._header(data)
        alerts: list[Alert] = []
        blocks, size = [], len(data)
        for block in read_blocks(data, header, self.limits):
            alerts += self._alerts(block, plan, f"block at byte {block.start}")
            blocks.append(block.count)
            size += 0 if block.data is data else len(block.data)
        return Packet(header, plan, data[header.size : header.size + SYNC_BYTES], alerts, tuple(blocks), size)

    def read_record(self, schema: bytes, data: bytes, start: int = 0) -> Packet:
        """Read one bare record, every byte of it checked, as the uncompressed container that it becomes.

        Parameters
        ----------
        schema : bytes
            JSON text of its writer schema.
        data : bytes
            What the record fills from `start` to the end.
        start : int, optional

        Returns
        -------
        Packet
            It refers to `data`. Its header is the same object for all records of a schema; its sync marker is a digest
            of the record, so that the same record always becomes the same container.

        Raises
        ------
        PacketError
            The schema is not allowed, or the bytes are not one record of it. Nothing else is raised, whatever the
            bytes.
        """
        self._check_size(data)
        plan = self._plans.get(schema)
        header = self._bare_headers.get(plan)
        if header is None:
            metadata = {"avro.schema": schema, "avro.codec": b"null"}
            header = self._bare_headers[plan] = Header(metadata, "null", schema, len(header_bytes(metadata)))
        alerts = self._alerts(Block(data, start, len(data), 1), plan, "message")
        sync = hashlib.blake2b(memoryview(data)[start:], digest_size=SYNC_BYTES).digest()
        return Packet(header, plan, sync, alerts, (1,), len(data))

    def _check_size(self, data: bytes) -> None:
        self._packets += 1
        if len(data) > self.limits.file_bytes:
            raise PacketError(f"has {len(data)} bytes; at most {self.limits.file_bytes} are read")

    def _header(self, data: bytes) -> tuple[Header, WriterPlan]:
        # A stream repeats a header of 25 kB in every packet: comparing it costs a microsecond, reading it thirty.
        for number, (text, header, plan) in enumerate(self._recent):
            if data.startswith(text) and len(data) >= header.size + SYNC_BYTES:
                if number:
                    self._recent.insert(0, self._recent.pop(number))
                return header, plan
        header = read_header(data, self.limits)
        plan = self._plans.get(header.schema)
        self._recent.insert(0, (data[: header.size], header, plan))
        del self._recent[_RECENT_HEADERS:]
        return header, plan

    def _alerts(self, block: Block, plan: WriterPlan, place: str) -> list[Alert]:
        code, values = plan.program.code, self._values(plan)
        data = np.frombuffer(block.data, dtype=np.uint8)
        marks = np.empty(len(plan.program.slots), dtype=np.int64)
        alerts, position = [], block.start
        for number in range(block.count):
            start = position
            position = walk(code, data, start, block.end, marks, self.limits.record_steps)
            if position < 0:
                raise PacketError(FAULTS[position], place=f"record {number} of the {place}")
            alerts.append(values.alert(block.data, start, position, marks.tolist()))
        if position != block.end:
            raise PacketError(f"has {block.end - position} bytes that belong to no record", place=place)
        return alerts

    def _values(self, plan: WriterPlan) -> _Values:
        values = self._found.get(plan)
        if values is None:
            values = self._found[plan] = _Values(plan.program.slots, self._paths)
        return values


_Reader = Callable[[bytes, int], float | int | str]
_Places = tuple[tuple[int, _Reader], ...]
"""Slots that a value may be in, for the branches of unions are a slot each, and how it is read there."""


class _Values:
    """What the crossmatch needs of a record, found by the marks of a walk."""

    def __init__(self, slots: tuple[Slot, ...], paths: FieldPaths) -> None:
        def places(path: str) -> _Places:
            kinds = [(number, slot.kind) for number, slot in enumerate(slots) if slot.path == path]
            return tuple([(number, _READERS[kind]) for number, kind in kinds if kind in _READERS])

        self._ra, self._dec = places(paths.ra), places(paths.dec)
        self._object_id = [places(path) for path in paths.object_id]
        self._candid = [places(path) for path in paths.candid]
        self._extra = [places(path) for path in paths.extra]
        ends = {slot.kind: number for number, slot in enumerate(slots) if slot.kind in ("start", "end")}
        self._cut = (ends["start"], ends["end"]) if ends else None

    def alert(self, data: bytes, start: int, end: int, marks: list[int]) -> Alert:
        ra, dec = _value(self._ra, data, marks), _value(self._dec, data, marks)
        return Alert(
            data,
            start,
            end,
            None if self._cut is None else (marks[self._cut[0]], marks[self._cut[1]]),
            math.nan if ra is None else float(ra),
            math.nan if dec is None else float(dec),
            _first_name(self._object_id, data, marks),
            _first_name(self._candid, data, marks),
            tuple([_value(places, data, marks) for places in self._extra]),
        )


def _value(places: _Places, data: bytes, marks: list[int]) -> float | int | str | None:
    for number, read in places:
        if marks[number] >= 0:
            return read(data, marks[number])
    return None


def _first_name(names: list[_Places], data: bytes, marks: list[int]) -> str | int | None:
    for places in names:
        value = _value(places, data, marks)
        if isinstance(value, str | int):
            return value
    return None


_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def _double(data: bytes, position: int) -> float:
    return float(_DOUBLE.unpack_from(data, position)[0])


def _float(data: bytes, position: int) -> float:
    return float(_FLOAT.unpack_from(data, position)[0])


def _integer(data: bytes, position: int) -> int:
    return read_long(data, position, len(data))[0]


def _string(data: bytes, position: int) -> str:
    return read_bytes(data, position, len(data))[0].decode()


_READERS: dict[str, _Reader] = {
    "double": _double,
    "float": _float,
    "int": _integer,
    "long": _integer,
    "string": _string,
}
