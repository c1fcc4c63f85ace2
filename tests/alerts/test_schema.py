from __future__ import annotations

import io
import json
import random

import fastavro
import pytest

from tests.alerts.makers import SMALL_SCHEMA, random_value
from xmatch_hats.alerts.limits import FILE_LIMITS, Limits
from xmatch_hats.alerts.plan import FieldPaths, PlanCache, extend_schema, make_plan
from xmatch_hats.alerts.schema import load_schema, parse_schema, plain_schema
from xmatch_hats.errors import PacketError


def record(*fields, name="r", **more):
    listed = [{"name": f"f{i}", "type": field} for i, field in enumerate(fields)]
    return {"type": "record", "name": name, "fields": listed} | more


def fixed(size, name="x"):
    return {"type": "fixed", "name": name, "size": size}


ALLOWED = {
    "primitives": record("null", "boolean", "int", "long", "float", "double", "bytes", "string"),
    "logical types": record(
        {"type": "long", "logicalType": "timestamp-micros"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        {"type": "string", "logicalType": "uuid"},
        fixed(12, "d") | {"logicalType": "duration"},
    ),
    "enum and fixed": record({"type": "enum", "name": "e", "symbols": ["A", "B"]}, fixed(3), "x", "e"),
    "maps of arrays": record({"type": "map", "values": {"type": "array", "items": ["null", "string"]}}),
    "nested type word": record({"type": {"type": "string"}}, {"type": ["null", "int"]}),
    "empty record, null and fixed of size 0 outside of arrays": record(record(name="e"), "null", fixed(0)),
    "elements with a null beside": record(
        {"type": "array", "items": record("int", "null", name="e")}, {"type": "map", "values": "e"}
    ),
    "map of null": record({"type": "map", "values": "null"}),
    "branch of a null": record(["int", record("null", name="e")], {"type": "array", "items": ["null", "e"]}),
    "name used twice": record(record("int", name="a"), ["null", "a"], {"type": "array", "items": "a"}),
    "namespaces": record(
        record(record("int", name="inner"), "inner", "a.b.inner", name="mid", namespace="a.b"),
        "a.b.mid",
        record("int", name="c.d.far"),
        "c.d.far",
        name="top",
        namespace="ns",
        aliases=["old"],
    ),
    "name outside of namespaces": record(
        record("int", name="plain", namespace=""), record("plain", name="other"), name="ns.top"
    ),
    "branches twice": record(["int", "int"]),
}


@pytest.mark.parametrize("schema", ALLOWED.values(), ids=ALLOWED.keys())
def test_good_structures_are_allowed_and_kept(schema):
    node = parse_schema(schema, FILE_LIMITS)
    plain = fastavro.parse_schema(plain_schema(node))
    rng = random.Random(1)
    for _ in range(20):
        value = random_value(plain_schema(node), rng)
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, plain, value)
        buffer.seek(0)
        assert fastavro.schemaless_reader(buffer, plain) == value
        assert len(buffer.getvalue()) >= node.min_bytes


def doubling(depth: int) -> dict:
    """Every record holds the next one twice: 2^depth fields when unfolded."""
    schema = record("int", name=f"r{depth}")
    for level in reversed(range(depth)):
        schema = record(schema, f"r{level + 1}", name=f"r{level}")
    return schema


def deep(depth: int) -> dict:
    schema: object = "int"
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return record(schema)


