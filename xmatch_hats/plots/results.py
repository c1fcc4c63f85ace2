"""What can be drawn of a match, whatever holds it: a table, an LSDB catalogue, a `MatchResult`, or mere separations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.assemble import DISTANCE, RANK, STATUS
from xmatch_hats.matching.batch import as_degrees
from xmatch_hats.matching.forms import form_of, is_lsdb, is_table
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import STATUS_LABELS, MatchStatus
from xmatch_hats.plots.tallies import CellCounts
from xmatch_hats.tables.coordinates import NAME_PAIRS, find_coordinates
from xmatch_hats.tables.metadata import text_of

Floats = NDArray[np.float64]
Names = tuple[str, str]

_NO_POSITION = re.compile(r"err|sig|std|unc|^_pm")
"""In the endings of names: what tells of positions, but is none."""


@dataclass(frozen=True)
class Matches:
    """Rows of a match: one for each pair, and one for each input without; arrays of shape (n,)."""

    name: str
    """Of the catalogue, empty where it is not known."""
    distance_arcsec: Floats
    """NaN without a match."""
    status: NDArray[np.int64]
    """Values of `MatchStatus`, -1 for what is none."""
    first: NDArray[np.bool_]
    """Whether a row stands for its input: of several pairs the nearest does."""
    n_neighbors: int | None
    """How many of the nearest were asked for, None is all."""
    position: tuple[Floats, Floats] | None = None
    """Of the input, degrees."""
    right: tuple[Floats, Floats] | None = None
    """Of the catalogue's row, degrees."""
    column: Floats = field(default_factory=lambda: np.empty(0))
    """The one that was asked for."""
    unit: str = ""
    """Of that column."""

    @property
    def placed(self) -> NDArray[np.bool_]:
        """Whether an input lies on the sky."""
        return (self.status >= 0) & (self.status != MatchStatus.REJECTED)

    @cached_property
    def tried(self) -> NDArray[np.bool_]:
        """Rows that stand for inputs that are matched or unmatched."""
        return self.first & np.isin(self.status, (MatchStatus.MATCHED, MatchStatus.UNMATCHED))

    @property
    def searched(self) -> int:
        """Number of inputs that are matched or unmatched."""
        return int(self.tried.sum())

    def require_positions(self) -> tuple[Floats, Floats]:
        """Positions of what was matched.

        Raises
        ------
        TableError
            They are not known.
        """
        if self.position is None:
            raise TableError(
                "where on the sky the inputs lie is not known",
                hint="keep their coordinates among the columns of the result, or give positions=",
            )
        return self.position


def arcsec(angle: ArrayLike | u.Quantity, what: str) -> Floats:
    """Angles, quantities or plain numbers of arcseconds, as plain numbers.

    Raises
    ------
    UsageError
        They are no angles.
    """
    try:
        return np.asarray(u.Quantity(angle, u.arcsec, dtype=np.float64).to_value(u.arcsec))
    except (TypeError, ValueError, u.UnitsError) as error:
        raise UsageError(f"{what} must be an angle or a number of arcseconds, not {angle!r}", value=angle) from error


