from __future__ import annotations

import zlib

import cramjam
import pytest

from tests.alerts.makers import SMALL_SCHEMA, long, pack, raw, small_alert, unpack
from xmatch_hats.alerts.binary import encode_long, read_long
from xmatch_hats.alerts.container import block_chunks, header_bytes, read_blocks, read_header
from xmatch_hats.alerts.limits import FILE_LIMITS, Limits
from xmatch_hats.errors import PacketError

NUMBERS = [0, -1, 1, 63, 64, -64, -65, 2**31, -(2**31), 2**63 - 1, -(2**63)]


def blocks(data: bytes, limits: Limits = FILE_LIMITS) -> list:
    return list(read_blocks(data, read_header(data, limits), limits))


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_go_there_and_back(number):
    assert encode_long(number) == long(number)
    assert read_long(b"x" + long(number), 1, 100) == (number, 1 + len(long(number)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 9, b"\xff" * 10 + b"\x00", b"\xff" * 9 + b"\x02"])
def test_broken_numbers_are_refused(data):
    with pytest.raises(PacketError, match="number"):
        read_long(data, 0, len(data))


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy"])
def test_blocks_of_every_codec(codec):
    records = [small_alert(i) for i in range(50)]
    data = pack(records, codec=codec, sync_interval=100)
    found = blocks(data)
    assert len(found) > 5
    assert sum(block.count for block in found) == 50
    header = read_header(data, FILE_LIMITS)
    assert header.codec == codec
    sync = data[header.size :][:16]
    pieces = [block_chunks(block.count, [block.data[block.start : block.end]], codec, sync) for block in found]
    rebuilt = header_bytes(header.metadata) + sync + b"".join(part for piece in pieces for part in piece)
    assert unpack(rebuilt) == records


def test_metadata_may_come_in_blocks_with_sizes():
    data = pack([small_alert()])
    header = read_header(data, FILE_LIMITS)
    entries = [long(len(key)) + key.encode() + long(len(value)) + value for key, value in header.metadata.items()]
    entries.append(long(1) + b"k" + long(1) + b"v")
    odd = b"".join([b"Obj\x01"] + [long(-1) + long(len(entry)) + entry for entry in entries] + [long(0)])
    again = read_header(odd + data[header.size :], FILE_LIMITS)
    assert again.metadata == header.metadata | {"k": b"v"}
    assert again.size == len(odd)


def test_a_container_may_leave_the_codec_out():
    data = pack([small_alert()])
    metadata = {"avro.schema": read_header(data, FILE_LIMITS).schema}
    assert read_header(header_bytes(metadata) + b"S" * 16, FILE_LIMITS).codec == "null"


TEXT = b'{"type": "record"}'
BAD_HEADERS = {
    "empty": (b"", "is empty"),
    "web page": (b"<html><body>503</body></html>", "not an Avro object container"),
    "magic alone": (b"Obj\x01", "middle of a number"),
    "version 2": (b"Obj\x02" + raw(TEXT, b"")[4:], "not an Avro object container"),
    "cut in the schema": (raw(TEXT, b"")[:20], "claims"),
    "negative length": (b"Obj\x01" + long(1) + long(-5) + b"abc", "claims -5 bytes"),
    "huge length": (b"Obj\x01" + long(1) + long(2**62) + b"abc", "claims"),
    "many entries": (b"Obj\x01" + long(2**62), "metadata entries"),
    "least count": (b"Obj\x01" + long(-(2**63)) + long(0), "metadata entries"),
    "key no UTF-8": (b"Obj\x01" + long(1) + long(1) + b"\xff" + long(0) + long(0) + b"S" * 16, "not UTF-8"),
    "no schema": (b"Obj\x01" + long(0) + b"S" * 16, "no writer schema"),
    "no sync": (b"Obj\x01" + long(1) + long(11) + b"avro.schema" + long(2) + b"{}" + long(0) + b"S" * 15, "sync"),
    "codec": (raw(TEXT, b"", codec=b"zstandard"), "codec 'zstandard'"),
    "codec no UTF-8": (raw(TEXT, b"", codec=b"\xff\xff"), "codec"),
}


@pytest.mark.parametrize(("data", "message"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_bad_headers_are_refused(data, message):
    with pytest.raises(PacketError, match=message):
        read_header(data, FILE_LIMITS)


GOOD = raw(TEXT, b"body")
BAD_BLOCKS = {
    "truncated": (GOOD[:-1], "claims"),
    "bad sync": (GOOD[:-1] + b"x", "sync marker"),
    "garbage behind": (GOOD + b"garbage", "number|claims"),
    "zeros behind": (GOOD + bytes(16), "claims|sync"),
    "negative count": (raw(TEXT, b"body", count=-1), "claims -1 records"),
    "too many": (raw(TEXT, b"body", count=10**9), "holds 1000000000 records"),
    "deflate garbage": (raw(TEXT, b"\x07garbage", codec=b"deflate"), "does not decompress"),
    "deflate cut": (raw(TEXT, zlib.compress(b"x" * 99, wbits=-15)[:-2], codec=b"deflate"), "in the middle"),
    "snappy short": (raw(TEXT, b"abc", codec=b"snappy"), "too short"),
    "snappy garbage": (raw(TEXT, b"\x04\xff\xff\xff\xff1234", codec=b"snappy"), "does not decompress"),
    "snappy claim": (raw(TEXT, b"\xff\xff\xff\xff\x0fabcd1234", codec=b"snappy"), "claims to decompress"),
    "snappy checksum": (raw(TEXT, bytes(cramjam.snappy.compress_raw(b"body")) + b"1234", codec=b"snappy"), "checksum"),
}


@pytest.mark.parametrize(("data", "message"), BAD_BLOCKS.values(), ids=BAD_BLOCKS.keys())
def test_bad_blocks_are_refused(data, message):
    with pytest.raises(PacketError, match=message):
        blocks(data)


def test_what_decompresses_is_bounded_over_all_blocks():
    limits = Limits(file_bytes=150_000)
    payload = zlib.compress(bytes(100_000), wbits=-15)
    once = raw(TEXT, payload, codec=b"deflate")
    assert len(blocks(once, limits)) == 1
    twice = once + long(1) + long(len(payload)) + payload + b"S" * 16
    with pytest.raises(PacketError, match="more than may be read"):
        blocks(twice, limits)
    with pytest.raises(PacketError, match="claims"):
        read_header(pack([small_alert()], SMALL_SCHEMA), Limits(metadata_bytes=100))
