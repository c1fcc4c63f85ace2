from __future__ import annotations

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from tests.alerts.makers import XMATCHES_FIELD
from xmatch_hats.alerts.xmatches import NULL_XMATCHES, XmatchesEncoder, default_columns, encode_xmatches
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.result import MatchResult


def answer(rows: pa.Table, left=None, rank=None, distance=None) -> MatchResult:
    left = np.arange(rows.num_rows) if left is None else np.array(left)
    rank = np.ones(len(left), np.int32) if rank is None else np.array(rank, np.int32)
    distance = np.full(len(left), 0.1) if distance is None else np.array(distance)
    empty = np.zeros(int(left.max(initial=-1)) + 1, np.uint8)
    return MatchResult(empty, empty, left.astype(np.int64), rank, distance, rows)


def decode(data: bytes):
    stream = io.BytesIO(data)
    value = fastavro.schemaless_reader(stream, XMATCHES_FIELD["type"])
    assert stream.tell() == len(data)
    return value


def column(values, kind=None, **options):
    """A column through the wire: what comes out at the other end, and how many values became null."""
    rows = pa.table({"c": pa.array(values, kind)})
    encoder = XmatchesEncoder("cat", rows.schema, **options)
    entries = encoder.encode(answer(rows))
    return [decode(encode_xmatches([entries], i))["cat"]["c"] for i in range(len(values))], encoder.nulled


moment = datetime(2020, 1, 2, 3, 4, 5, 678)
BY_TYPE = {
    "float64": (pa.float64(), [1.1, None, float("nan")], [float(np.float32(1.1)), None, None]),
    "float32": (pa.float32(), [1.5, None], [1.5, None]),
    "float16": (pa.float16(), [np.float16(1.5)], [1.5]),
    "int8": (pa.int8(), [-5, None], [-5.0, None]),
    "uint16": (pa.uint16(), [65535], [65535.0]),
    "int32": (pa.int32(), [-(2**31), None], ["-2147483648", None]),
    "int64": (pa.int64(), [2**53 + 1, None, -(2**63)], ["9007199254740993", None, "-9223372036854775808"]),
    "uint64": (pa.uint64(), [2**64 - 1], ["18446744073709551615"]),
    "boolean": (pa.bool_(), [True, False, None], ["true", "false", None]),
    "string": (pa.string(), ["J1", "", "é☆", None], ["J1", "", "é☆", None]),
    "large string": (pa.large_string(), ["x" * 300], ["x" * 300]),
    "dictionary of strings": (pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"], ["a", None, "a"]),
    "dictionary of floats": (pa.dictionary(pa.int8(), pa.float64()), [0.5, None], [0.5, None]),
    "date": (pa.date32(), [date(2020, 1, 2), None], ["2020-01-02", None]),
    "date in milliseconds": (pa.date64(), [date(2020, 1, 2)], ["2020-01-02"]),
    "time": (pa.time64("us"), [time(1, 2, 3, 4)], ["01:02:03.000004"]),
    "timestamp": (pa.timestamp("us"), [moment, None], ["2020-01-02T03:04:05.000678", None]),
    "timestamp in seconds": (pa.timestamp("s"), [datetime(1969, 12, 31)], ["1969-12-31T00:00:00"]),
    "timestamp of a zone": (
        pa.timestamp("us", "Europe/Paris"),
        [moment.replace(tzinfo=UTC)],
        ["2020-01-02T03:04:05.000678Z"],
    ),
    "decimal": (pa.decimal128(5, 2), [Decimal("1.50"), None], ["1.50", None]),
    "null": (pa.null(), [None, None], [None, None]),
}


@pytest.mark.parametrize(("kind", "values", "expected"), BY_TYPE.values(), ids=BY_TYPE.keys())
def test_values_go_by_the_type_of_their_column(kind, values, expected):
    assert column(values, kind) == (expected, 0)


def test_what_a_float_cannot_hold_is_null_and_counted():
    values = [float("inf"), float("-inf"), 1e39, -3.5e38, 3.4028235e38, 1e-50, None, float("nan")]
    found, nulled = column(values, pa.float64())
    assert found == [None, None, None, None, float(np.float32(3.4028235e38)), 0.0, None, None]
    assert nulled == 4


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()),
        pa.list_(pa.float64(), 2),
        pa.struct([("a", pa.int8())]),
        pa.map_(pa.string(), pa.int8()),
        pa.binary(),
        pa.duration("s"),
        pa.dictionary(pa.int8(), pa.list_(pa.int8())),
    ],
    ids=str,
)
def test_columns_without_a_form_are_refused_by_name(kind):
    with pytest.raises(UsageError, match=r"cannot be in xmatches: odd \(") as caught:
        XmatchesEncoder("cat", pa.schema([("good", pa.int8()), ("odd", kind)]))
    assert caught.value.place == "catalogue cat"


