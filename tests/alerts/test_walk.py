"""The walk against a general Avro library: what it accepts, the library decodes, to the same byte."""

from __future__ import annotations

import io
import random

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.alerts.makers import long, pack, random_value, small_alert
from xmatch_hats.alerts import walk
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.program import Program, compile_program
from xmatch_hats.alerts.schema import parse_schema

STEPS = FILE_LIMITS.record_steps


def record(*fields, name="r"):
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": field} for i, field in fields]}


def wrap(schema) -> dict:
    return record((0, schema))


def compiled(schema, *paths) -> Program:
    return compile_program(parse_schema(schema, FILE_LIMITS), frozenset(paths), frozenset({"xmatches"}))


def run(program: Program, data: bytes, start: int = 0, end: int | None = None, steps: int = STEPS) -> tuple:
    marks = np.empty(len(program.slots), dtype=np.int64)
    position = walk.walk(
        program.code, np.frombuffer(data, np.uint8), start, len(data) if end is None else end, marks, steps
    )
    return position, marks.tolist()


def encode(schema, value) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), value)
    return buffer.getvalue()


RICH = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": name, "type": kind}
        for name, kind in {
            "i": "int",
            "l": "long",
            "s": "string",
            "b": "bytes",
            "t": "boolean",
            "f": "float",
            "d": "double",
            "e": {"type": "enum", "name": "e", "symbols": ["A", "B", "C"]},
            "x": {"type": "fixed", "name": "x", "size": 3},
            "u": ["null", "string", "long", {"type": "array", "items": "int"}],
            "m": {"type": "map", "values": {"type": "array", "items": ["float", "null"]}},
            "q": {"type": "array", "items": {"type": "record", "name": "q", "fields": [{"name": "a", "type": "x"}]}},
            "v": ["q", "null"],
            "w": {"type": "array", "items": {"type": "map", "values": "q"}},
        }.items()
    ],
}


@pytest.mark.parametrize("seed", range(40))
def test_a_walk_ends_where_the_value_does(seed):
    program = compiled(RICH)
    data = encode(RICH, random_value(RICH, random.Random(seed)))
    assert run(program, b"..." + data + b"...", 3)[0] == 3 + len(data)
    for end in range(len(data)):
        assert run(program, data, 0, end)[0] < 0


@pytest.mark.parametrize("seed", range(60))
def test_what_a_walk_accepts_a_library_decodes(seed):
    rng = random.Random(seed)
    program, schema = compiled(RICH), fastavro.parse_schema(RICH)
    good = encode(RICH, random_value(RICH, rng))
    accepted = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        position, _ = run(program, bytes(data))
        if position >= 0:
            accepted += 1
            stream = io.BytesIO(bytes(data))
            fastavro.schemaless_reader(stream, schema)
            assert stream.tell() == position
    assert accepted


@given(st.binary(max_size=12))
def test_strings_are_told_from_what_is_no_utf8(text):
    try:
        text.decode()
    except UnicodeDecodeError:
        expected = walk.BAD_UTF8
    else:
        expected = 1 + len(text)
    assert run(compiled(wrap("string")), long(len(text)) + text)[0] == expected


@given(st.text(max_size=12))
def test_every_text_is_utf8(text):
    data = text.encode()
    assert run(compiled(wrap("string")), long(len(data)) + data + b"\x80")[0] == len(long(len(data))) + len(data)


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers(number):
    data = long(number)
    assert run(compiled(wrap("long")), data)[0] == len(data)
    assert (run(compiled(wrap("int")), data)[0] == len(data)) == (-(2**31) <= number < 2**31)


