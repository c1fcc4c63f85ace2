"""Bytes of a tar archive, compressed or not, from a place on."""

from __future__ import annotations

from xmatch_hats.bulk.alerts.archives import Archive, ArchiveBytes
from xmatch_hats.bulk.alerts.gzip_stream import BEGINNING, GzipStream, Point, Source
from xmatch_hats.bulk.alerts.inflate import can_begin_anywhere
from xmatch_hats.bulk.alerts.slice_book import SliceBook

_GZIP = b"\x1f\x8b"


class TarBytes:
    """A tar archive, read forward.

    Attributes
    ----------
    offset : int
        Bytes of the tar archive that precede the next one.
    began : int
        Byte of the file at which reading began.
    """

    def __init__(self, source: ArchiveBytes, stream: GzipStream | _Plain, point: Point) -> None:
        self.offset = point.offset
        self.began = point.position
        self._source, self._stream = source, stream

    @property
    def position(self) -> int:
        """Bytes of the file that were read, about."""
        return self._stream.position

    def read(self, size: int) -> bytes:
        """Give so many bytes, fewer only at the end and before damage.

        Raises
        ------
        zlib.error, EOFError, gzip.BadGzipFile
            The file is damaged there.
        XmatchError
            It cannot be read.
        """
        data = self._stream.read(size)
        self.offset += len(data)
        return data

    def close(self) -> None:
        """Give up the file."""
        self._stream.close()
        self._source.close()


def open_tar_bytes(archive: Archive, book: SliceBook, point: Point) -> TarBytes:
    """Read an archive from a point on, or, where that cannot be, from its beginning.

    Points of a compressed archive are noted in the book on the way.

    Raises
    ------
    XmatchError
        It cannot be read.
    """
    if not archive.can_seek or not (book.is_plain or can_begin_anywhere()):
        point = BEGINNING
    source = archive.open(point.position)
    if point.position:
        stream = _Plain(source, point.position) if book.is_plain else GzipStream(source, point, book.add_point)
        return TarBytes(source, stream, point)
    head = b""
    while len(head) < len(_GZIP) and (data := source.read(1 << 20)):
        head += data
    begun = _Begun(source, head)
    if head.startswith(_GZIP):
        return TarBytes(source, GzipStream(begun, point, book.add_point), point)
    book.note_plain()
    return TarBytes(source, _Plain(begun, 0), point)


class _Begun:
    """A file of which some bytes were looked at."""

    def __init__(self, source: ArchiveBytes, head: bytes) -> None:
        self._source, self._head = source, head

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._source.read(size)


class _Plain:
    """An archive that is not compressed."""

    def __init__(self, source: Source, position: int) -> None:
        self._source = source
        self.position = position

    def read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size and (data := self._source.read(size)):
            pieces.append(data)
            size -= len(data)
            self.position += len(data)
        return b"".join(pieces)

    def close(self) -> None:
        pass
