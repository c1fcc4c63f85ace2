"""Conditions on rows: pandas queries that tell of each row by itself whether it counts.

A query that looks at other rows, as ``mag < mag.mean()`` does, would depend on how the rows are cut into partitions and
pieces; such ones are refused.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

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
_ACCESSORS = frozenset({"str", "dt", "list", "struct"})
"""Everything behind one of these does."""
_NODES = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Name, ast.Constant, ast.List, ast.Tuple,
    ast.Call, ast.Attribute, ast.keyword, ast.boolop, ast.operator, ast.unaryop, ast.cmpop, ast.expr_context,
)  # fmt: skip


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
            count.
        schema : pyarrow.Schema
            Columns that there are.
        option : str
            What errors call it.

        Raises
        ------
        UsageError
            It is no query, names a column that is not there, looks at more than one row, or is no condition.
        """
        tree, titles = _parsed(text, option)
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        names = []
        for node in ast.walk(tree):
            if not isinstance(node, _NODES):
                raise UsageError(f"a query cannot hold {ast.unparse(node)!r}", place=option, value=text)
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
        if not (isinstance(answer, pd.Series) and pd.api.types.is_bool_dtype(answer.dtype)):
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


def _parsed(text: str, option: str) -> tuple[ast.Expression, dict[str, str]]:
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
        raise UsageError(f"{text!r} is not a pandas query", place=option, hint=hint, value=text) from error


def _check_call(node: ast.Call, option: str) -> None:
    function = node.func
    if isinstance(function, ast.Name) and function.id in _FUNCTIONS:
        return
    if isinstance(function, ast.Attribute):
        if function.attr in _METHODS or _is_behind_accessor(function.value):
            return
        raise UsageError(
            f"a query cannot use {function.attr}(): it must tell of each row by itself", place=option,
            hint=f"there are {', '.join(sorted(_METHODS))}, and what is behind .str and .dt",
        )  # fmt: skip
    raise UsageError(
        f"there is no function {ast.unparse(function)}", place=option, hint=f"there are {', '.join(sorted(_FUNCTIONS))}"
    )


def _check_attribute(node: ast.Attribute, option: str) -> None:
    if node.attr not in _ACCESSORS and not _is_behind_accessor(node.value):
        raise UsageError(
            f"a query cannot use .{node.attr}: it must tell of each row by itself", place=option,
            hint="names with dots go in backticks",
        )  # fmt: skip


def _is_behind_accessor(node: Any) -> bool:
    while isinstance(node, ast.Attribute | ast.Call):
        if isinstance(node, ast.Attribute):
            if node.attr in _ACCESSORS:
                return True
            node = node.value
        else:
            node = node.func
    return False
