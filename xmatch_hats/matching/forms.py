"""The kinds of tables that people hold: their positions, and answers appended in the same kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy import units as u
from astropy.coordinates import ConvertError, SkyCoord, UnitSphericalRepresentation
from astropy.table import QTable, Table, hstack
from numpy.typing import NDArray

from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.matching.assemble import take
from xmatch_hats.matching.batch import as_degrees
from xmatch_hats.tables.convert import from_astropy, from_pandas, to_astropy, to_pandas
from xmatch_hats.tables.coordinates import find_coordinates
from xmatch_hats.tables.metadata import make_field

ROW_COLUMN = "_row"
"""Where the right side is a SkyCoord, which has no columns: the number of the matched position in it."""


@dataclass(frozen=True)
class Form:
    """A table of any kind, ready to be matched."""

    names: list[str]
    """Names of its columns."""
    ra: NDArray[np.float64]
    """Degrees, NaN where missing."""
    dec: NDArray[np.float64]
    """Degrees, NaN where missing."""
    append: Callable[[NDArray[np.int64], pa.Table], Any]
    """Take some of its rows, with as many rows of new columns beside them, as a table of its own kind."""


def is_lsdb(value: Any) -> bool:
    """Whether a value is an LSDB catalogue, without importing LSDB for it."""
    return any(kind.__module__.startswith("lsdb.") and kind.__name__ == "Catalog" for kind in type(value).__mro__)


def is_table(value: Any) -> bool:
    """Whether a value is a table in memory of a kind that can be matched."""
    return isinstance(value, pd.DataFrame | Table | SkyCoord | pa.Table | pa.RecordBatch)


def form_of(table: Any, ra: str | None = None, dec: str | None = None) -> Form:
    """Recognise a table.

    Parameters
    ----------
    table : pandas.DataFrame, astropy Table, QTable or SkyCoord, pyarrow.Table or RecordBatch
    ra, dec : str, optional
        Coordinate columns; by default found by name or UCD.

    Raises
    ------
    TableError
        No coordinate columns, or they are no angles.
    UsageError
        Something else than these kinds.
    """
    if isinstance(table, SkyCoord):
        if ra is not None or dec is not None:
            raise UsageError("a SkyCoord has no columns to name with ra and dec")
        table = _qtable(table)
    if isinstance(table, pa.Table | pa.RecordBatch):
        return _arrow_form(_plain_arrow(table), ra, dec)
    if isinstance(table, Table):
        return _astropy_form(table, ra, dec)
    if isinstance(table, pd.DataFrame):
        return _pandas_form(table, ra, dec)
    raise UsageError(
        f"a {type(table).__name__} cannot be matched",
        hint="give a pandas, astropy or pyarrow table, a SkyCoord, or an LSDB catalogue",
    )


def to_arrow(table: Any) -> pa.Table:
    """Convert a table of any of the kinds; a SkyCoord becomes ``ra``, ``dec`` and ``_row``."""
    if isinstance(table, SkyCoord):
        converted = from_astropy(_qtable(table))
        return converted.append_column(ROW_COLUMN, pa.array(np.arange(len(converted), dtype=np.int64)))
    if isinstance(table, Table):
        return from_astropy(table)
    if isinstance(table, pd.DataFrame):
        return from_pandas(table)
    return _plain_arrow(table)


def _plain_arrow(table: pa.Table | pa.RecordBatch) -> pa.Table:
    """Table whose rows can be taken: Arrow's views of texts and bytes cannot, and become texts and bytes."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    types = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return table.cast(pa.schema([field.with_type(types.get(field.type, field.type)) for field in table.schema]))


def _coordinates(schema: pa.Schema, ra: str | None, dec: str | None) -> tuple[str, str]:
    """Find the coordinate columns of a table that has each name once."""
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise TableError(f"two columns are called {twice[0]!r}", hint="rename or drop one of them", value=twice[0])
    return find_coordinates(schema, ra, dec)


