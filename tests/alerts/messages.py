"""Messages of bare records, and a survey that sends them; by fastavro, none of it uses the code under test."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import fastavro

from xmatch_hats.alerts.plan import FieldPaths

LSST_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "namespace": "lsst.v7_1",
    "fields": [
        {"name": "diaSourceId", "type": "long"},
        {
            "name": "diaSource",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "diaSource",
                    "fields": [
                        {"name": "visit", "type": "long"},
                        {"name": "midpointMjdTai", "type": "double"},
                        {"name": "ra", "type": ["null", "double"], "default": None},
                        {"name": "dec", "type": ["null", "double"], "default": None},
                        {"name": "isNegative", "type": ["null", "boolean"], "default": None},
                        {"name": "psfFlux", "type": ["null", "float"], "default": None},
                    ],
                },
            ],
        },
        {"name": "prvDiaSources", "type": ["null", {"type": "array", "items": "diaSource"}], "default": None},
        {
            "name": "diaObject",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "diaObject",
                    "fields": [
                        {"name": "diaObjectId", "type": "long"},
                        {"name": "ra", "type": "double"},
                        {"name": "dec", "type": "double"},
                    ],
                },
            ],
            "default": None,
        },
        {"name": "cutoutScience", "type": ["null", "bytes"], "default": None},
    ],
}
LSST_PATHS = FieldPaths(
    ra="diaSource.ra",
    dec="diaSource.dec",
    object_id=("diaObject.diaObjectId", "ssObject.ssObjectId"),
    candid=("diaSourceId",),
    extra=("diaSource.midpointMjdTai", "diaSource.psfFlux", "diaSource.isNegative", "diaSource.nothing"),
)


def bare(record: dict, schema: dict) -> bytes:
    """A record's bytes, by fastavro."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(json.dumps(schema))), record)
    return buffer.getvalue()


def wire(number: int, body: bytes) -> bytes:
    return struct.pack(">bI", 0, number) + body


def single(schema: dict, body: bytes) -> bytes:
    """A single-object message, its fingerprint by fastavro."""
    canonical = fastavro.schema.to_parsing_canonical_form(json.loads(json.dumps(schema)))
    return b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")) + body