def test_names_on_the_wire_come_with_the_distance_first():
    rows = pa.table({"designation": ["J1"], "w1mpro": [10.5]})
    encoder = XmatchesEncoder("allwise", rows.schema, {"designation": "AllWISE", "w1mpro": "W1mag"})
    (entry,) = encoder.encode(answer(rows, distance=[0.7])).values()
    value = decode(encode_xmatches([{0: entry}], 0))["allwise"]
    assert list(value.items()) == [("angDist", float(np.float32(0.7))), ("AllWISE", "J1"), ("W1mag", 10.5)]


@pytest.mark.parametrize("names", [{"a": "b"}, {"a": "angDist"}])
def test_one_name_for_two_columns_is_refused(names):
    with pytest.raises(UsageError, match="two columns would be called"):
        XmatchesEncoder("cat", pa.schema([("a", pa.int8()), ("b", pa.int8())]), names)


def test_only_the_nearest_row_goes_out():
    rows = pa.table({"c": ["near", "far", "alone"]})
    entries = XmatchesEncoder("cat", rows.schema).encode(answer(rows, left=[2, 2, 5], rank=[1, 2, 1]))
    assert sorted(entries) == [2, 5]
    assert decode(encode_xmatches([entries], 2))["cat"]["c"] == "near"
    assert decode(encode_xmatches([entries], 5))["cat"]["c"] == "alone"


def test_several_catalogues_hold_those_that_matched():
    rows = pa.table({"c": ["x"]})
    a, b = (XmatchesEncoder(name, rows.schema).encode(answer(rows, left=[i])) for i, name in enumerate("ab"))
    assert list(decode(encode_xmatches([a, b], 0))) == ["a"]
    assert list(decode(encode_xmatches([a, b], 1))) == ["b"]
    assert list(decode(encode_xmatches([a, a], 0))) == ["a"]
    assert encode_xmatches([a, b], 2) == NULL_XMATCHES
    assert decode(NULL_XMATCHES) is None


def test_bytes_are_those_of_an_avro_library():
    rows = pa.table({"s": ["J1", None], "f": [1.25, None], "i": [2**60, None]})
    entries = XmatchesEncoder("cat", rows.schema).encode(answer(rows))
    for row in range(2):
        data = encode_xmatches([entries], row)
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, XMATCHES_FIELD["type"], decode(data))
        assert buffer.getvalue() == data


def test_no_matches_at_all():
    rows = pa.table({"s": pa.array([], pa.string()), "f": pa.array([], pa.float64())})
    assert XmatchesEncoder("cat", rows.schema).encode(answer(rows)) == {}


def test_default_columns():
    schema = pa.schema([("_row", pa.int64()), ("a", pa.int8()), ("odd", pa.list_(pa.int8())), ("b", pa.string())])
    assert default_columns(schema) == ["a", "b"]
    assert default_columns(schema, ["b", "gone", "a"]) == ["b", "a"]