def _icrs(positions: SkyCoord) -> tuple[Any, Any]:
    """Longitudes and latitudes, whatever the frame, the distances and the representation."""
    try:
        sphere = positions.icrs.represent_as(UnitSphericalRepresentation)
    except (ConvertError, AttributeError) as error:
        raise TableError(
            f"positions in the frame {positions.frame.name} cannot be brought to ICRS: {error}",
            hint="give the frame what it lacks, such as obstime and location, or transform them first",
        ) from error
    return sphere.lon.to(u.deg), sphere.lat.to(u.deg)


def _qtable(positions: SkyCoord) -> QTable:
    ra, dec = _icrs(positions.ravel())
    return QTable({"ra": ra, "dec": dec})


def _arrow_form(table: pa.Table, ra: str | None, dec: str | None) -> Form:
    # Integers beyond 2**53 are no positions; rounded, they are rejected like any other number out of range.
    lon, lat = (
        np.asarray(table[name].cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        for name in _coordinates(table.schema, ra, dec)
    )

    def append(rows: NDArray[np.int64], added: pa.Table) -> pa.Table:
        taken = take(table, rows)
        schema = pa.schema([*taken.schema, *added.schema], metadata=table.schema.metadata)
        return pa.table([*taken.columns, *added.columns], schema=schema)

    return Form(list(table.column_names), lon, lat, append)


def _pandas_form(frame: pd.DataFrame, ra: str | None, dec: str | None) -> Form:
    names = [str(column) for column in frame.columns]
    schema = pa.schema([_pandas_field(name, kind, frame) for name, kind in zip(names, frame.dtypes, strict=True)])
    lon, lat = (
        frame.iloc[:, names.index(name)].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in _coordinates(schema, ra, dec)
    )

    def append(rows: NDArray[np.int64], added: pa.Table) -> pd.DataFrame:
        taken = frame.iloc[rows]
        # The index of the input stays; equal indexes are not aligned, so repeated rows and labels do no harm.
        return pd.concat([taken, to_pandas(added).set_axis(taken.index)], axis=1)

    return Form(names, lon, lat, append)


def _pandas_field(name: str, dtype: Any, frame: pd.DataFrame) -> pa.Field:
    """Only whether a column holds numbers matters here, and what pandas calls it if it does not."""
    if isinstance(dtype, pd.ArrowDtype):
        return pa.field(name, dtype.pyarrow_dtype)
    numeric = pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
    # Without rows pandas knows no types: lists that were never filled are objects.
    if (numeric and not pd.api.types.is_complex_dtype(dtype)) or (frame.empty and pd.api.types.is_object_dtype(dtype)):
        return pa.field(name, pa.float64())
    return make_field(name, pa.string(), dtype=str(dtype))


def _astropy_form(table: Table, ra: str | None, dec: str | None) -> Form:
    coordinates = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    schema = pa.schema([_astropy_field(table, name) for name in table.colnames if name not in coordinates])
    try:
        lon, lat = (as_degrees(table[name]) for name in find_coordinates(schema, ra, dec))
    except TableError:
        if ra is not None or len(coordinates) != 1:
            raise
        lon, lat = (as_degrees(angles) for angles in _icrs(table[coordinates[0]]))

    def append(rows: NDArray[np.int64], added: pa.Table) -> Table:
        columns = to_astropy(added, quantities=isinstance(table, QTable))
        return hstack([table[rows], columns], join_type="exact", metadata_conflicts="silent")

    return Form(list(table.colnames), lon, lat, append)


def _astropy_field(table: Table, name: str) -> pa.Field:
    """Any angle counts as degrees, since it is converted; what is no angle keeps its unit, and is refused by it."""
    column = table[name]
    unit = getattr(column.info, "unit", None)
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    angle = unit is not None and u.Unit(unit).is_equivalent(u.deg)
    meta = column.info.meta or {}
    return make_field(
        name,
        pa.float64() if kind in "fiu" and column.ndim == 1 else pa.string(),
        unit="deg" if angle else str(unit or ""),
        ucd=meta.get("ucd"),
    )