REFUSED = {
    "recursive record": (record("r"), "contains itself"),
    "recursive by union": (record(["null", "r"]), "contains itself"),
    "recursive by array": (record({"type": "array", "items": "r"}), "contains itself"),
    "recursive two apart": (record(record(["null", "r"], name="q")), "contains itself"),
    "unknown name": (record("nobody"), "unknown type, 'nobody'"),
    "used before it is defined": (record("q", record("int", name="q")), "unknown type"),
    "defined twice": (record(fixed(1), fixed(2)), "twice"),
    "primitive defined": (record(fixed(1, "int")), "twice"),
    "doubling": (doubling(25), "unfolds"),
    "deep": (deep(40), "deep"),
    "deep type words": (json.loads('{"type":' * 40 + '"int"' + "}" * 40), "deep"),
    "many fields": (record(*["int"] * 20_001), "more than 20000"),
    "array of null": (record({"type": "array", "items": "null"}), "no bytes"),
    "array of empty records": (record({"type": "array", "items": record(name="e")}), "no bytes"),
    "array of fixed 0": (record({"type": "array", "items": fixed(0)}), "no bytes"),
    "array of records mostly null": (
        record({"type": "array", "items": record("int", *["null"] * 5, name="e")}),
        "no bytes",
    ),
    "map of nulls": (record({"type": "map", "values": record(*["null"] * 5, name="e")}), "no bytes"),
    "branch of nulls": (record(["int", record(*["null"] * 5, name="e")]), "no bytes"),
    "union in union": (record(["int", ["null", "long"]]), "union within a union"),
    "union of nothing": (record([]), "without branches"),
    "enum of nothing": (record({"type": "enum", "name": "e", "symbols": []}), "without symbols"),
    "enum of numbers": (record({"type": "enum", "name": "e", "symbols": [1]}), "without symbols"),
    "fixed without size": (record({"type": "fixed", "name": "x"}), "size"),
    "fixed of true": (record(fixed(True)), "size"),
    "fixed below 0": (record(fixed(-1)), "size"),
    "huge fixed": (record(fixed(10**15)), "size"),
    "array of what": (record({"type": "array"}), "without items"),
    "no fields": ({"type": "record", "name": "r"}, "list of fields"),
    "field without name": ({"type": "record", "name": "r", "fields": [{"type": "int"}]}, "name or type"),
    "field no object": ({"type": "record", "name": "r", "fields": ["int"]}, "name or type"),
    "field twice": ({"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}] * 2}, "name or type"),
    "no name": ({"type": "record", "fields": []}, "without a name"),
    "namespace of a number": (record(namespace=5), "namespace"),
    "type of a number": (record(5), "where a type belongs"),
    "type of null": (record({"type": None}), "unknown type"),
}


@pytest.mark.parametrize(("schema", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_structures_are_refused(schema, message):
    with pytest.raises(PacketError, match=message):
        parse_schema(schema, FILE_LIMITS)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 200_000,
        b'{"type":' * 100_000,
        b"\xff\xfe",
        b'"record"',
        b"[]",
        b'{"type": "map"}',
        b"9" * 5000,
    ],
    ids=lambda text: repr(text[:10]),
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(PacketError, match="writer schema"):
        load_schema(text, FILE_LIMITS)


def test_long_texts_are_refused_unread():
    with pytest.raises(PacketError, match="at most 10"):
        load_schema(b" " * 11, Limits(schema_bytes=10))


def test_the_extended_schema_ends_with_xmatches_and_keeps_the_rest():
    schema = SMALL_SCHEMA | {"doc": "kept", "odd": {"default": "null", "type": ["null"]}}
    schema["fields"] = [
        {"name": "a", "type": ["string", "null"], "default": "null", "doc": "README's form"},
        {"name": "xmatches", "type": "int"},
        {"name": "b", "type": "string", "default": "null"},
        {"name": "c", "type": record(["float", "null"])},
    ]
    schema["fields"][3]["type"]["fields"][0]["default"] = "null"
    extended = extend_schema(schema)
    names = [field["name"] for field in extended["fields"]]
    assert names == ["a", "b", "c", "xmatches"]
    a, b, c, last = extended["fields"]
    assert a["default"] is None
    assert a["doc"] == "README's form"
    assert b["default"] == "null"
    assert c["type"]["fields"][0]["default"] is None
    assert last["default"] is None
    assert last["type"][1] == "null"
    assert (extended["doc"], extended["odd"]) == (schema["doc"], schema["odd"])
    fastavro.parse_schema(extended)


def test_readme_defaults_are_read_and_mended():
    schema = json.loads(json.dumps(SMALL_SCHEMA))
    schema["fields"].append({"name": "extra", "type": ["string", "null"], "default": "null"})
    plan = make_plan(json.dumps(schema).encode(), FieldPaths(), FILE_LIMITS)
    assert json.loads(plan.extended_schema)["fields"][-2]["default"] is None
    assert plan.version == "9.9"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (FieldPaths(ra="candidate.rra"), "no field candidate.rra"),
        (FieldPaths(dec="nowhere.dec"), "no field nowhere.dec"),
        (FieldPaths(ra="objectId"), "as string, not a number"),
        (FieldPaths(ra="candidate"), "as record, not a number"),
        (FieldPaths(ra="tags"), "as array, not a number"),
    ],
)
def test_schemas_without_a_position_are_refused(paths, message):
    with pytest.raises(PacketError, match=message):
        make_plan(json.dumps(SMALL_SCHEMA).encode(), paths, FILE_LIMITS)


def test_replacing_xmatches_that_defines_a_name_used_later_is_refused():
    schema = json.loads(json.dumps(SMALL_SCHEMA))
    schema["fields"] += [{"name": "xmatches", "type": fixed(2, "two")}, {"name": "later", "type": "ztf.two"}]
    with pytest.raises(PacketError, match="unknown type"):
        make_plan(json.dumps(schema).encode(), FieldPaths(), FILE_LIMITS)


def test_plans_are_made_once_and_the_oldest_are_forgotten():
    made = []
    cache = PlanCache(lambda text: made.append(text) or make_plan(text, FieldPaths(), FILE_LIMITS))
    texts = [json.dumps(SMALL_SCHEMA | {"version": str(i)}).encode() for i in range(65)]
    first = cache.get(texts[0])
    for text in texts[1:64]:
        cache.get(text)
    assert cache.get(texts[0]) is first
    cache.get(texts[64])
    assert cache.get(texts[0]) is first
    assert len(made) == 65
    cache.get(texts[1])
    assert len(made) == 66
