"""An archive cut into slices: whole members, a few hundred each, by the archive's content alone.

One reader goes through an archive, and cuts it; whoever gets a slice reads its members by itself. Where slices lie is
noted on the way, with points of the compressed file, so that another run goes to the first slice that is not done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from io import BytesIO
from typing import Any

from xmatch_hats.alerts.archive import TAR_FAULTS, ForwardStream, next_member, open_forward
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.names import is_hidden
from xmatch_hats.alerts.sources import RawPacket, tar_packet
from xmatch_hats.bulk.alerts.archives import Archive
from xmatch_hats.bulk.alerts.slice_book import End, Slice, SliceBook
from xmatch_hats.bulk.alerts.tar_bytes import TarBytes, open_tar_bytes
from xmatch_hats.errors import XmatchError

SLICE_MEMBERS = 1_000
SLICE_BYTES = 8 << 20
"""A slice ends with the member that fills it in either way. It travels to a worker in one message."""
_SKIP_BYTES = 1 << 20


def read_slices(
    archive: Archive, book: SliceBook, done: Collection[str], say: Callable[[str], None]
) -> Iterator[tuple[Slice, bytes | None]]:
    """Cut an archive, but for what is done.

    Parameters
    ----------
    archive : Archive
    book : SliceBook
        What earlier calls noted; the rest is noted in it, the end of the archive among it.
    done : collection of str
        Names of slices whose bytes nobody needs.
    say : callable
        Told, in one sentence, where reading begins if not at the beginning.

    Yields
    ------
    Slice
    bytes or None
        Its members, None for one that is done.

    Raises
    ------
    XmatchError
        The archive cannot be read, or gives other bytes than before. Damage is no error: it ends the archive, and is
        noted with its end.
    """
    reader = _Reader(archive, book, say)
    try:
        for piece in list(book.slices):
            yield piece, None if piece.name in done else reader.known(piece)
        if book.end is None:
            yield from _Cutter(book, reader.at(book.next_offset)).cut()
    finally:
        reader.close()


class _Reader:
    """Goes to any place of an archive, forward where that is near."""

    def __init__(self, archive: Archive, book: SliceBook, say: Callable[[str], None]) -> None:
        self._archive, self._book, self._say = archive, book, say
        self._bytes: TarBytes | None = None

    def at(self, offset: int) -> TarBytes:
        """Bytes of the tar archive from an offset on."""
        point = self._book.point_before(offset)
        ahead = self._bytes is None or self._bytes.offset > offset or self._bytes.offset < point.offset
        if self._bytes is None or ahead:
            self.close()
            self._bytes = open_tar_bytes(self._archive, self._book, point)
            if offset:
                self._tell(self._bytes.began)
        while self._bytes.offset < offset:
            if not self._bytes.read(min(_SKIP_BYTES, offset - self._bytes.offset)):
                raise self._changed()
        return self._bytes

    def known(self, piece: Slice) -> bytes:
        """Bytes of a slice that was cut before."""
        data = self.at(piece.start).read(piece.size)
        if len(data) < piece.size:
            raise self._changed()
        return data

    def close(self) -> None:
        if self._bytes is not None:
            self._bytes.close()

    def _tell(self, position: int) -> None:
        if position:
            self._say(f"{self._archive.stem}: going on at byte {position:,} of {self._archive.size:,}")
        else:
            why = "this server gives no parts of files" if not self._archive.can_seek else "no point was noted yet"
            self._say(f"{self._archive.stem}: read again from its beginning ({why}); what is done is not done again")

    def _changed(self) -> XmatchError:
        return XmatchError("has fewer bytes than before", place=self._archive.place, hint="did it change?")


class _Tape:
    """Keeps what the tar library reads."""

    def __init__(self, source: TarBytes) -> None:
        self._source = source
        self._pieces: list[bytes] = []
        self.keeps = True

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        if self.keeps:
            self._pieces.append(data)
        return data

    def take(self, size: int) -> bytes:
        """The first bytes that are kept; the others are forgotten."""
        data = b"".join(self._pieces)[:size]
        self._pieces = []
        self.keeps = True
        return data


class _Cutter:
    """Cuts what has not been cut before."""

    def __init__(self, book: SliceBook, source: TarBytes) -> None:
        self._book, self._source = book, source
        self._start = self._end = source.offset
        self._count = 0
        self._tape = _Tape(source)
        self._stream = ForwardStream(self._tape, source.offset)  # type: ignore[arg-type]
        self._tar: Any = None

    def cut(self) -> Iterator[tuple[Slice, bytes]]:
        """Slices up to the end of the archive, which is noted."""
        while True:
            is_last, damage, is_large = self._next()
            full = self._count >= SLICE_MEMBERS or self._end - self._start >= SLICE_BYTES
            if self._count and (full or is_large or is_last):
                yield self._slice()
            if is_last:
                self._book.finish(End(self._book.next_member, damage))
                return

    def _next(self) -> tuple[bool, str | None, bool]:
        """Read one member: whether none follows, what is damaged, and whether it is too large to be kept."""
        try:
            if self._tar is None:
                self._tar = open_forward(self._stream)
            member = next_member(self._tar, self._stream)
            if member is None:
                self._stream.require_end()
                return True, None, False
            self._count += 1
            is_large = self._tar.offset - member.offset_data > FILE_LIMITS.file_bytes
            self._end = self._stream.tell()
            self._tape.keeps = not is_large
            self._stream.seek(self._tar.offset)
            if not is_large:
                self._end = self._stream.tell()
            return False, None, is_large
        except TAR_FAULTS as error:
            if self._tape.keeps and self._count:
                self._end = max(self._end, self._stream.tell())
            members = self._book.next_member + self._count
            return (
                True,
                f"is damaged after {members} members, what follows is lost: {error or type(error).__name__}",
                False,
            )

    def _slice(self) -> tuple[Slice, bytes]:
        data = self._tape.take(self._end - self._start)
        piece = self._book.add(self._start, len(data), self._stream.tell(), self._count, self._source.position)
        self._start = self._end = self._stream.tell()
        self._count = 0
        return piece, data


def slice_packets(data: bytes, members: int, archive: str) -> Iterator[tuple[int, RawPacket | None]]:
    """Give the packets of a slice.

    Parameters
    ----------
    data : bytes
    members : int
        How many it has.
    archive : str
        What it is cut from, for people.

    Yields
    ------
    int
        Number of the member in the slice.
    RawPacket or None
        It can be read until the next one is asked for. None for what is hidden or no file; folders are not given.
    """
    stream = ForwardStream(BytesIO(data))
    with open_forward(stream) as tar:
        for number in range(members):
            member = next_member(tar, stream)
            if member is None:
                raise ValueError(f"the slice has {number} members, not {members}")
            if member.isreg() and not is_hidden(member.name):
                yield number, tar_packet(archive, tar, member, stream, "", FILE_LIMITS.file_bytes)
            elif not member.isdir():
                yield number, None
