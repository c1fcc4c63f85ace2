"""Avro's binary primitives, for the few values that are read and written outside of a schema."""

from __future__ import annotations

from typing import Final

from xmatch_hats.errors import PacketError

MAX_LONG_BYTES: Final = 10
_TOP: Final = (1 << 64) - 1


def encode_long(value: int) -> bytes:
    """Encode a 64-bit integer: zigzag, then seven bits a byte, low ones first."""
    rest = ((value << 1) ^ (value >> 63)) & _TOP
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def encode_bytes(value: bytes) -> bytes:
    """Encode a byte string, or the UTF-8 form of a string: its length, then itself."""
    return encode_long(len(value)) + value


def read_long(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Read a 64-bit integer.

    Parameters
    ----------
    data : bytes
    position, end : int
        Where the integer starts, and where the readable bytes end.

    Returns
    -------
    value, position : int
        The integer, and where the next value starts.

    Raises
    ------
    PacketError
        The bytes end within the integer, or it is longer than 64 bits.
    """
    rest = shift = 0
    for here in range(position, min(end, position + MAX_LONG_BYTES)):
        byte = data[here]
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            if rest > _TOP:
                break
            return (rest >> 1) ^ -(rest & 1), here + 1
        shift += 7
    else:
        if end - position < MAX_LONG_BYTES:
            raise PacketError("ends in the middle of a number", place=f"byte {position}")
    raise PacketError("holds a number longer than 64 bits", place=f"byte {position}")


def read_bytes(data: bytes, position: int, end: int) -> tuple[bytes, int]:
    """Read a byte string, its length checked against the bytes that are there.

    Raises
    ------
    PacketError
        The length is negative or beyond `end`, or is no number.
    """
    length, start = read_long(data, position, end)
    if not 0 <= length <= end - start:
        raise PacketError(f"claims {length} bytes where {end - start} are left", place=f"byte {position}")
    return data[start : start + length], start + length