def matches_of(
    result: Any, *, catalog: str | None = None, positions: Any = None, column: str | None = None,
    left: Names | None = None, right: Names | None = None,
) -> Matches:  # fmt: skip
    """Recognise a match.

    Parameters
    ----------
    result : table, lsdb.Catalog or MatchResult
    catalog : str, optional
        Which one, if the table tells of several.
    positions : SkyCoord, table or pair of arrays in degrees, optional
        Of the inputs, one for each row of the result, or each input of a `MatchResult`.
    column : str, optional
        Another column that is wanted, of the inputs.
    left, right : (str, str), optional
        Columns with right ascension and declination of the inputs, and of the catalogue's rows.

    Raises
    ------
    UsageError, TableError
        It is no match, or lacks a column.
    """
    if isinstance(result, MatchResult):
        if column is not None:
            raise TableError(
                "a MatchResult holds no columns of the inputs",
                hint="give the table that crossmatch returns",
                value=column,
            )
        return _of_result(result, catalog or "", positions)
    if not (is_table(result) or is_lsdb(result)) or isinstance(result, SkyCoord):
        raise UsageError(
            f"a {type(result).__name__} tells of no match",
            hint="give what crossmatch returns, an LSDB catalogue with its columns, or a MatchResult",
            value=result,
        )
    names = _names_of(result)
    distance, name = _distance_of(names, catalog)
    ending = distance.removeprefix(DISTANCE)
    status, rank = (kind + ending if kind + ending in names else None for kind in (STATUS, RANK))
    pairs = _coordinate_pairs(names)
    here = left or (pairs[0] if pairs else None)
    there = right or _right_pair(pairs, here, name)
    if not name and there is not None and here is not None:
        # A name that both sides had ends in the catalogue's.
        name = there[0].partition("_")[2] if there[0].partition("_")[0] == here[0] else ""
    asked = [distance, status, rank, *(here or ()), *(there or ()), column]
    table = _columns(result, [one for one in dict.fromkeys(asked) if one is not None], names)
    apart = floats_of(table, distance, u.arcsec)
    if status is None:
        kinds = np.where(np.isnan(apart), MatchStatus.UNMATCHED, MatchStatus.MATCHED).astype(np.int64)
    else:
        kinds = _statuses(table, status)
    first = np.ones(len(apart), bool) if rank is None else ~(floats_of(table, rank, None) > 1)
    place = _positions_of(positions, len(apart)) if positions is not None else _pair(table, here)
    extra = np.empty(0) if column is None else floats_of(table, column, None)
    unit = "" if column is None else _unit_of(table, column)
    return Matches(name, apart, kinds, first, 1 if rank is None else None, place, _pair(table, there), extra, unit)


def _of_result(result: MatchResult, name: str, positions: Any) -> Matches:
    alone = np.setdiff1d(np.arange(result.num_positions), result.left)
    rows = np.concatenate((result.left, alone))
    none = np.full(len(alone), np.nan)
    place = None
    if positions is not None:
        ra, dec = _positions_of(positions, result.num_positions)
        place = ra[rows], dec[rows]
    right = None
    try:
        pair = _pair(result.rows, find_coordinates(result.rows.schema))
        right = None if pair is None else (np.append(pair[0], none), np.append(pair[1], none))
    except TableError:
        pass  # columns that were asked for need not be coordinates
    return Matches(
        name, np.append(result.distance_arcsec, none), result.status[rows].astype(np.int64),
        np.append(result.rank <= 1, np.ones(len(alone), bool)), result.n_neighbors, place, right,
    )  # fmt: skip


def sky_of(matches: Matches) -> CellCounts:
    """Count the inputs by cell and value of `MatchStatus`.

    Raises
    ------
    TableError
        Where they lie is not known.
    """
    ra, dec = matches.require_positions()
    here = matches.first & matches.placed & np.isfinite(ra) & np.isfinite(dec)
    sky = CellCounts(len(MatchStatus))
    sky.add(cells_of(ra[here], dec[here]), matches.status[here])
    return sky


def _names_of(result: Any) -> list[str]:
    return [str(name) for name in (result.colnames if isinstance(result, Table) else _listed(result))]


def _listed(result: Any) -> Sequence[Any]:
    return list(result.schema.names if isinstance(result, pa.Table | pa.RecordBatch) else result.columns)


def _distance_of(names: list[str], catalog: str | None) -> tuple[str, str]:
    """Column of separations, and the name of the catalogue as far as it tells it."""
    there = [name for name in names if name == DISTANCE or name.startswith(f"{DISTANCE}_")]
    if not there:
        raise TableError(
            f"has no column {DISTANCE}, by which matches are known",
            hint="give what crossmatch returns, or the column of separations alone",
            value=names,
        )
    if catalog is not None:
        wanted = [name for name in there if name in (f"{DISTANCE}_{catalog}", DISTANCE)]
        if not wanted:
            raise UsageError(
                f"the table tells of no match with {catalog!r}",
                hint=f"it has the columns {', '.join(there)}",
                value=catalog,
            )
        return max(wanted, key=len), catalog
    if len(there) > 1:
        choices = ", ".join(repr(name.removeprefix(f"{DISTANCE}_")) for name in there)
        raise UsageError("the table tells of matches with several catalogues", hint=f"give catalog=: {choices}")
    return there[0], there[0].removeprefix(DISTANCE).removeprefix("_")


