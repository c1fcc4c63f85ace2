"""From the bytes of a packet to its alerts: checked, located, not decoded."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.alerts.binary import read_bytes, read_long
from xmatch_hats.alerts.container import SYNC_BYTES, Block, Header, header_bytes, read_blocks, read_header
from xmatch_hats.alerts.limits import FILE_LIMITS, Limits
from xmatch_hats.alerts.plan import FieldPaths, PlanCache, WriterPlan, make_plan
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
    """A container, or a bare record as the container that it becomes: its writer's plan, its alerts block by block."""

    header: Header
    plan: WriterPlan
    sync: bytes
    blocks: tuple[tuple[Alert, ...], ...]
    size: int
    """Bytes that it holds in memory."""

    @property
    def alerts(self) -> list[Alert]:
        """All alerts, in order."""
        return [alert for block in self.blocks for alert in block]


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
        blocks, size = [], len(data)
        for block in read_blocks(data, header, self.limits):
            blocks.append(tuple(self._alerts(block, plan, f"block at byte {block.start}")))
            size += 0 if block.data is data else len(block.data)
        return Packet(header, plan, data[header.size : header.size + SYNC_BYTES], tuple(blocks), size)

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
        alerts = tuple(self._alerts(Block(data, start, len(data), 1), plan, "message"))
        sync = hashlib.blake2b(memoryview(data)[start:], digest_size=SYNC_BYTES).digest()
        return Packet(header, plan, sync, (alerts,), len(data))

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

    def _alerts(self, block: Block, plan: WriterPlan, place: str) -> Iterator[Alert]:
        code, slots = plan.program.code, plan.program.slots
        data = np.frombuffer(block.data, dtype=np.uint8)
        marks = np.empty(len(slots), dtype=np.int64)
        position = block.start
        for number in range(block.count):
            start = position
            position = walk(code, data, start, block.end, marks, self.limits.record_steps)
            if position < 0:
                raise PacketError(FAULTS[position], place=f"record {number} of the {place}")
            yield self._alert(block.data, start, position, plan, marks)
        if position != block.end:
            raise PacketError(f"has {block.end - position} bytes that belong to no record", place=place)

    def _alert(self, data: bytes, start: int, end: int, plan: WriterPlan, marks: NDArray[np.int64]) -> Alert:
        found: dict[str, float | int | str | None] = {}
        span: dict[str, int] = {}
        for slot, position in zip(plan.program.slots, marks.tolist(), strict=True):
            if position < 0:
                continue
            if slot.kind in ("start", "end"):
                span[slot.kind] = position
            elif slot.kind in _READERS:
                found[slot.path] = _READERS[slot.kind](data, position)
        paths = self._paths
        ra, dec = found.get(paths.ra), found.get(paths.dec)
        return Alert(
            data,
            start,
            end,
            (span["start"], span["end"]) if span else None,
            math.nan if ra is None else float(ra),
            math.nan if dec is None else float(dec),
            _first_name(found, paths.object_id),
            _first_name(found, paths.candid),
            tuple([found.get(path) for path in paths.extra]) if paths.extra else (),
        )


def _first_name(found: dict[str, float | int | str | None], paths: tuple[str, ...]) -> str | int | None:
    return next((value for path in paths if isinstance(value := found.get(path), str | int)), None)


_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


def _double(data: bytes, position: int) -> float:
    return float(_DOUBLE.unpack_from(data, position)[0])


def _float(data: bytes, position: int) -> float:
    return float(_FLOAT.unpack_from(data, position)[0])


def _integer(data: bytes, position: int) -> int:
    return read_long(data, position, len(data))[0]


def _string(data: bytes, position: int) -> str:
    return read_bytes(data, position, len(data))[0].decode()


_READERS: dict[str, Callable[[bytes, int], float | int | str]] = {
    "double": _double,
    "float": _float,
    "int": _integer,
    "long": _integer,
    "string": _string,
}
