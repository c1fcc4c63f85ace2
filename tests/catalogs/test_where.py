"""Conditions: what pandas answers, for queries that tell of each row by itself."""

from __future__ import annotations

import ast
import contextlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pandas.core.computation import expr

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
        "µ": [1, 2, 3, 4],
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
        "n > 50 & flux < 4 | mag == 3",
        "flux < 10 ** (-0.4 * 2) * 2 ** 3",
        r"""name != 'it\'s' and name != "a\\" """,
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


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("`µ` > 2", "flux > 2"),
        ("(n > 50  # `it's` a lot\n and `a b` > 1)", "n > 50 and `a b` > 1"),
        (r"name == 'a\'' or name == 'a' and `a b` == 1", "name == 'a'"),
        (r"""name != 'a\' `x' and `a b` > 1""", "name != 'b' and `a b` > 1 or n == 80"),
        ("name == '''a''' or name == r'`b`'", "name == 'a'"),
    ],
)
def test_texts_end_where_python_ends_them(query, plain):
    first, second = (Condition.parse(words, TABLE.schema, "--where").mask(TABLE).tolist() for words in (query, plain))
    assert first == second


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
        ("9**9**9**9 > n", r"9 \*\* 9 \*\* 9 is too large a number"),
        ("n * (1 + 2**64) > 3", "too large a number .*1e20"),
        ("abs(100000000000000000000) ** 99999999 > n", "too large a number"),
        ("(9 and 9) ** (99999999 or 9) > n", "no calculation with numbers"),
        ("'a' * 99999999999 == name", "no calculation with numbers"),
        ("1 / 0 > n", "no calculation with numbers"),
        ("n == 1j", "cannot hold"),
        ("-" * 20_000 + "n > 3", "nested too deeply"),
        ("(n := 3) > 2", "cannot hold"),
        ("name == f'{n.to_csv()}'", "cannot hold"),
        ("name.__class__ == 3", "cannot use .__class__"),
        ("abs.__globals__ == n", "cannot use .__globals__"),
        ("name.str.__class__ == 3", "cannot use .__class__"),
        ("\uff4eame.\uff54o_csv() == n", r"cannot use to_csv\(\)"),
        ("µ > 3", "there is no column μ"),
        ("n > 3\nflux > 3", "not a pandas query"),
        ("`a b > 3", "not a pandas query"),
        ("name == 'a` > `a b`", "not a pandas query"),
    ],
)
def test_what_is_no_condition(query, words):
    with pytest.raises(UsageError, match=words):
        Condition.parse(query, TABLE.schema, "--where")


TRICKS = [
    r"""name == 'a\' `x' or name.to_csv("PLACE") == ' ` '""",
    r"""name == "a\" `x" or name.to_csv("PLACE") == " ` " """,
    r"""name == 'a\' `x' or n > n.mean() or name == ' ` '""",
    r"""name == 'a\\' or name.to_csv("PLACE") == ' ` '""",
    """name == '''a' `x''' or name.to_csv("PLACE") == ''' ` '''""",
    """name == r'a\\' or name.to_csv("PLACE") == r' ` '""",
    """name == b'a\\' `x' or name.to_csv("PLACE") == b' ` '""",
    """name == f'`x' or name.to_csv("PLACE") == f' ` '""",
    """(n > 3 # ' `x\n or name.to_csv("PLACE") == ' ` ')""",
    """n > 3 or \\\n name.to_csv("PLACE") == n""",
    """n > 3 or `name.to_csv("PLACE")` == n""",
    """`a b` > 3 or `a b.to_csv("PLACE")""",
    """name == "`" or name.to_csv("PLACE") == "`" """,
    """name == "`" or @name.to_csv("PLACE") == "`" """,
    """name == '\x0c`' or name.to_csv("PLACE") == '`'""",
    """n = name.to_csv("PLACE")""",
    r"""name == 'a\\\' `x' or name.to_csv.__globals__["sys"] == ' ` '""",
]


@pytest.fixture
def looked_up(monkeypatch):
    """Names behind dots that pandas came to."""
    names = set()
    visit = expr.BaseExprVisitor.visit

    def spy(self, node, **options):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        return visit(self, node, **options)

    monkeypatch.setattr(expr.BaseExprVisitor, "visit", spy)
    return names


@pytest.mark.parametrize("trick", TRICKS)
def test_no_quoting_hides_what_pandas_would_run(trick, looked_up, tmp_path):
    place = tmp_path / "written"
    with contextlib.suppress(UsageError):
        Condition.parse(trick.replace("PLACE", str(place)), TABLE.schema, "--where").mask(TABLE)
    assert not place.exists()
    assert not looked_up


PIECES = (
    "'", '"', "'''", '"""', "\\", "`", "#", "\n", "r'", "f'", " ", "(", ")", " or ", " == ", "n", "name", "`a b`",
)  # fmt: skip
LURES = ("name.to_csv('')", "n.mean()", "name.str", "@n", " & ")


@given(st.lists(st.sampled_from(PIECES + LURES), max_size=14))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["name", " == ", "'", "\\", "'", "`", "'", " or ", "name.to_csv('')", " == ", "'", "`", "'"])
def test_whatever_is_quoted_pandas_looks_up_what_was_looked_through(looked_up, pieces):
    with contextlib.suppress(UsageError):
        Condition.parse("".join(pieces), TABLE.schema, "--where").mask(TABLE)
    assert looked_up <= {"str"}
