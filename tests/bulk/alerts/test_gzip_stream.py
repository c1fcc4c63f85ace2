"""Gzip files read from anywhere give what reading from the beginning gives, damage and all."""

from __future__ import annotations

import gzip
import io
import random
import zlib

import pytest

from xmatch_hats.bulk.alerts.gzip_stream import BEGINNING, GzipStream
from xmatch_hats.bulk.alerts.inflate import _PlainInflater, can_begin_anywhere, make_inflater

SPACING = 60_000
needs_borders = pytest.mark.skipif(not can_begin_anywhere(), reason="there is no zlib to be taken up in the middle")


def content(size: int = 3_000_000) -> bytes:
    """Bytes that compress well, badly and not at all, for blocks of every kind."""
    rng = random.Random(5)
    pieces = []
    while sum(map(len, pieces)) < size:
        pieces += [rng.randbytes(40_000), b"abc %d" % len(pieces) * 5_000, bytes(rng.choices(b"acgt", k=30_000))]
    return b"".join(pieces)


@pytest.fixture(scope="module")
def data() -> bytes:
    return content()


@pytest.fixture(scope="module")
def packed(data) -> bytes:
    """Three gzip members of different levels, and padding."""
    third = len(data) // 3
    parts = (data[:third], data[third : 2 * third], data[2 * third :])
    return b"".join(gzip.compress(part, level) for part, level in zip(parts, (1, 6, 9), strict=True)) + bytes(512)


def read(packed: bytes, point=BEGINNING, on_point=None, seed: int = 1) -> tuple[bytes, str]:
    """All bytes that come, and the error at their end."""
    rng = random.Random(seed)
    stream = GzipStream(io.BytesIO(packed[point.position :]), point, on_point, SPACING)
    pieces = []
    try:
        while piece := stream.read(rng.randrange(1, 200_000)):
            pieces.append(piece)
    except (OSError, EOFError, zlib.error) as error:
        return b"".join(pieces), f"{type(error).__name__}: {error}"
    finally:
        stream.close()
    return b"".join(pieces), ""


def test_all_is_read(data, packed):
    assert read(packed) == (data, "")


@needs_borders
def test_every_point_is_a_beginning(data, packed):
    points = []
    read(packed, on_point=points.append)
    assert len(points) > 10
    assert {point.border.bits for point in points if point.border} > {0, 1}
    assert any(point.border is None for point in points)
    for point in points:
        assert read(packed, point) == (data[point.offset :], "")


@needs_borders
@pytest.mark.parametrize("damage", ["cut", "flipped", "sum", "junk", "header"])
def test_damage_is_the_same_from_every_point(packed, damage):
    spoiled = bytearray(packed)
    if damage == "cut":
        del spoiled[len(packed) * 2 // 3 :]
    elif damage == "flipped":
        spoiled[len(packed) * 2 // 3] ^= 0x55
    elif damage == "sum":
        spoiled[-520] ^= 1
    elif damage == "junk":
        spoiled += b"junk"
    else:
        spoiled[spoiled.index(b"\x1f\x8b\x08", 1000)] = 0
    points = []
    whole, error = read(bytes(spoiled), on_point=points.append)
    assert error
    assert points
    for seed, point in enumerate(points):
        assert read(bytes(spoiled), point, seed=seed) == (whole[point.offset :], error)


@pytest.mark.parametrize("size", [0, 1, 9, 15, 100])
def test_what_breaks_off_says_so(packed, size):
    data, error = read(packed[:size])
    assert error.startswith("EOFError")
    assert len(data) == 0 or size == 100


def test_no_gzip():
    assert read(b"x" * 100) == (b"", "BadGzipFile: holds something else than gzip where a member should begin")


def test_a_header_with_everything(data):
    head = b"\x1f\x8b\x08\x1f" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"words\0" + b"\0\0"
    plain = gzip.compress(data[:1000], mtime=0)
    assert read(head + plain[10:]) == (data[:1000], "")


def test_without_borders_streams_are_read_from_their_beginning(data):
    packed = gzip.compress(data, 1)[10:-8]
    for inflater in (_PlainInflater(), make_inflater()):
        pieces, place = [], 0
        while not inflater.ended:
            if not inflater.waiting:
                inflater.feed(packed[place : place + 70_000])
                place += 70_000
            pieces.append(inflater.step(to_border=False))
        assert b"".join(pieces) == data
        assert inflater.unused == b""
        inflater.close()
