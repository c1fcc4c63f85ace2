"""Messages that no step may choke on, each with a part of the reason that must be told for it."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import zlib
from typing import Any

import cramjam
import fastavro

from tests.alerts.makers import SMALL_SCHEMA, long, pack, raw, schema_of, unpack
from xmatch_hats.alerts.limits import MESSAGE_LIMITS

MIB = 1 << 20
BOMB_BYTES = MESSAGE_LIMITS.file_bytes + MIB
"""What a bomb becomes."""
UNREGISTERED = 2_000_000_007
"""A schema number that nobody has registered."""
FINGERPRINT = bytes(range(8))
"""Of no schema."""
_POSITION = SMALL_SCHEMA["fields"][2]

Corpus = dict[str, tuple[bytes, str]]
"""By name: the message, and what its reason must say."""


def poison_corpus(good: bytes) -> Corpus:
    """Every kind of bad message, the largest of 8 MiB.

    Parameters
    ----------
    good : bytes
        A good one to spoil: an uncompressed container of one record with ``candidate.ra`` and ``candidate.dec``.
    """
    return unreadable(good) | unmatchable(good)


def unreadable(good: bytes) -> Corpus:
    """Messages that cannot be decoded."""
    return truncated(good) | damaged(good) | wrong_schemas(good) | bombs() | strangers()


def truncated(good: bytes) -> Corpus:
    sync = good[-16:]
    body = good.index(sync) + 16
    return {
        "cut within the magic": (good[:3], "ends within the first bytes"),
        "cut within the schema": (good[: body // 2], "bytes where"),
        "cut within the sync marker": (good[: body - 5], "ends before the sync marker"),
        "cut within the record": (good[: (body + len(good)) // 2], "claims 1 records in"),
        "cut within the last sync marker": (good[:-1], "claims 1 records in"),
        "cut behind the header": (good[:body], "holds 0 records; a message holds one"),
    }


def damaged(good: bytes) -> Corpus:
    schema = schema_of(good)
    (record,) = unpack(good)
    head, body, sync = halves(good)
    size = long(len(body))
    return {
        "bad sync marker": (good[:-16] + bytes(16), "is not followed by the sync marker"),
        "two records": (pack([record, record], schema), "holds 2 records; at most 1"),
        "no record": (head + long(0) + long(0) + sync, "holds 0 records; a message holds one"),
        "two records claimed": (head + long(2) + size + body + sync, "holds 2 records; at most 1"),
        "a byte too many": (
            head + long(1) + long(len(body) + 1) + body + b"\0" + sync,
            "1 bytes that belong to no record",
        ),
        "bytes behind the last block": (good + b"\xff", "ends in the middle of a number"),
        "unknown codec": (raw(json.dumps(schema).encode(), body, codec=b"bzip2"), "has codec 'bzip2'"),
        "payload not compressed": (
            raw(json.dumps(schema).encode(), b"\xff" * 40, codec=b"deflate"),
            "does not decompress",
        ),
        "huge block claimed": (head + long(1) + long(2**62) + body + sync, "claims 1 records in 4611686018427387904"),
        "huge header claimed": (b"Obj\x01" + long(2**40) + bytes(100), "claims 1099511627776 metadata entries"),
        "huge string claimed": (
            raw(text("string"), bytes(16) + long(2**62)),
            "claims a length beyond the bytes there",
        ),
        "text no UTF-8": (raw(text("string"), bytes(16) + long(2) + b"\xff\xfe"), "not UTF-8"),
    }


def wrong_schemas(good: bytes) -> Corpus:
    schema = schema_of(good)
    _, body, _ = halves(good)
    longer = {"name": "first", "type": {"type": "fixed", "name": "first_t", "size": len(body)}}
    plain = {"type": "record", "name": "alert", "fields": [{"name": "objectId", "type": "string"}]}
    worded = {"name": "candidate", "type": record("c", ("ra", "string"), ("dec", "string"))}
    return {
        "record without position": (pack([{"objectId": "ZTF1"}], plain), "has no field candidate.ra"),
        "position as text": (
            raw(json.dumps(plain | {"fields": [worded]}).encode(), b"\2a\2b"),
            "has candidate.ra as string, not a number",
        ),
        "schema of other bytes": (
            raw(json.dumps(schema | {"fields": [longer, *schema["fields"]]}).encode(), body),
            "ends in the middle of a value",
        ),
        "schema no JSON": (raw(b"{", body), "the writer schema is not JSON"),
        "schema no Avro": (raw(b'{"type": "object"}', body), "the writer schema is not a record"),
        "no schema": (b"Obj\x01" + long(0) + bytes(16), "has no writer schema"),
        "recursive record": (
            raw(text(["null", "alert"]), bytes(16) + long(1) * 200_000),
            "a type that contains itself",
        ),
        "recursive array": (
            raw(text({"type": "array", "items": "alert"}), bytes(16) + long(1) * 200_000),
            "a type that contains itself",
        ),
        "names that double": (raw(text(doubling(25)), bytes(200)), "unfolds to more than"),
        "types nested deep": (raw(text(nested(200)), bytes(200)), "nests types more than"),
    }


def bombs() -> Corpus:
    compressor = zlib.compressobj(9, wbits=-15)
    deflated = compressor.compress(bytes(BOMB_BYTES)) + compressor.flush()
    snapped = bytes(cramjam.snappy.compress_raw(bytes(BOMB_BYTES))) + zlib.crc32(bytes(BOMB_BYTES)).to_bytes(4, "big")
    empty = {"type": "record", "name": "e", "fields": []}
    return {
        "deflate bomb": (raw(text("bytes"), deflated, codec=b"deflate"), "decompresses to more than may be read"),
        "snappy bomb": (raw(text("bytes"), snapped, codec=b"snappy"), f"claims to decompress to {BOMB_BYTES} bytes"),
        "snappy claim": (
            raw(text("bytes"), b"\xff\xff\xff\xff\x0f" + bytes(100), codec=b"snappy"),
            "claims to decompress to 4294967295 bytes",
        ),
        "billions of nulls": (
            raw(text({"type": "array", "items": "null"}), bytes(16) + long(2**31) + long(0)),
            "that hold values in no bytes",
        ),
        "billions of empty records": (
            raw(text({"type": "array", "items": empty}), bytes(16) + long(2**40) + long(0)),
            "that hold values in no bytes",
        ),
        "billions of longs": (
            raw(text({"type": "array", "items": "long"}), bytes(16) + long(2**62) + bytes(100)),
            "claims a length beyond the bytes there",
        ),
        "megabytes of small values": (
            raw(text({"type": "array", "items": "long"}), bytes(16) + long(6 * MIB) + bytes(6 * MIB + 1)),
            "holds more values than are read",
        ),
    }


def strangers() -> Corpus:
    noise = random.Random(11).randbytes(8 * MIB)
    page = b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n"
    json_text = json.dumps({"objectId": "ZTF1", "candidate": {"ra": 1.0, "dec": 2.0}}).encode()
    return {
        "unregistered wire format": (
            b"\0" + UNREGISTERED.to_bytes(4, "big") + bytes(40),
            f"unknown schema id {UNREGISTERED}",
        ),
        "wire format cut": (b"\0\0\0\7", "ends in the middle of a schema id"),
        "single object of an unknown schema": (
            b"\xc3\x01" + FINGERPRINT + bytes(40),
            f"unknown schema fingerprint {FINGERPRINT.hex()}",
        ),
        "single object cut": (b"\xc3\x01\0\0", "ends in the middle of a schema fingerprint"),
        "HTML": (page, "looks like HTML"),
        "JSON": (json_text, "looks like JSON"),
        "gzip": (gzip.compress(json_text, mtime=0), "is compressed with gzip"),
        "empty": (b"", "is empty"),
        "one zero": (b"\0", "holds nothing but zeros, 1 bytes"),
        "8 MiB of zeros": (bytes(8 * MIB), f"holds nothing but zeros, {8 * MIB} bytes"),
        # A first byte that is the beginning of nothing.
        "8 MiB of noise": (b"\x9e" + noise[1:], "is no Avro message; it begins with 9e"),
    }


def unmatchable(good: bytes) -> Corpus:
    """Messages that can be decoded, of alerts without a place on the sky."""
    schema = schema_of(good)
    (record,) = unpack(good)
    nullable = json.loads(json.dumps(schema))
    (candidate,) = (field for field in nullable["fields"] if field["name"] == "candidate")
    for field in candidate["type"]["fields"]:
        if field["name"] in ("ra", "dec"):
            field["type"] = ["null", "double"]

    def moved(schema: dict[str, Any], **position: float | None) -> bytes:
        return pack([record | {"candidate": record["candidate"] | position}], schema)

    return {
        "right ascension NaN": (moved(schema, ra=math.nan), "right ascension is missing, NaN or infinite"),
        "right ascension infinite": (moved(schema, ra=math.inf), "right ascension is missing, NaN or infinite"),
        "right ascension null": (moved(nullable, ra=None), "right ascension is missing, NaN or infinite"),
        "declination NaN": (moved(schema, dec=math.nan), "declination is missing, NaN or infinite"),
        "declination infinite": (moved(schema, dec=-math.inf), "declination is missing, NaN or infinite"),
        "declination null": (moved(nullable, dec=None), "declination is missing, NaN or infinite"),
        "declination beyond 90": (moved(schema, dec=90.001), "declination outside -90...90 degrees"),
        "declination beyond -90": (moved(schema, dec=-1e300), "declination outside -90...90 degrees"),
        "right ascension beyond all turns": (moved(schema, ra=1e6), "right ascension outside"),
    }


def odd_but_good(good: bytes) -> dict[str, bytes]:
    """Messages that look like trouble and are none: they must come out, not be set aside."""
    schema = schema_of(good)
    (record,) = unpack(good)
    return {
        "a NUL in the name": pack([record | {"objectId": "ZTF\x0001"}], schema),
        "a name of odd letters": pack([record | {"objectId": "ZTF é☆𝄞"}], schema),
        "deflate": pack([record], schema, codec="deflate"),
        "snappy": pack([record], schema, codec="snappy"),
    }


def halves(packet: bytes) -> tuple[bytes, bytes, bytes]:
    """Header with its sync marker, the one record's bytes, and the sync marker, by fastavro."""
    sync = packet[-16:]
    (block,) = fastavro.block_reader(io.BytesIO(packet))
    return packet[: packet.index(sync) + 16], block.bytes_.getvalue(), sync


def text(*fields: Any) -> bytes:
    """Schema of a record with a position, of 16 bytes, and then these fields."""
    listed = [_POSITION, *({"name": f"f{i}", "type": field} for i, field in enumerate(fields))]
    return json.dumps({"type": "record", "name": "alert", "fields": listed}).encode()


def record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields]}


def doubling(depth: int) -> dict[str, Any]:
    """Every record holds the next one twice."""
    schema = record(f"d{depth}", ("a", "int"))
    for level in reversed(range(depth)):
        schema = record(f"d{level}", ("a", schema), ("b", f"d{level + 1}"))
    return schema


def nested(depth: int) -> Any:
    schema: Any = "int"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema
