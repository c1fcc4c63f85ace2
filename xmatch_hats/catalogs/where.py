"""Conditions on rows: pandas queries that tell of each row by itself whether it counts.

A query that looks at other rows, as ``mag < mag.mean()`` does, would depend on how the rows are cut into partitions and
pieces; such ones are refused. What pandas is given is written from the very tree that was looked through, never the
text itself: pandas may take quotes for something else, and looks up and calls whatever it reads.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.errors import UsageError

_TOKEN = re.compile(
    r"""
    (?P<kept> \#[^\n]* | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
            | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | `(?P<title>[^`]+)`
    | (?P<word>[&|])
    """,
    re.VERBOSE | re.DOTALL,
)
"""Comments and texts, as Python ends them; in between names in backticks, and signs that pandas reads as words."""

_WORDS = {"&": "and", "|": "or"}

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
_VALUES = (str, bytes, int, float, type(None))
_ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow, ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip
_LISTS = (ast.List, ast.Tuple)


@dataclass(frozen=True)
class Condition:
    """A query that was looked through."""

    text: str
    columns: tuple[str, ...]
    """Columns that it needs."""
    option: str
    """What it was given as, for people."""
    query: str
    """The same for pandas, in which the columns are called as `_stand_ins` does."""

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
            It is no query, names a column that is not there, looks at more than one row, reckons with numbers that are
            too large, or is no condition.
        """
        tree, titles = _parsed(text, schema, option)
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        _check_lists(tree, option)
        names = []
        for node in ast.walk(tree):
            _check_node(node, text, option)
            if isinstance(node, ast.Attribute) and id(node) not in called:
                _check_attribute(node, option)
            elif isinstance(node, ast.Name) and id(node) not in called:
                node.id = titles.get(node.id, node.id)
                names.append(node)
        for node in names:
            if node.id not in schema.names:
                raise UsageError(f"there is no column {node.id}", place=option, hint=near_names(node.id, schema.names))
        if not names:
            raise UsageError("names no column", place=option, value=text)
        columns = tuple(dict.fromkeys(node.id for node in names))
        stand_ins = dict(zip(columns, _stand_ins(columns), strict=True))
        for node in names:
            node.id = stand_ins[node.id]
        condition = cls(text.strip(), columns, option, _written(tree))
        condition.mask(_one_row(pa.schema([schema.field(name) for name in columns])))
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
        frame = frame.rename_columns(_stand_ins(self.columns))
        try:
            # Arrow's types keep whole numbers whole where some are missing, as LSDB's frames do.
            answer = frame.to_pandas(types_mapper=pd.ArrowDtype).eval(
                self.query, engine="python", local_dict={}, global_dict={}
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


def _stand_ins(columns: Sequence[str]) -> list[str]:
    """What columns are called in queries: names that are no words of Python's or pandas'."""
    return [f"column_{place}" for place in range(len(columns))]


def _parsed(text: str, schema: pa.Schema, option: str) -> tuple[ast.Expression, dict[str, str]]:
    """Syntax tree of a query, and what the names in it stand for that were in backticks."""
    titles: dict[str, str] = {}

    def plain(found: re.Match[str]) -> str:
        if found["kept"] is not None:
            return found["kept"]
        if found["word"] is not None:
            return f" {_WORDS[found['word']]} "
        name = f"BACKTICKED_{len(titles)}"
        titles[name] = found["title"]
        return name

    try:
        tree = ast.parse(_TOKEN.sub(plain, text.strip()), mode="eval")
        _written(tree)
    except (SyntaxError, ValueError) as error:
        hint = "for instance 'n_det > 50 and mag < 20.5'"
        words = [name for name in schema.names if keyword.iskeyword(name) and re.search(rf"\b{name}\b", text)]
        if words:
            hint = f"a column with the name of a word of Python's goes in backticks: `{words[0]}`"
        raise UsageError(f"{text!r} is not a pandas query", place=option, hint=hint, value=text) from error
    except (RecursionError, MemoryError) as error:
        raise UsageError("the query is nested too deeply", place=option, value=text) from error
    return tree, titles


def _written(tree: ast.Expression) -> str:
    """A tree as pandas is given it: backticks, which are only in texts, are names to it wherever it takes them so."""
    return ast.unparse(tree).replace("`", r"\x60")


def _check_node(node: ast.AST, text: str, option: str) -> None:
    is_known = isinstance(node, _NODES) and not (isinstance(node, ast.Constant) and not isinstance(node.value, _VALUES))
    if not is_known:
        raise UsageError(f"a query cannot hold {ast.unparse(node)!r}", place=option, value=text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        raise UsageError(
            "a query cannot use %, which Arrow's columns do not have", place=option,
            hint="of whole numbers it is a - b * (a // b)", value=text,
        )  # fmt: skip
    if isinstance(node, ast.Call):
        _check_call(node, option)
    elif isinstance(node, ast.BinOp | ast.Constant) and not any(isinstance(part, ast.Name) for part in ast.walk(node)):
        _check_size(node, option)


def _check_size(node: ast.BinOp | ast.Constant, option: str) -> None:
    """Refuse values and calculations without a column that pandas, which reckons to the last digit, may never end."""
    try:
        _worth(node)
    except OverflowError as error:
        raise UsageError(
            f"{ast.unparse(node)} is too large a number", place=option, hint="there are 64 bits, or write it as 1e20"
        ) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UsageError(f"{ast.unparse(node)} is no calculation with numbers", place=option) from error


def _worth(node: ast.expr) -> Any:
    """What a value is, or a calculation comes to."""
    if isinstance(node, ast.Constant):
        worth = node.value
    elif isinstance(node, ast.UnaryOp):
        worth = _ARITHMETIC[type(node.op)](_worth(node.operand))
    elif isinstance(node, ast.BinOp):
        left, right = _worth(node.left), _worth(node.right)
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError(node)
        if isinstance(node.op, ast.Pow):
            # In floating point first, which ends at once.
            math.pow(left, right)
        worth = _ARITHMETIC[type(node.op)](left, right)
    else:
        raise TypeError(node)
    if isinstance(worth, int) and worth.bit_length() > 64:
        raise OverflowError
    return worth


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
