"""The form of a matched table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from xmatch_hats.errors import UsageError
from xmatch_hats.matching.assemble import joined_table, take
from xmatch_hats.matching.result import MatchResult

BIG = 9_007_199_254_740_993


def result(status, left, rows, *, rank=None, k=1):
    status = np.array(status, dtype=np.uint8)
    left = np.array(left, dtype=np.int64)
    rank = np.ones(len(left), np.int32) if rank is None else np.array(rank, np.int32)
    return MatchResult(status, np.zeros_like(status), left, rank, 0.5 * np.arange(len(left)), rows, k)


@pytest.fixture
def table():
    fields = [pa.field("ra", pa.float64(), metadata={"unit": "deg"}), pa.field("objid", pa.int64())]
    return pa.table([pa.array([1.0, 2.0, 3.0, None]), pa.array([BIG, 2, 3, 4])], schema=pa.schema(fields))


@pytest.fixture
def rows():
    fields = [
        pa.field("ra", pa.float64(), nullable=False, metadata={"unit": "deg", "ucd": "pos.eq.ra"}),
        pa.field("cntr", pa.int64()),
    ]
    return pa.table([pa.array([2.1, 1.1]), pa.array([BIG + 2, BIG + 4])], schema=pa.schema(fields))


def test_left(table, rows):
    out = joined_table(table, {"allwise": result([0, 1, 0, 3], [0, 2], rows)})
    assert out.column_names == ["ra", "objid", "ra_allwise", "cntr", "_dist_arcsec", "_status"]
    assert out["objid"].to_pylist() == [BIG, 2, 3, 4]
    assert out["cntr"].to_pylist() == [BIG + 2, None, BIG + 4, None]
    assert out["cntr"].type == pa.int64()
    assert out["_dist_arcsec"].to_pylist() == [0.0, None, 0.5, None]
    assert out["_status"].to_pylist() == ["matched", "unmatched", "matched", "rejected"]
    assert out.schema.field("ra_allwise").metadata == {b"unit": b"deg", b"ucd": b"pos.eq.ra"}
    assert out.schema.field("ra").metadata == {b"unit": b"deg"}
    assert out.schema.field("_dist_arcsec").metadata[b"unit"] == b"arcsec"
    assert out.schema.field("ra_allwise").nullable


def test_inner(table, rows):
    out = joined_table(table, {"allwise": result([0, 1, 0, 3], [0, 2], rows)}, join="inner")
    assert out["objid"].to_pylist() == [BIG, 3]
    assert out["cntr"].to_pylist() == [BIG + 2, BIG + 4]


def test_several_neighbours(table, rows):
    many = pa.concat_tables([rows, rows.slice(0, 1)])
    pairs = result([1, 0, 0, 2], [1, 1, 2], many, rank=[1, 2, 1], k=None)
    out = joined_table(table, {"allwise": pairs})
    assert out["objid"].to_pylist() == [BIG, 2, 2, 3, 4]
    assert out["cntr"].to_pylist() == [None, BIG + 2, BIG + 4, BIG + 2, None]
    assert out["_rank"].to_pylist() == [None, 1, 2, 1, None]
    assert out["_status"].to_pylist() == ["unmatched", "matched", "matched", "matched", "outside-coverage"]
    assert joined_table(table, {"allwise": pairs}, join="inner")["_rank"].to_pylist() == [1, 2, 1]


def test_several_catalogues(table, rows):
    other = rows.rename_columns(["RA", "cntr"])
    results = {"a": result([0, 1, 0, 3], [0, 2], rows), "b": result([1, 2, 0, 3], [2], other.slice(1))}
    out = joined_table(table, results)
    last = ["_dist_arcsec_a", "_status_a", "_dist_arcsec_b", "_status_b"]
    assert out.column_names == ["ra", "objid", "ra_a", "cntr_a", *last[:2], "RA", "cntr_b", *last[2:]]
    assert out["_status_b"].to_pylist() == ["unmatched", "outside-coverage", "matched", "rejected"]
    assert joined_table(table, results, join="inner")["objid"].to_pylist() == [3]
    results["b"] = result([1] * 4, [], other.slice(0, 0), k=2)
    with pytest.raises(UsageError, match="several neighbours of several catalogues"):
        joined_table(table, results)


def test_names(table, rows):
    pairs = {"allwise": result([0, 1, 0, 3], [0, 2], rows)}
    for names in ({"ra": "RAJ2000", "cntr": "ID"}, {"allwise": {"ra": "RAJ2000", "cntr": "ID"}}):
        assert joined_table(table, pairs, names=names).column_names[2:4] == ["RAJ2000", "ID"]


def test_names_that_are_taken_twice(table, rows):
    table = table.append_column("ra_allwise", table["ra"])
    out = joined_table(table, {"allwise": result([0, 1, 0, 3], [0, 2], rows)})
    assert out.column_names[3:5] == ["ra_allwise_allwise", "cntr"]


@pytest.mark.parametrize("name", ["_dist_arcsec", "_status", "_rank"])
def test_matches_follow_one_another(table, rows, name):
    table = table.append_column(name, table["ra"])
    answer = {"allwise": result([0, 1, 0, 3], [0, 2], rows)}
    out = joined_table(table, answer)
    assert out[name].equals(table[name])
    assert out.column_names[-2:] == ["_dist_arcsec_allwise", "_status_allwise"]
    with pytest.raises(UsageError, match="already has a column '_dist_arcsec_allwise'"):
        joined_table(out, answer)


def test_catalogue_columns_named_as_the_last_ones(table, rows):
    rows = rows.rename_columns(["_status", "_dist_arcsec"])
    out = joined_table(table, {"allwise": result([0, 1, 0, 3], [0, 2], rows)})
    assert out.column_names[2:] == ["_status_allwise", "_dist_arcsec_allwise", "_dist_arcsec", "_status"]
    assert out["_status"][0].as_py() == "matched"


def test_no_rows_and_unknown_join(table, rows):
    out = joined_table(table.slice(0, 0), {"allwise": result([], [], rows.slice(0, 0))})
    assert out.num_rows == 0
    assert out.num_columns == 6
    with pytest.raises(UsageError, match="no join 'outer'"):
        joined_table(table, {"allwise": result([1] * 4, [], rows.slice(0, 0))}, join="outer")


def test_rows_are_taken():
    column = pa.chunked_array([[5, 6], [7]])
    assert take(column, np.array([0, 1, 2])) is column
    assert take(column, np.array([0, 1])).to_pylist() == [5, 6]
    assert take(column, np.array([2, -1, 0])).to_pylist() == [7, None, 5]
    table = pa.table({"a": column})
    assert take(table, np.array([0, 1, 2])) is table
    assert take(table, np.array([1, 1, 0, 2])).to_pydict() == {"a": [6, 6, 5, 7]}
