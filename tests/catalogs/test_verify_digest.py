"""Row digests: equal rows agree however they are stored, different rows do not."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from xmatch_hats.catalogs.verify.digest import row_digests

COLUMNS = {
    "int64": pa.array([1, 2, None, 2**62]),
    "uint8": pa.array([1, 0, None, 255], pa.uint8()),
    "float": pa.array([0.5, -0.0, None, 0.0]),
    "half": pa.array(np.array([1, 2, 3, 4], np.float16)),
    "bool": pa.array([True, False, None, True]),
    "string": pa.array(["", "J1", None, "1J"]),
    "large": pa.array(["", "J1", None, "1J"], pa.large_string()),
    "binary": pa.array([b"\0", b"\0\0", None, b""]),
    "fixed": pa.array([b"ab", b"ba", None, b"aa"], pa.binary(2)),
    "list": pa.array([[1, 2], [2, 1], None, []]),
    "nested": pa.array([[["a"], []], [["a", "b"]], None, [[]]]),
    "pair": pa.array([[1.0, 2.0], [2.0, 1.0], None, [0.0, 0.0]], pa.list_(pa.float64(), 2)),
    "struct": pa.array([{"a": 1, "b": 2}, {"a": 2, "b": 1}, None, {"a": None, "b": 1}]),
    "map": pa.array([[("a", 1)], [("a", 2)], None, [("b", 1)]], pa.map_(pa.string(), pa.int64())),
    "decimal": pa.array([Decimal("1.5"), Decimal("-1.5"), None, Decimal("0")], pa.decimal128(20, 2)),
    "time": pa.array([datetime(2020, 1, 1), datetime(2020, 1, 2), None, datetime(1970, 1, 1)]),
    "dictionary": pa.array(["a", "b", None, "ab"]).dictionary_encode(),
}


def digest(array: pa.Array) -> list[int]:
    return row_digests(pa.record_batch({"x": array}), ["x"]).tolist()


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_that_differ_have_other_digests(name):
    assert len(set(digest(COLUMNS[name]))) == (3 if name == "bool" else 4)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_slice_has_the_digests_of_its_rows(name):
    whole = digest(COLUMNS[name])
    for start in range(4):
        for length in range(5 - start):
            assert digest(COLUMNS[name].slice(start, length)) == whole[start : start + length]


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_taken_have_the_digests_of_their_rows(name):
    whole = digest(COLUMNS[name])
    assert digest(COLUMNS[name].take(pa.array([3, 0, 2, 2]))) == [whole[3], whole[0], whole[2], whole[2]]


def test_storage_does_not_matter():
    assert digest(COLUMNS["string"]) == digest(COLUMNS["large"])
    assert digest(COLUMNS["string"]) == digest(COLUMNS["string"].dictionary_encode())


def test_bits_under_a_null_do_not_matter():
    bits = pa.py_buffer(np.array([7, 8], np.int64).tobytes())
    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), bits])
    assert digest(hidden) == digest(pa.array([7, None]))


def test_values_belong_to_their_columns():
    batch = pa.record_batch({"a": [1, 2], "b": [2, 1]})
    first, second = row_digests(batch, ["a", "b"]).tolist()
    assert first != second
    assert row_digests(batch.select(["b", "a"]), ["a", "b"]).tolist() == [first, second]
    assert row_digests(batch.select(["a"]), ["a", "b"]).tolist() != [first, second]


def test_no_collisions_among_a_million_near_rows():
    numbers = np.arange(1 << 20)
    batch = pa.record_batch({"a": numbers, "b": numbers[::-1].copy() / 7})
    assert len(np.unique(row_digests(batch, ["a", "b"]))) == 1 << 20