def _coordinate_pairs(names: list[str]) -> list[Names]:
    """Columns of coordinates, in their order in the table: an input's come before those of catalogues."""
    lower = {name.lower(): name for name in names}
    found: dict[str, Names] = {}
    for ra, dec in NAME_PAIRS:
        for key, name in lower.items():
            ending = key.removeprefix(ra.lower())
            other = lower.get(dec.lower() + ending)
            if not key.startswith(ra.lower()) or (ending and not ending.startswith("_")) or other is None:
                continue
            if not _NO_POSITION.search(ending):
                found[name] = name, other
    return [found[name] for name in names if name in found]


def _right_pair(pairs: list[Names], left: Names | None, name: str) -> Names | None:
    others = [pair for pair in pairs if pair != left]
    own = [pair for pair in others if name and pair[0].lower().endswith(f"_{name.lower()}")]
    choices = own or others
    return choices[0] if len(choices) == 1 else None


def _columns(result: Any, wanted: list[str], names: list[str]) -> Any:
    for name in wanted:
        _require(name, names)
    if is_lsdb(result):
        return result[wanted].compute(progress_bar=False)
    return result.select(wanted) if isinstance(result, pa.Table | pa.RecordBatch) else result[wanted]


def _require(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise TableError(f"the result has no column {name!r}", hint=near_names(name, names), value=name)


def _pair(table: Any, names: Names | None) -> tuple[Floats, Floats] | None:
    return None if names is None else (floats_of(table, names[0], u.deg), floats_of(table, names[1], u.deg))


def floats_of(table: Any, name: str, unit: u.UnitBase | None) -> Floats:
    """A column of a table of any kind as float64, in a unit where it has another; missing values are NaN.

    Raises
    ------
    TableError
        It holds no numbers, or those of another kind of unit.
    """
    try:
        if isinstance(table, pd.DataFrame):
            return np.asarray(table[name].to_numpy(dtype=np.float64, na_value=np.nan))
        if isinstance(table, Table):
            column, given = table[name], table[name].unit
            mask = (
                np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else getattr(column, "mask", None)
            )
            plain = getattr(column, "unmasked", column)
            values = np.array(np.ma.getdata(getattr(plain, "value", plain)), dtype=np.float64)
            if mask is not None:
                values[np.asarray(mask)] = np.nan
        else:
            told = text_of(table.schema.field(name), "unit")
            given = u.Unit(told) if unit is not None and told else None
            values = np.asarray(table[name].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        return values if unit is None or given is None else np.asarray((values * given).to_value(unit))
    except (TypeError, ValueError, pa.ArrowException, u.UnitsError) as error:
        raise TableError(f"column {name!r} cannot be drawn: {error}", value=name) from error


def _unit_of(table: Any, name: str) -> str:
    if isinstance(table, pd.DataFrame):
        return ""
    return str(table[name].unit or "") if isinstance(table, Table) else text_of(table.schema.field(name), "unit")


def _statuses(table: Any, name: str) -> NDArray[np.int64]:
    column = table[name]
    words = column.to_pylist() if isinstance(column, pa.ChunkedArray | pa.Array) else list(column)
    numbers = {label: number for number, label in enumerate(STATUS_LABELS)}
    return np.array([numbers.get(word, -1) for word in words], dtype=np.int64)


def _positions_of(positions: Any, number: int) -> tuple[Floats, Floats]:
    if is_table(positions):
        form = form_of(positions)
        ra, dec = form.ra, form.dec
    else:
        try:
            ra, dec = (np.atleast_1d(as_degrees(angles)) for angles in positions)
        except (TypeError, ValueError) as error:
            raise UsageError("positions must be a SkyCoord, a table, or right ascensions and declinations") from error
    if len(ra) != number or len(dec) != number:
        raise UsageError(f"{number} positions are needed, not {len(ra)} and {len(dec)}", value=positions)
    return ra, dec
