"""Conditions on rows: pandas queries that tell of each row by itself whether it counts.

A query that looks at other rows, as ``mag < mag.mean()`` does, would depend on how the rows are cut into partitions and
pieces; such ones are refused.
"""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.errors import UsageError

_QUOTED = re.compile(r"""("[^"]*"|'[^']*')|`([^`]+)`""")

_FUNCTIONS = frozenset(
    [
        "abs",
        "arccos",
        "arccosh",
        "arcsin",
        "arcsinh",
        "arctan",
        "arctan2",
        "arctanh",
        "ceil",
        "cos",
        "cosh",
        "exp",
        "expm1",
        "floor",
        "log",
        "log10",
        "log1p",
        "sin",
        "sinh",
        "sqrt",
        "tan",
        "tanh",
    ]
)
"""What pandas lets a query call by name."""
_METHODS = frozenset(["abs", "between", "isin", "isna", "isnull", "notna", "notnull", "round"])
"""Methods of a column that tell of each row by itself."""
_BEHIND = {
    "str": frozenset((
        "capitalize", "casefold", "contains", "count", "endswith", "find", "fullmatch", "get", "isalnum",
        "isalpha", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "len",
        "lower", "lstrip", "match", "pad", "removeprefix", "removesuffix", "replace", "rfind", "rstrip",
        "slice", "startswith", "strip", "swapcase", "title", "upper", "zfill",
    )),
    "dt": frozenset((
        "ceil", "date", "day", "day_name", "day_of_week", "day_of_year", "dayofweek", "dayofyear", "days",
        "floor", "hour", "is_leap_year", "is_month_end", "is_month_start", "is_quarter_end",
        "is_quarter_start", "is_year_end", "is_year_start", "microsecond", "microseconds", "minute", "month",
        "month_name", "nanosecond", "nanoseconds", "normalize", "quarter", "round", "second", "seconds",
        "strftime", "time", "total_seconds", "weekday", "year",
    )),
    "list": frozenset(["len"]),
    "struct": frozenset(["field"]),
}  # fmt: skip
"""What does so behind a column's accessors; others, as ``.str.cat()``, join rows or change how many there are."""
_NODES = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Name, ast.Constant, ast.List, ast.Tuple,
    ast.Call, ast.Attribute, ast.keyword, ast.boolop, ast.operator, ast.unaryop, ast.cmpop, ast.expr_context,
)  # fmt: skip
_LISTS = (ast.List, ast.Tuple)


@dataclass(frozen=True)
class Condition:
    """A query that was looked through."""

    text: str
    columns: tuple[str, ...]
    """Columns that it needs."""
    option: str
    """What it was given as, for people."""

    @classmethod
    def parse(cls, text: str, schema: pa.Schema, option: str) -> Condition:
        """Look through a query, and try it on a row without values.

        Parameters
        ----------
        text : str
            A pandas query: ``n_det > 50 and mag < 20.5``, ``name.str.startswith('ZTF')``, ``fid in [1, 2]``; names
            with spaces in backticks. A row whose answer is missing, as that of a comparison with a null is, does not
            count. What pandas itself looks up among values, ``name != 'a'`` and ``fid not in [1]``, has an answer for
            nulls, too: they are none of them.
        schema : pyarrow.Schema
            Columns that there are.
        option : str
            What errors call it.

        Raises
        ------
        UsageError
            It is no query, names a column that is not there, looks at more than one row, or is no condition.
        """
        tree, titles = _parsed(text, schema, option)
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        _check_lists(tree, option)
        names = []
        for node in ast.walk(tree):
            if not isinstance(node, _NODES):
                raise UsageError(f"a query cannot hold {ast.unparse(node)!r}", place=option, value=text)
            if isinstance(node, ast.Mod):
                raise UsageError(
                    "a query cannot use %, which Arrow's columns do not have", place=option,
                    hint="of whole numbers it is a - b * (a // b)", value=text,
                )  # fmt: skip
            if isinstance(node, ast.Call):
                _check_call(node, option)
            elif isinstance(node, ast.Attribute) and id(node) not in called:
                _check_attribute(node, option)
            elif isinstance(node, ast.Name) and id(node) not in called:
                names.append(titles.get(node.id, node.id))
        for name in names:
            if name not in schema.names:
                raise UsageError(f"there is no column {name}", place=option, hint=near_names(name, schema.names))
        if not names:
            raise UsageError("names no column", place=option, value=text)
        condition = cls(text.strip(), tuple(dict.fromkeys(names)), option)
        condition.mask(_one_row(pa.schema([schema.field(name) for name in condition.columns])))
        return condition

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """Tell which rows count: bool, shape (n,).

        Parameters
        ----------
        table : pyarrow.Table
            n rows, with at least the columns that the query needs.

        Raises
        ------
        UsageError
            The query fails on these rows.
        """
        import pandas as pd

        frame = table.select(self.columns)
        for place, field in enumerate(frame.schema):
            if pa.types.is_dictionary(field.type):
                # Pandas compares no Arrow dictionaries.
                frame = frame.set_column(place, field.name, frame.column(place).cast(field.type.value_type))
        try:
            # Arrow's types keep whole numbers whole where some are missing, as LSDB's frames do.
            answer = frame.to_pandas(types_mapper=pd.ArrowDtype).eval(
                self.text, engine="python", local_dict={}, global_dict={}
            )
        except Exception as error:  # whatever pandas and Arrow raise, it is the query's
            raise UsageError(f"the query fails: {error}", place=self.option, value=self.text) from error
        is_by_row = isinstance(answer, pd.Series) and len(answer) == len(frame)
        if not (is_by_row and pd.api.types.is_bool_dtype(answer.dtype)):
            raise UsageError(
                "is no condition: its answer is not true or false", place=self.option, value=self.text,
                hint="compare with something, as in 'mag < 20'",
            )  # fmt: skip
        return np.asarray(answer.fillna(False).to_numpy(dtype=bool))


