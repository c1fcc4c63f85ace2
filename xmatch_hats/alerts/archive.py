"""Tar archives read forward, member by member, whatever they claim."""

from __future__ import annotations

import tarfile
import zlib
from typing import IO, Any, Self

from typing_extensions import override

from xmatch_hats.errors import PacketError

TAR_FAULTS = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError)
"""What reading a damaged archive raises."""
_SKIP_BYTES = 1 << 20
_HEADER_BYTES = 1 << 20
"""What may be read to come to the next member: its header, with extensions that hold its name, times and the like."""


class QuickHeader(tarfile.TarInfo):
    """A member's header, read several times faster than by the library where it is a plain one.

    What nobody here asks for, owners and modes, is left out of plain ones.
    """

    @classmethod
    @override
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header of 512 bytes; the library does, and raises, what is not plain."""
        if len(buf) == tarfile.BLOCKSIZE and buf[156:157] in _PLAIN_TYPES and buf[257:262] == b"ustar":
            try:
                told, size, modified = [int(buf[start:stop].rstrip(b" \0"), 8) for start, stop in _NUMBERS]
                name, prefix = [buf[start:stop].partition(b"\0")[0].decode("ascii") for start, stop in _NAMES]
            except ValueError:
                told = -1
            # The sum is of all bytes, with its own taken for spaces; some systems add up signed ones.
            if told == sum(buf) - sum(buf[148:156]) + 8 * ord(" ") and size >= 0:
                header = cls(f"{prefix}/{name}" if prefix else name)
                header.type, header.size, header.mtime, header.chksum = bytes(buf[156:157]), size, modified, told
                return header
        return super().frombuf(buf, encoding, errors)


_PLAIN_TYPES = (tarfile.REGTYPE, tarfile.XHDTYPE)
_NUMBERS, _NAMES = ((148, 156), (124, 136), (136, 148)), ((0, 100), (345, 500))


def member_header(name: str, size: int, modified: int) -> bytes:
    """Write the header of a regular file, the library's bytes several times faster where a plain one will do.

    Parameters
    ----------
    name : str
    size : int
        Bytes.
    modified : int
        Seconds since 1970.
    """
    if not name.isascii() or len(name) > tarfile.LENGTH_NAME or not 0 <= size < _END or not 0 <= modified < _END:
        member = tarfile.TarInfo(name)
        member.size, member.mtime = size, modified
        return member.tobuf()
    start = b"%b%b%011o\0%011o\0" % (name.encode().ljust(100, b"\0"), _BLANK[100:124], size, modified)
    return b"%b%06o\0 %b" % (start, sum(start) + 8 * ord(" ") + sum(_BLANK[156:]), _BLANK[156:])


_BLANK = tarfile.TarInfo().tobuf()
_END = 8**11
"""Plain numbers are less than this."""


class ForwardStream:
    """A stream that only goes forward, as the tar library wants to read it, and never gives more than it may.

    The library reads extended headers, of any size and in any number that the archive claims, into memory.

    Parameters
    ----------
    file : file-like
        Only its `read` is used.
    position : int, optional
        Where in the archive the file begins.
    """

    def __init__(self, file: IO[bytes], position: int = 0) -> None:
        self._file = file
        self._position = position
        self._last = b""
        self.allowance = _HEADER_BYTES
        """Bytes that may be read until it is set anew."""

    def read(self, size: int) -> bytes:
        """Give the next bytes, fewer only at the end."""
        if size < 0:
            # The library takes such numbers from archives; to a file they mean all that is left of it.
            raise tarfile.ReadError("claims a negative number of bytes")
        self.allowance -= size
        if self.allowance < 0:
            raise tarfile.ReadError("claims more bytes than a header or a member may have")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        self._last = self._file.read(size)
        self._position += len(self._last)
        return self._last

    def tell(self) -> int:
        """Bytes given so far."""
        return self._position

    def seek(self, position: int) -> int:
        """Go forward."""
        if position < self._position:
            raise tarfile.ReadError("a member lies before the one that precedes it")
        while self._position < position:
            if not self._take(min(_SKIP_BYTES, position - self._position)):
                raise tarfile.ReadError("ends in the middle of a member")
        return self._position

    def require_end(self) -> None:
        """Tell a good end, an empty block and nothing after it, from what the library takes for the end too.

        Those are bytes that are no header, and an end mark with another archive behind it. Reading on to the last byte
        also has a compressed archive's checksum compared.
        """
        if len(self._last) != tarfile.BLOCKSIZE or self._last.strip(b"\0"):
            raise tarfile.ReadError("has no end mark where it stops")
        while piece := self._take(_SKIP_BYTES):
            if piece.strip(b"\0"):
                raise tarfile.ReadError("holds more behind its end mark")


def open_forward(stream: ForwardStream) -> Any:
    """Open an archive for `next_member`; it may raise `TAR_FAULTS`."""
    return tarfile.open(fileobj=stream, mode="r:", tarinfo=QuickHeader)  # type: ignore[call-overload]


def next_member(tar: Any, stream: ForwardStream) -> tarfile.TarInfo | None:
    """Go to the next member; None at what may be the end: see `ForwardStream.require_end`."""
    # The library keeps every member it has met, a kilobyte each, and all that is said of the members to come.
    tar.members.clear()
    tar.pax_headers.clear()
    stream.allowance = _HEADER_BYTES
    member: tarfile.TarInfo | None = tar.next()
    return member


def member_bytes(tar: tarfile.TarFile, member: tarfile.TarInfo, stream: ForwardStream, max_bytes: int) -> bytes:
    """Read the member that `next_member` gave last.

    Raises
    ------
    PacketError
        It is larger than may be read, or the archive is damaged there.
    """
    require_size(member.size, max_bytes)
    stream.allowance = member.size
    try:
        if member.issparse():
            file = tar.extractfile(member)
            return b"" if file is None else file.read()
        # The library's way would copy it twice more.
        stream.seek(member.offset_data)
        data = stream.read(member.size)
        if len(data) < member.size:
            raise tarfile.ReadError("unexpected end of data")
        return data
    except TAR_FAULTS as error:
        raise PacketError(f"cannot be read from its archive: {error or type(error).__name__}") from error


def require_size(size: int, max_bytes: int) -> None:
    """Refuse what is larger than may be read into memory.

    Raises
    ------
    PacketError
    """
    if size > max_bytes:
        raise PacketError(f"has {size} bytes; at most {max_bytes} are read")
