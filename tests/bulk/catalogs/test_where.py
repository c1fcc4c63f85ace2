"""Conditions: what pandas answers, for queries that tell of each row by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from xmatch_hats.bulk.catalogs.where import Condition
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


def test_it_tells_which_columns_it_needs():
    assert Condition.parse("`a b` > n and abs(flux) < n", TABLE.schema, "--where").columns == ("a b", "n", "flux")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("n", "is no condition"),
        ("mag.mean() > 2", r"cannot use mean\(\)"),
        ("mag < mag.max()", r"cannot use max\(\)"),
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
