"""From matched rows to the bytes of ``xmatches``: a union of null and a map by catalogue of maps by column.

Rows are encoded column by column, since a column decides by its type how its values look on the wire, and then joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from xmatch_hats.alerts.binary import encode_bytes, encode_long
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.result import MatchResult

DISTANCE = "angDist"
"""Name of the separation in arcseconds; it is always there, and first."""
NULL_XMATCHES = encode_long(1)
"""An alert without a match: the second branch of the union, which is null."""
_MAP_BRANCH = encode_long(0)
_STRING, _FLOAT, _NULL = (encode_long(branch) for branch in range(3))
_END_OF_MAP = encode_long(0)


class XmatchesEncoder:
    """Encodes the rows that one catalogue answered with.

    Parameters
    ----------
    name : str
        The catalogue's key in ``xmatches``.
    schema : pyarrow.Schema
        Columns of the answer.
    names : mapping of str to str, optional
        The column's names on the wire; by default their own.

    Attributes
    ----------
    nulled : int
        Values so far that became null because a 32-bit float cannot hold them.

    Raises
    ------
    UsageError
        A column of a type that has no form on the wire, or two columns of one name there.
    """

    def __init__(self, name: str, schema: pa.Schema, names: Mapping[str, str] | None = None) -> None:
        self.nulled = 0
        self._key = encode_bytes(name.encode())
        self._columns = schema.names
        wire = [DISTANCE, *((names or {}).get(column, column) for column in schema.names)]
        if twice := [key for key in wire if wire.count(key) > 1]:
            raise UsageError(
                f"two columns would be called {twice[0]} in xmatches", place=f"catalogue {name}", value=twice[0]
            )
        if refused := [field.name for field in schema if not has_wire_form(field.type)]:
            raise UsageError(
                f"columns of these types cannot be in xmatches: "
                f"{', '.join(f'{column} ({schema.field(column).type})' for column in refused)}",
                place=f"catalogue {name}",
                hint="ask for other columns",
                value=refused,
            )
        self._keys = [encode_bytes(key.encode()) for key in wire]

    def encode(self, result: MatchResult) -> dict[int, bytes]:
        """Encode the nearest row of each matched position.

        Parameters
        ----------
        result : MatchResult

        Returns
        -------
        dict of int to bytes
            The catalogue's entry in the map of catalogues, by input row.
        """
        nearest = np.flatnonzero(result.rank == 1)
        rows = result.rows if len(nearest) == len(result.left) else result.rows.take(pa.array(nearest))
        cells = [self._floats(self._keys[0], result.distance_arcsec[nearest])]
        for key, column in zip(self._keys[1:], self._columns, strict=True):
            cells.append(self._column(key, rows.column(column)))
        head = self._key + encode_long(len(self._keys))
        entries = (b"".join((head, *row, _END_OF_MAP)) for row in zip(*cells, strict=True))
        return dict(zip(result.left[nearest].tolist(), entries, strict=True))

    def _column(self, key: bytes, column: pa.ChunkedArray) -> list[bytes]:
        if pt.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pt.is_null(column.type):
            return [key + _NULL] * len(column)
        if _goes_as_float(column.type):
            values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            return self._floats(key, values)
        return _strings(key, _as_text(column))

    def _floats(self, key: bytes, values: NDArray[np.float64]) -> list[bytes]:
        with np.errstate(over="ignore"):
            rounded = values.astype("<f4")
        absent = ~np.isfinite(rounded)
        self.nulled += int(np.isinf(rounded).sum())
        head = key + _FLOAT
        width = len(head) + rounded.itemsize
        matrix = np.empty((len(values), width), dtype=np.uint8)
        matrix[:, : len(head)] = np.frombuffer(head, dtype=np.uint8)
        matrix[:, len(head) :] = rounded.view(np.uint8).reshape(-1, rounded.itemsize)
        buffer = matrix.tobytes()
        cells = [buffer[start : start + width] for start in range(0, len(buffer), width)]
        for row in np.flatnonzero(absent).tolist():
            cells[row] = key + _NULL
        return cells


def encode_xmatches(entries: Sequence[Mapping[int, bytes]], row: int) -> bytes:
    """Join what several catalogues have for one input row.

    Parameters
    ----------
    entries : sequence of mapping
        What `XmatchesEncoder.encode` gave for each catalogue.
    row : int

    Returns
    -------
    bytes
        The encoded union.
    """
    found = [entry[row] for entry in entries if row in entry]
    if not found:
        return NULL_XMATCHES
    return b"".join((_MAP_BRANCH, encode_long(len(found)), *found, _END_OF_MAP))


def has_wire_form(kind: pa.DataType) -> bool:
    """Whether values of a type can stand in ``xmatches``: numbers, booleans, strings, dates and times can."""
    if pt.is_dictionary(kind):
        return has_wire_form(kind.value_type)
    return _goes_as_float(kind) or any(test(kind) for test in _TEXT_TYPES)


def _goes_as_float(kind: pa.DataType) -> bool:
    return bool(pt.is_floating(kind) or (pt.is_integer(kind) and kind.bit_width <= 16))


_TEXT_TYPES: tuple[Callable[[pa.DataType], bool], ...] = (
    pt.is_null,
    pt.is_boolean,
    pt.is_integer,
    pt.is_decimal,
    pt.is_date,
    pt.is_time,
    pt.is_timestamp,
    pt.is_string,
    pt.is_large_string,
    pt.is_string_view,
)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pt.is_timestamp(column.type):
        # Arrow's own cast writes a blank where ISO 8601 has a T.
        zone = "Z" if column.type.tz else ""
        moments = column.cast(pa.timestamp(column.type.unit))
        return pc.strftime(moments, format=f"%Y-%m-%dT%H:%M:%S{zone}")
    if pt.is_date(column.type):
        column = column.cast(pa.date32())
    return column.cast(pa.string())


def _strings(key: bytes, column: pa.ChunkedArray) -> list[bytes]:
    head, null = key + _STRING, key + _NULL
    values = column.cast(pa.binary()).to_pylist()
    return [null if value is None else head + encode_bytes(value) for value in values]


def default_columns(schema: pa.Schema, preferred: Sequence[str] = ()) -> list[str]:
    """Columns that ``xmatches`` gets where none are asked for.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns of the copy.
    preferred : sequence of str, optional
        Columns that the catalogue's definition names for streams.

    Returns
    -------
    list of str
        The preferred ones that the copy has; without preferences every column that has a form on the wire, apart
        from columns that only serve the copy (their names start with ``_``).
    """
    if preferred:
        return [name for name in preferred if name in schema.names]
    return [field.name for field in schema if not field.name.startswith("_") and has_wire_form(field.type)]