ARRAY = wrap({"type": "array", "items": "long"})
FAULTY = {
    "empty": ("long", b"", walk.TRUNCATED),
    "number without end": ("long", b"\xff" * 9, walk.TRUNCATED),
    "number of 11 bytes": ("long", b"\xff" * 10 + b"\x01", walk.BAD_NUMBER),
    "number of 65 bits": ("long", b"\xff" * 9 + b"\x02", walk.BAD_NUMBER),
    "int of 33 bits": ("int", long(2**31), walk.BAD_NUMBER),
    "boolean 2": ("boolean", b"\x02", walk.BAD_BOOLEAN),
    "string of negative length": ("string", long(-1), walk.BAD_LENGTH),
    "string beyond the end": ("string", long(4) + b"abc", walk.BAD_LENGTH),
    "bytes of most length": ("bytes", long(2**63 - 1) + b"abc", walk.BAD_LENGTH),
    "surrogate": ("string", long(3) + b"\xed\xa0\x80", walk.BAD_UTF8),
    "overlong": ("string", long(2) + b"\xc0\x80", walk.BAD_UTF8),
    "beyond Unicode": ("string", long(4) + b"\xf4\x90\x80\x80", walk.BAD_UTF8),
    "character cut by the length": ("string", long(1) + b"\xc3\xa9", walk.BAD_UTF8),
    "branch 2 of 2": (["null", "int"], long(2), walk.BAD_BRANCH),
    "branch -1": (["null", "int"], long(-1), walk.BAD_BRANCH),
    "symbol 1 of 1": ({"type": "enum", "name": "e", "symbols": ["A"]}, long(1), walk.BAD_BRANCH),
    "fixed cut": ({"type": "fixed", "name": "x", "size": 3}, b"ab", walk.TRUNCATED),
    "array of billions": ({"type": "array", "items": "long"}, long(2**40) + b"\0" * 50, walk.BAD_LENGTH),
    "array of most": ({"type": "array", "items": "long"}, long(2**63 - 1) + b"\0" * 50, walk.BAD_LENGTH),
    "array of least": ({"type": "array", "items": "long"}, long(-(2**63)) + long(3) + b"\0" * 50, walk.BAD_LENGTH),
    "array without end": ({"type": "array", "items": "long"}, long(2) + b"\0\0", walk.TRUNCATED),
    "array block of negative size": (
        {"type": "array", "items": "long"},
        long(-1) + long(-1) + b"\0\0",
        walk.BAD_LENGTH,
    ),
    "array block beyond the end": ({"type": "array", "items": "long"}, long(-1) + long(9) + b"\0\0", walk.BAD_LENGTH),
    "array block too long": ({"type": "array", "items": "long"}, long(-1) + long(2) + b"\0\0\0", walk.BAD_BLOCK),
    "map of billions": ({"type": "map", "values": "long"}, long(26) + b"\0" * 50, walk.BAD_LENGTH),
    "map key no UTF-8": ({"type": "map", "values": "long"}, long(1) + long(1) + b"\xff\0\0", walk.BAD_UTF8),
}


@pytest.mark.parametrize(("schema", "data", "fault"), FAULTY.values(), ids=FAULTY.keys())
def test_faults_are_named(schema, data, fault):
    assert run(compiled(wrap(schema)), data)[0] == fault
    assert fault in walk.FAULTS


def test_blocks_with_sizes_are_walked_over():
    data = long(-2) + long(2) + b"\0\0" + long(1) + b"\0" + long(0)
    assert run(compiled(ARRAY), data)[0] == len(data)


def test_steps_are_bounded():
    data = long(1000) + b"\0" * 1000 + long(0)
    assert run(compiled(ARRAY), data, steps=100)[0] == walk.TOO_LONG


def test_values_of_no_bytes_cost_steps_too():
    schema = wrap({"type": "array", "items": record((0, "int"), *[(i, "null") for i in range(1, 5)], name="e")})
    data = long(20) + b"\0" * 20 + long(0)
    assert run(compiled(schema), data)[0] == len(data)
    assert run(compiled(schema), data, steps=100)[0] == walk.TOO_LONG


def test_the_machine_is_the_same_uncompiled():
    program = compiled(RICH)
    data = encode(RICH, random_value(RICH, random.Random(3)))
    marks = np.empty(len(program.slots), dtype=np.int64)
    arguments = (program.code, np.frombuffer(data, np.uint8), 0, len(data), marks, STEPS)
    assert walk.walk.py_func(*arguments) == len(data)


def test_wanted_fields_are_found_through_unions_in_any_order():
    inner = {
        "type": "record",
        "name": "c",
        "fields": [
            {"name": "dec", "type": ["null", "float", "double"]},
            {"name": "ra", "type": ["double", "null"]},
        ],
    }
    schema = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "xmatches", "type": ["int", "null"]},
            {"name": "other", "type": inner},
            {"name": "c", "type": ["null", "c"]},
        ],
    }
    program = compiled(schema, "c.ra", "c.dec", "c.none")
    kinds = [(slot.path, slot.kind) for slot in program.slots]
    data = encode(schema, {"xmatches": 5, "other": {"ra": 1.0, "dec": None}, "c": {"ra": 2.0, "dec": ("double", 3.0)}})
    _, marks = run(program, data)
    found = {kind: position for kind, position in zip(kinds, marks, strict=True) if position >= 0}
    assert found.pop(("xmatches", "start")) == 0
    assert found.pop(("xmatches", "end")) == 2
    value = found[("c.ra", "double")]
    assert np.frombuffer(data, "<f8", 1, value) == 2.0
    assert any(np.frombuffer(data, "<f8" if kind == "double" else "<f4", 1, place)[0] == 3.0
               for (path, kind), place in found.items() if path == "c.dec")  # fmt: skip
    _, marks = run(program, encode(schema, {"xmatches": None, "other": {"ra": 1.0, "dec": None}, "c": None}))
    assert [position for (path, _), position in zip(kinds, marks, strict=True) if path != "xmatches"] == [-1] * (
        len(kinds) - 2
    )


def test_what_records_need_is_compiled_before_they_come():
    known = list(walk.walk.signatures)
    assert len(PacketReader().read(pack([small_alert(1, 10.0, -5.0)])).alerts) == 1
    assert len(known) == 1
    assert walk.walk.signatures == known
