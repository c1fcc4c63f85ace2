"""Conditions: what pandas answers, for queries that tell of each row by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from xmatch_hats.catalogs.where import Condition
from xmatch_hats.errors import UsageError

TABLE = pa.table(
    {
        "n": pa.array([1, 60, None, 80], pa.int64()),
        "mag": pa.array([1.5, np.nan, 3.0, None]),
        "name": ["a", "ZTF1", None, "b"],
        "a b": [1, 2, 3, 4],
        "kind": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "flux": pa.array([1, 2, 3, 4], pa.float32()),
        "ok": [True, False, None, True],
        "at": pa.array([0, 86_400_000, None, 5], pa.timestamp("ms")),
        "several": [[1], [2, 3], None, []],
        "class": ["a", "b", "a", None],
        "pair": [{"x": 1}, {"x": 2}, {"x": 3}, None],
    }
)


@pytest.mark.parametrize(
    "query",
    [
        "n > 50",
        "n > 50 and mag < 20",
        "not (mag < 2)",
        "name.str.startswith('ZTF')",
        "`a b` in [1, 3]",
        "sqrt(flux) > 1.5",
        "1 < flux < 3",
        "name == 'it`s' or ok",
        "mag.isna()",
        "n.notna() & ~(n > 70)",
        "name.str.lower().str.len() > 1",
        "flux - mag > 0.5",
        "n / `a b` > 1",
        "abs(mag) < 2 | flux ** 2 > 10",
        "n == [1, 60]",
        "`class` == 'a'",
        "n not in (-1, 80) and name != 'a'",
        "n.isin([1, 80]) or name.str.contains('[Zb]')",
        "flux.between(mag, 3, inclusive='left')",
        "at.dt.year == 1970 and at.dt.day_name() == 'Thursday'",
        "several.list.len() > 1 or pair.struct.field('x') > 2",
    ],
)
def test_the_rows_that_pandas_gives(query):
    frame = TABLE.to_pandas(types_mapper=pd.ArrowDtype)
    mask = Condition.parse(query, TABLE.schema, "--where").mask(TABLE)
    assert mask.dtype == bool
    assert np.flatnonzero(mask).tolist() == frame.query(query).index.tolist()
    one_by_one = [Condition.parse(query, TABLE.schema, "--where").mask(TABLE.slice(n, 1))[0] for n in range(4)]
    assert one_by_one == mask.tolist()


def test_dictionaries_are_compared_by_value():
    assert Condition.parse("kind == 'x'", TABLE.schema, "--where").mask(TABLE).tolist() == [True, False, True, False]


def test_the_way_around_a_remainder_is_exact():
    n = np.array([-7, -6, 0, 5, 6, 7])
    mask = Condition.parse("n - 3 * (n // 3) == 2", pa.schema([("n", pa.int64())]), "--where").mask(pa.table({"n": n}))
    assert mask.tolist() == (n % 3 == 2).tolist()


def test_what_holds_where_values_are_missing():
    table = pa.table({"n": [1, None, 2], "name": ["a", None, "b"], "mag": pa.array([np.nan, None, 1.0])})
    rows = {
        "n != 1": [False, False, True],
        "not (n == 1)": [False, False, True],
        "name != 'a'": [False, True, True],
        "n not in [1]": [False, True, True],
        "mag != 1": [True, False, False],
        "mag.isna()": [False, True, False],
    }
    for query, expected in rows.items():
        assert Condition.parse(query, table.schema, "--where").mask(table).tolist() == expected, query


def test_it_tells_which_columns_it_needs():
    assert Condition.parse("`a b` > n and abs(flux) < n", TABLE.schema, "--where").columns == ("a b", "n", "flux")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("n", "is no condition"),
        ("mag.mean() > 2", r"cannot use mean\(\)"),
        ("mag < mag.max()", r"cannot use max\(\)"),
        ("n.isin(flux)", r"only values can stand in isin\(\).*as in 'fid in"),
        ("n.isin([1, `a b`])", "in a list"),
        ("n in flux", "only values .* after 'in'"),
        ("3 in n", "only values .* after 'in'"),
        ("n not in [flux]", "only values .* after 'in'"),
        ("n == [flux, 3]", "only values can stand in a list"),
        ("n < [3]", r"look up a row in the list \[3\], and no more"),
        ("abs([1]) < n", "list"),
        ("n.between([1], 3)", "list"),
        ("n.round(`a b`) > 1", r"only values can stand in round\(\)"),
        ("name.str.cat(sep='x') == 'a'", r"cannot use cat\(\).*behind .str there are"),
        ("name.str.get_dummies()", r"cannot use get_dummies\(\)"),
        ("several.list.flatten() > 1", r"cannot use flatten\(\)"),
        ("pair.struct.explode()", r"cannot use explode\(\)"),
        ("name.str.lower().max() == 'a'", r"cannot use max\(\)"),
        ("n % 2 == 0", r"cannot use %.*a - b \* \(a // b\)"),
        ("class == 'a'", "not a pandas query .*in backticks: `class`"),
        ("at.dt.unit == 'ms'", r"cannot use \.unit"),
        ("nn > 3", "no column nn"),
        ("@n > 3", "not a pandas query"),
        ("n = 3", "not a pandas query"),
        ("", "not a pandas query"),
        ("True", "names no column"),
        ("__import__('os')", "no function __import__"),
        ("n.index > 3", r"cannot use \.index"),
        ("n[0] > 1", "cannot hold"),
        ("name > 3", "the query fails"),
    ],
)
def test_what_is_no_condition(query, words):
    with pytest.raises(UsageError, match=words):
        Condition.parse(query, TABLE.schema, "--where")
