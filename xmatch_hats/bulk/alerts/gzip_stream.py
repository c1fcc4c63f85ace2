"""Gzip files read forward, with points on the way from which reading can begin again.

The result of reading from a point is that of reading from the beginning, damage and checksums included: a point carries
the checksum of what precedes it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xmatch_hats.bulk.alerts.inflate import Border, Inflater, can_begin_anywhere, make_inflater

SPACING = 16 << 20
"""Decompressed bytes between points: a tenth of a second of work, for 32 KiB, a five-hundredth of it."""
_READ_BYTES = 1 << 20
_TRAILER = 8


@dataclass(frozen=True)
class Point:
    """A place of a gzip file from which it can be read."""

    offset: int
    """Bytes that precede it, decompressed."""
    position: int
    """Bytes that precede it in the file; the next one is the first to be read."""
    border: Border | None
    """None where a gzip member begins."""
    checksum: int = 0
    """CRC-32 of what precedes it in its gzip member."""
    length: int = 0
    """Bytes of that."""


BEGINNING = Point(0, 0, None)


class Source(Protocol):
    """Bytes in a fixed order, from anywhere."""

    def read(self, size: int) -> bytes:
        """Give the next bytes: at least one, but at the end."""


class GzipStream:
    """Decompressed bytes of a gzip file of one or more members.

    Parameters
    ----------
    source : Source
        The file, from ``point.position`` on.
    point : Point, optional
    on_point : callable, optional
        Given points on the way.
    spacing : int, optional
        Decompressed bytes between them.
    """

    def __init__(
        self,
        source: Source,
        point: Point = BEGINNING,
        on_point: Callable[[Point], None] | None = None,
        spacing: int = SPACING,
    ) -> None:
        self._source = source
        self._data = b""
        self._taken = point.position
        self._offset = self._pointed = point.offset
        self._checksum, self._length = point.checksum, point.length
        self._inflater: Inflater | None = None if point.border is None else make_inflater(point.border)
        self._on_point = on_point if can_begin_anywhere() else None
        self._spacing = spacing
        self._buffer = b""
        self._place = 0
        self._at_end = False
        self._fault: Exception | None = None

    @property
    def position(self) -> int:
        """Bytes of the file that were read and decompressed, about."""
        return self._taken - len(self._data) - (0 if self._inflater is None else self._inflater.waiting)

    def read(self, size: int) -> bytes:
        """Give so many bytes, fewer only at the end and before damage.

        Raises
        ------
        zlib.error, EOFError, gzip.BadGzipFile
            The file is damaged, or breaks off; everything before that has been given.
        """
        # Most reads are a tar header's 512 bytes: what is there is not copied for them.
        if self._ready < size:
            self._gather(size)
        given = self._buffer[self._place : self._place + size]
        self._place += len(given)
        if size and not given and self._fault is not None:
            raise self._fault
        return given

    @property
    def _ready(self) -> int:
        return len(self._buffer) - self._place

    def _gather(self, size: int) -> None:
        """Have so many bytes ready, or all that come before the end."""
        pieces = [self._buffer[self._place :]]
        ready = len(pieces[0])
        while ready < size and not self._at_end and self._fault is None:
            try:
                pieces.append(self._step())
            except (zlib.error, EOFError, gzip.BadGzipFile) as error:
                self._fault = error
                break
            ready += len(pieces[-1])
        self._buffer, self._place = b"".join(pieces), 0

    def close(self) -> None:
        """Give memory back."""
        if self._inflater is not None:
            self._inflater.close()

    def _step(self) -> bytes:
        if self._inflater is None:
            self._begin_member()
            return b""
        if self._inflater.ended:
            self._end_member(self._inflater)
            return b""
        if not self._inflater.waiting:
            self._inflater.feed(self._more())
        wants_point = self._on_point is not None and self._offset - self._pointed >= self._spacing
        piece = self._inflater.step(to_border=wants_point)
        self._offset += len(piece)
        self._length += len(piece)
        self._checksum = zlib.crc32(piece, self._checksum)
        if wants_point and (border := self._inflater.border()) is not None:
            self._note(Point(self._offset, self.position, border, self._checksum, self._length))
        return piece

    def _note(self, point: Point) -> None:
        self._pointed = point.offset
        if self._on_point is not None:
            self._on_point(point)

    def _begin_member(self) -> None:
        if not self._peek():
            if self._offset == 0 and self._taken == 0:
                raise EOFError("is empty")
            self._at_end = True
            return
        if self._offset - self._pointed >= self._spacing:
            self._note(Point(self._offset, self.position, None))
        magic, method, flags = self._take(2), *self._take(2)
        if magic != b"\x1f\x8b" or method != 8 or flags & 0xE0:
            raise gzip.BadGzipFile("holds something else than gzip where a member should begin")
        self._take(6)
        if flags & 4:
            self._take(int.from_bytes(self._take(2), "little"))
        for flag in (8, 16):
            while flags & flag and self._take(1) != b"\0":
                pass
        if flags & 2:
            self._take(2)
        self._inflater = make_inflater()
        self._inflater.feed(self._data)
        self._data = b""
        self._checksum = self._length = 0

    def _end_member(self, inflater: Inflater) -> None:
        self._data = inflater.unused
        inflater.close()
        self._inflater = None
        trailer = self._take(_TRAILER)
        if int.from_bytes(trailer[:4], "little") != self._checksum:
            raise gzip.BadGzipFile("the checksum of its gzip member is another one")
        if int.from_bytes(trailer[4:], "little") != self._length & 0xFFFFFFFF:
            raise gzip.BadGzipFile("the length of its gzip member is another one")
        # Zeros may pad the end of a file.
        while (head := self._peek()) and head.strip(b"\0") == b"":
            self._data = b""

    def _peek(self) -> bytes:
        if not self._data:
            self._data = self._source.read(_READ_BYTES)
            self._taken += len(self._data)
        return self._data

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._data += self._more()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _more(self) -> bytes:
        data = self._source.read(_READ_BYTES)
        if not data:
            raise EOFError("breaks off before its end")
        self._taken += len(data)
        return data