def _one_row(schema: pa.Schema) -> pa.Table:
    """A row without values, but for empty texts: what is missing compares with anything."""
    columns = []
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        columns.append(pa.array([""], kind) if is_text else pa.nulls(1, kind))
    return pa.table(columns, names=schema.names)


def _parsed(text: str, schema: pa.Schema, option: str) -> tuple[ast.Expression, dict[str, str]]:
    """Syntax tree of a query, and what the names in it stand for that were in backticks."""
    titles: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        name = f"BACKTICKED_{len(titles)}"
        titles[name] = found[2]
        return name

    try:
        return ast.parse(_QUOTED.sub(stand_in, text.strip()), mode="eval"), titles
    except (SyntaxError, ValueError) as error:
        hint = "for instance 'n_det > 50 and mag < 20.5'"
        words = [name for name in schema.names if keyword.iskeyword(name) and re.search(rf"\b{name}\b", text)]
        if words:
            hint = f"a column with the name of a word of Python's goes in backticks: `{words[0]}`"
        raise UsageError(f"{text!r} is not a pandas query", place=option, hint=hint, value=text) from error


def _check_call(node: ast.Call, option: str) -> None:
    function = node.func
    if isinstance(function, ast.Name) and function.id in _FUNCTIONS:
        return
    if not isinstance(function, ast.Attribute):
        raise UsageError(
            f"there is no function {ast.unparse(function)}", place=option,
            hint=f"there are {', '.join(sorted(_FUNCTIONS))}",
        )  # fmt: skip
    accessor = _accessor_of(function)
    known = _BEHIND[accessor] if accessor else _METHODS
    if function.attr not in known:
        where = f"behind .{accessor} there are" if accessor else "there are"
        more = "" if accessor else f", and some behind {', '.join(f'.{name}' for name in _BEHIND)}"
        raise UsageError(
            f"a query cannot use {function.attr}(): it must tell of each row by itself", place=option,
            hint=f"{where} {', '.join(sorted(known))}{more}",
        )  # fmt: skip
    if accessor or function.attr != "between":
        for argument in (*node.args, *(named.value for named in node.keywords)):
            _require_literal(argument, f"{function.attr}()", option)


def _check_attribute(node: ast.Attribute, option: str) -> None:
    accessor = _accessor_of(node)
    if node.attr not in (_BEHIND[accessor] if accessor else _BEHIND):
        raise UsageError(
            f"a query cannot use .{node.attr}: it must tell of each row by itself", place=option,
            hint="names with dots go in backticks",
        )  # fmt: skip


def _check_lists(tree: ast.Expression, option: str) -> None:
    """Let lists hold only values, and be only where rows are looked up in them: elsewhere they go along the rows."""
    looked_up: set[int] = set()
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for operator, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True):
                if isinstance(operator, ast.In | ast.NotIn):
                    _require_literal(right, "what comes after 'in'", option)
                if isinstance(operator, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
                    found += [left, right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "isin":
            found = [*node.args, *(named.value for named in node.keywords)]
        looked_up.update(id(part) for side in found if isinstance(side, _LISTS) for part in ast.walk(side))
    for node in ast.walk(tree):
        if isinstance(node, _LISTS):
            if id(node) not in looked_up:
                raise UsageError(
                    f"a query can look up a row in the list {ast.unparse(node)}, and no more", place=option,
                    hint="as in 'fid in [1, 2]'",
                )  # fmt: skip
            _require_literal(node, "a list", option)


def _require_literal(node: ast.expr, place: str, option: str) -> None:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"only values can stand in {place}: a query must tell of each row by itself", place=option,
            hint="as in 'fid in [1, 2]'",
        ) from error  # fmt: skip


def _accessor_of(node: ast.Attribute) -> str | None:
    """What an attribute stands behind, if that is an accessor."""
    before = node.value
    return before.attr if isinstance(before, ast.Attribute) and before.attr in _BEHIND else None
