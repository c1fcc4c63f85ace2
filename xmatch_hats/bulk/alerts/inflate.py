"""Deflate streams, decompressed from where they begin or from any border between their blocks.

Python's own `zlib` cannot begin in the middle: it tells neither where blocks end nor takes up a bit that is not the
first of its byte. The library below it can, and is there wherever Python is; where it is not found, streams are only
read from their beginning.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

OUT_BYTES = 256 << 10
"""Most that one step gives."""
_RAW = -15
"""Deflate without a header, with the largest window."""
_WINDOW = 1 << 15
_NO_FLUSH, _BLOCK = 0, 5
_OK, _STREAM_END, _BUF_ERROR = 0, 1, -5


@dataclass(frozen=True)
class Border:
    """What decompression needs to begin between two blocks."""

    bits: int
    """How many bits of the last byte that was taken belong to what follows."""
    byte: int
    """That byte."""
    window: bytes
    """The last bytes before it, decompressed, 32 KiB at most."""


class Inflater(Protocol):
    """Decompresses one deflate stream, as bytes come in."""

    @property
    def ended(self) -> bool:
        """Whether its end was met."""

    @property
    def unused(self) -> bytes:
        """Once it has ended: what was fed, and lies behind its end."""

    @property
    def waiting(self) -> int:
        """Bytes that were fed and not taken yet."""

    def feed(self, data: bytes) -> None:
        """Give compressed bytes; only when there are none waiting."""

    def step(self, *, to_border: bool) -> bytes:
        """Decompress some of them, up to the next border between blocks at most where that is asked for.

        Raises
        ------
        zlib.error
            The stream is damaged; everything before that has been given.
        """

    def border(self) -> Border | None:
        """What it takes to begin here; None where the last step did not end on a border."""

    def close(self) -> None:
        """Give memory back."""


def can_begin_anywhere() -> bool:
    """Whether streams can be taken up at borders."""
    return _library() is not None


def make_inflater(border: Border | None = None) -> Inflater:
    """Begin at the beginning of a stream, or at a border, where `can_begin_anywhere`."""
    library = _library()
    if library is None:
        if border is not None:
            raise ValueError("streams can only be read from their beginning here")
        return _PlainInflater()
    return _BlockInflater(library, border)


class _PlainInflater:
    """By Python's own library, which knows no borders."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_RAW)
        self._fed = b""

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def unused(self) -> bytes:
        return self._stream.unused_data

    @property
    def waiting(self) -> int:
        return len(self._fed)

    def feed(self, data: bytes) -> None:
        self._fed = data

    def step(self, *, to_border: bool) -> bytes:  # noqa: ARG002, it cannot
        data = self._stream.decompress(self._fed, OUT_BYTES)
        self._fed = self._stream.unconsumed_tail
        return data

    def border(self) -> None:
        return None

    def close(self) -> None:
        pass


class _ZStream(ctypes.Structure):
    """``z_stream`` of zlib.h."""

    _fields_ = (
        ("next_in", ctypes.c_void_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


class _BlockInflater:
    """By the C library, which stops at borders, and begins there."""

    def __init__(self, library: Any, border: Border | None) -> None:
        self.ended = False
        self.unused = b""
        self._library = library
        self._out = ctypes.create_string_buffer(OUT_BYTES)
        self._in = ctypes.create_string_buffer(1)
        self._size = 0
        self._last = 0
        self._fault = 0
        self._stream = _ZStream()
        self._open = False
        self._check(library.inflateInit2_(self._at(), _RAW, library.zlibVersion(), ctypes.sizeof(_ZStream)))
        self._open = True
        if border is not None:
            if border.bits:
                self._check(library.inflatePrime(self._at(), border.bits, border.byte >> (8 - border.bits)))
            self._check(library.inflateSetDictionary(self._at(), border.window, len(border.window)))

    @property
    def waiting(self) -> int:
        return int(self._stream.avail_in)

    def feed(self, data: bytes) -> None:
        self._in = ctypes.create_string_buffer(data, len(data))
        self._size = len(data)
        self._stream.next_in = ctypes.addressof(self._in)
        self._stream.avail_in = len(data)

    def step(self, *, to_border: bool) -> bytes:
        if self._fault:
            self._check(self._fault)
        self._stream.next_out = ctypes.addressof(self._out)
        self._stream.avail_out = OUT_BYTES
        code = self._library.inflate(self._at(), _BLOCK if to_border else _NO_FLUSH)
        data = ctypes.string_at(self._out, OUT_BYTES - self._stream.avail_out)
        taken = self._size - self._stream.avail_in
        if taken:
            self._last = self._in[taken - 1][0]
        if code == _STREAM_END:
            self.ended = True
            self.unused = ctypes.string_at(ctypes.addressof(self._in) + taken, self._size - taken)
        elif code not in (_OK, _BUF_ERROR):
            # What came before the damage is given first.
            self._fault = code
            if not data:
                self._check(code)
        return data

    def border(self) -> Border | None:
        state = self._stream.data_type
        if self.ended or self._fault or not state & 128 or state & 64:
            return None
        window = ctypes.create_string_buffer(_WINDOW)
        size = ctypes.c_uint(0)
        self._check(self._library.inflateGetDictionary(self._at(), window, ctypes.byref(size)))
        return Border(state & 7, self._last, ctypes.string_at(window, size.value))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._library.inflateEnd(self._at())

    def _at(self) -> Any:
        return ctypes.byref(self._stream)

    def _check(self, code: int) -> None:
        if code != _OK:
            words = (self._stream.msg or b"").decode("ascii", "replace")
            raise zlib.error(f"Error {code} while decompressing data{': ' if words else ''}{words}")


@cache
def _library() -> Any:
    names = (ctypes.util.find_library("z"), "libz.so.1", "libz.dylib")
    for name in filter(None, names):
        try:
            library = ctypes.CDLL(name)
            library.zlibVersion.restype = ctypes.c_char_p
            for function in ("inflateInit2_", "inflate", "inflatePrime", "inflateSetDictionary",
                             "inflateGetDictionary", "inflateEnd"):  # fmt: skip
                getattr(library, function).restype = ctypes.c_int
        except (OSError, AttributeError):
            continue
        return library
    return None
