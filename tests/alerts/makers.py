"""Packets, schemas and answers made to measure; none of it uses the code under test."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.sphere import position_faults

XMATCHES_FIELD = {
    "name": "xmatches",
    "type": [{"type": "map", "values": {"type": "map", "values": ["string", "float", "null"]}}, "null"],
    "default": None,
}

SMALL_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "namespace": "ztf",
    "version": "9.9",
    "fields": [
        {"name": "objectId", "type": "string"},
        {"name": "candid", "type": "long"},
        {
            "name": "candidate",
            "type": {
                "type": "record",
                "name": "candidate",
                "fields": [{"name": "ra", "type": "double"}, {"name": "dec", "type": "double"}],
            },
        },
        {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
    ],
}


def small_alert(number: int = 0, ra: float = 10.0, dec: float = -5.0, **more: Any) -> dict[str, Any]:
    return {
        "objectId": f"ZTF{number}",
        "candid": number,
        "candidate": {"ra": ra, "dec": dec},
        "tags": ["é", None],
    } | more


def pack(records: list[dict], schema: dict = SMALL_SCHEMA, **options: Any) -> bytes:
    """A container, by fastavro."""
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(json.loads(json.dumps(schema))), records, **options)
    return buffer.getvalue()


def unpack(data: bytes) -> list[dict]:
    """The records of a container, by fastavro."""
    return list(fastavro.reader(io.BytesIO(data)))


def schema_of(data: bytes) -> dict:
    return json.loads(fastavro.reader(io.BytesIO(data)).metadata["avro.schema"])


def long(value: int) -> bytes:
    """A zigzag number, written another way than the code under test does."""
    value = value * 2 if value >= 0 else -value * 2 - 1
    digits = []
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit)
        if not value:
            return bytes([*(digit + 128 for digit in digits[:-1]), digits[-1]])


def raw(text: bytes, body: bytes, *, count: int = 1, codec: bytes = b"null", sync: bytes = b"S" * 16) -> bytes:
    """A container of any schema text and any record bytes, valid or not."""
    entries = b"".join(
        long(len(part)) + part for pair in ((b"avro.schema", text), (b"avro.codec", codec)) for part in pair
    )
    return b"Obj\x01" + long(2) + entries + long(0) + sync + long(count) + long(len(body)) + body + sync


def load_ztf_schema(folder: Path) -> dict:
    """One of the official schema versions, its files joined."""
    parts = {}
    for file in folder.glob("*.avsc"):
        part = json.loads(file.read_text())
        parts[f"{part['namespace']}.{part['name']}"] = part
    seen: set[str] = set()

    def join(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: join(item) if key in ("type", "items", "fields") else item for key, item in value.items()}
        if isinstance(value, list):
            return [join(item) for item in value]
        if value in parts and value not in seen:
            seen.add(value)
            return join(parts[value])
        return value

    return join(parts["ztf.alert"])


def full_name(schema: dict, space: str) -> str:
    return schema["name"] if "." in schema["name"] or not space else f"{space}.{schema['name']}"


def collect_names(schema: Any, space: str, named: dict[str, Any]) -> dict[str, Any]:
    """Named types and the namespace within each."""
    if isinstance(schema, list):
        for branch in schema:
            collect_names(branch, space, named)
    elif isinstance(schema, dict):
        if "name" in schema and schema["type"] in ("record", "enum", "fixed"):
            full = full_name(schema, schema.get("namespace", space))
            space = full.rpartition(".")[0]
            named[full] = schema, space
        for field in schema.get("fields", []):
            collect_names(field["type"], space, named)
        for word in ("items", "values", "type"):
            collect_names(schema.get(word), space, named)
    return named


def random_value(schema: Any, rng: random.Random, named: dict[str, Any] | None = None, space: str = "") -> Any:
    """Any value of a schema; unions take any branch, arrays are short."""
    named = collect_names(schema, space, {}) if named is None else named
    if isinstance(schema, list):
        return random_value(rng.choice(schema), rng, named, space)
    kind = schema if isinstance(schema, str) else schema["type"]
    if isinstance(kind, dict | list):
        return random_value(kind, rng, named, space)
    if kind in PRIMITIVE_VALUES:
        return PRIMITIVE_VALUES[kind](rng)
    if kind == "array":
        return [random_value(schema["items"], rng, named, space) for _ in range(rng.randrange(4))]
    if kind == "map":
        return {random_text(rng): random_value(schema["values"], rng, named, space) for _ in range(rng.randrange(4))}
    if isinstance(schema, str):
        names = (f"{space}.{schema}" if space else schema, schema)
        schema, space = next(named[name] for name in names if name in named)
        return random_value(schema, rng, named, space)
    space = full_name(schema, schema.get("namespace", space)).rpartition(".")[0]
    if kind == "record":
        return {field["name"]: random_value(field["type"], rng, named, space) for field in schema["fields"]}
    if schema["type"] == "enum":
        return rng.choice(schema["symbols"])
    return rng.randbytes(schema["size"])


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice("abcXYZ019 é☆𝄞") for _ in range(rng.randrange(12)))


PRIMITIVE_VALUES = {
    "null": lambda rng: None,
    "boolean": lambda rng: rng.random() < 0.5,
    "int": lambda rng: rng.choice([0, -1, 2**31 - 1, -(2**31), rng.randrange(-100, 100)]),
    "long": lambda rng: rng.choice([0, -1, 2**63 - 1, -(2**63), rng.randrange(-(10**9), 10**9)]),
    "float": lambda rng: float(np.float32(rng.uniform(-1e6, 1e6))),
    "double": lambda rng: rng.uniform(-1e6, 1e6),
    "bytes": lambda rng: rng.randbytes(rng.randrange(20)),
    "string": random_text,
}


class StandIn:
    """A crossmatcher that finds what it is told to: rows of a table at given input declinations."""

    def __init__(self, rows: pa.Table, decs: list[float], *, name: str = "allwise", outside: float = 80.0) -> None:
        self.targets = [SimpleNamespace(name=name, schema=rows.schema, copy=SimpleNamespace(definition=None))]
        self.batches: list[int] = []
        self._rows = rows
        self._decs = decs
        self._outside = outside

    def match(self, ra: Any, dec: Any) -> dict[str, MatchResult]:
        ra, dec = np.asarray(ra), np.asarray(dec)
        self.batches.append(len(ra))
        faults = position_faults(ra, dec)
        status = np.full(len(ra), MatchStatus.UNMATCHED, dtype=np.uint8)
        status[dec > self._outside] = MatchStatus.OUTSIDE_COVERAGE
        status[faults > 0] = MatchStatus.REJECTED
        pairs = [(i, self._decs.index(d)) for i, d in enumerate(dec.tolist()) if d in self._decs and not faults[i]]
        left = np.array([i for i, _ in pairs], dtype=np.int64)
        status[left] = MatchStatus.MATCHED
        rows = self._rows.take(pa.array([j for _, j in pairs], pa.int64()))
        distance = np.array([0.25 + j for _, j in pairs])
        return {
            target.name: MatchResult(status, faults, left, np.ones(len(left), dtype=np.int32), distance, rows)
            for target in self.targets
        }


ROWS = pa.table({"designation": ["J1", "J2"], "w1mpro": pa.array([10.5, None]), "cntr": pa.array([2**53 + 1, 7])})
"""What `stand_in` finds, at declinations -5 and -6."""


def stand_in(**options: Any) -> StandIn:
    return StandIn(ROWS, [-5.0, -6.0], **options)
