"""Avro object container files, by hand and with bounds: nothing is believed before it is checked.

A container is a magic word, a map of metadata, a sync marker, and blocks of ``count, size, records, sync marker``.
A general Avro library parses the schema while it opens the file, and a hostile schema kills it; so the frame is read
here, and no schema reaches a library before `xmatch_hats.alerts.schema` has allowed it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cramjam

from xmatch_hats.alerts.binary import encode_bytes, encode_long, read_bytes, read_long
from xmatch_hats.alerts.limits import Limits
from xmatch_hats.errors import PacketError

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
_CRC_BYTES = 4


@dataclass(frozen=True, eq=False)
class Header:
    """What stands before the blocks, apart from the sync marker, which differs from file to file."""

    metadata: dict[str, bytes]
    codec: str
    schema: bytes
    """The writer schema's JSON text."""
    size: int
    """Bytes up to the sync marker."""


@dataclass(frozen=True)
class Block:
    """Records of one block, decompressed: they lie in ``data[start:end]``."""

    data: bytes
    start: int
    end: int
    count: int


def read_header(data: bytes, limits: Limits) -> Header:
    """Read a container's header.

    Raises
    ------
    PacketError
        Not a container, a header beyond the limits or the bytes there, no schema, an unknown codec.
    """
    if not data.startswith(MAGIC):
        raise PacketError("is empty" if not data else "is not an Avro object container", place="byte 0")
    metadata, size = _read_metadata(data, limits)
    if len(data) - size < SYNC_BYTES:
        raise PacketError("ends before the sync marker", place=f"byte {size}")
    if "avro.schema" not in metadata:
        raise PacketError("has no writer schema", place="header")
    codec = metadata.get("avro.codec", b"null").decode("utf-8", "replace") or "null"
    if codec not in CODECS:
        raise PacketError(f"has codec {codec[:40]!r}", place="header", hint=f"readable are {', '.join(CODECS)}")
    return Header(metadata, codec, metadata["avro.schema"], size)


def _read_metadata(data: bytes, limits: Limits) -> tuple[dict[str, bytes], int]:
    metadata: dict[str, bytes] = {}
    end = min(len(data), limits.metadata_bytes)
    position, entries = len(MAGIC), 0
    while True:
        count, position = read_long(data, position, end)
        if count == 0:
            return metadata, position
        if count < 0:
            # A negative count is followed by the block's size, which only serves to skip it.
            count = -count
            _, position = read_long(data, position, end)
        entries += count
        if entries > limits.metadata_entries:
            raise PacketError(f"claims {entries} metadata entries", place="header")
        for _ in range(count):
            key, position = read_bytes(data, position, end)
            value, position = read_bytes(data, position, end)
            try:
                metadata[key.decode()] = value
            except UnicodeDecodeError as error:
                raise PacketError("has a metadata key that is not UTF-8", place="header") from error


def read_blocks(data: bytes, header: Header, limits: Limits) -> Iterator[Block]:
    """Read the blocks that follow a header, decompressed one by one.

    Raises
    ------
    PacketError
        A block that is truncated, larger than it may be, or not followed by the header's sync marker; bytes that are
        no block; a payload that does not decompress.
    """
    sync = data[header.size : header.size + SYNC_BYTES]
    position, total, records = header.size + SYNC_BYTES, 0, 0
    while position < len(data):
        place = f"block at byte {position}"
        count, start = read_long(data, position, len(data))
        size, start = read_long(data, start, len(data))
        end = start + size
        if count < 0 or not 0 <= size <= len(data) - start - SYNC_BYTES:
            raise PacketError(f"claims {count} records in {size} bytes; {len(data) - start} are left", place=place)
        if data[end : end + SYNC_BYTES] != sync:
            raise PacketError("is not followed by the sync marker", place=place)
        records += count
        if records > limits.records:
            raise PacketError(f"holds {records} records; at most {limits.records} are read", place=place)
        block = Block(data, start, end, count)
        if header.codec != "null":
            payload = _DECODERS[header.codec](data[start:end], limits.file_bytes - total, place)
            block = Block(payload, 0, len(payload), count)
        total += block.end - block.start
        yield block
        position = end + SYNC_BYTES


def header_bytes(metadata: dict[str, bytes]) -> bytes:
    """Write a header up to, and without, the sync marker."""
    entries = b"".join(encode_bytes(key.encode()) + encode_bytes(value) for key, value in metadata.items())
    return MAGIC + encode_long(len(metadata)) + entries + encode_long(0)


def block_chunks(count: int, records: list[bytes | memoryview], codec: str, sync: bytes) -> list[bytes | memoryview]:
    """Write a block as pieces to be joined, so that uncompressed records are copied once, into the whole."""
    if codec == "null":
        size = sum(map(len, records))
        return [encode_long(count) + encode_long(size), *records, sync]
    payload = _ENCODERS[codec](b"".join(records))
    return [encode_long(count) + encode_long(len(payload)), payload, sync]


def _inflate(payload: bytes, limit: int, place: str) -> bytes:
    decompressor = zlib.decompressobj(wbits=-15)
    try:
        data = decompressor.decompress(payload, limit + 1)
    except zlib.error as error:
        raise PacketError(f"does not decompress: {error}", place=place) from error
    if len(data) > limit:
        raise PacketError("decompresses to more than may be read", place=place)
    if not decompressor.eof:
        raise PacketError("ends in the middle of its compressed data", place=place)
    # Bytes behind the end are passed over: a widely used writer leaves part of a checksum there.
    return data


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def _unsnap(payload: bytes, limit: int, place: str) -> bytes:
    if len(payload) <= _CRC_BYTES:
        raise PacketError("is too short for snappy", place=place)
    body, checksum = payload[:-_CRC_BYTES], payload[-_CRC_BYTES:]
    try:
        # The length that the data declares is what a decompressor allocates.
        declared = cramjam.snappy.decompress_raw_len(body)
        if declared > limit:
            raise PacketError(f"claims to decompress to {declared} bytes", place=place)
        data = bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise PacketError(f"does not decompress: {error}", place=place) from error
    if zlib.crc32(data).to_bytes(_CRC_BYTES, "big") != checksum:
        raise PacketError("fails its checksum", place=place)
    return data


def _snap(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(_CRC_BYTES, "big")


_DECODERS: dict[str, Callable[[bytes, int, str], bytes]] = {"deflate": _inflate, "snappy": _unsnap}
_ENCODERS: dict[str, Callable[[bytes], bytes]] = {"deflate": _deflate, "snappy": _snap}
CODECS = ("null", *_DECODERS)
