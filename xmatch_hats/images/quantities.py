"""Which numbers of a table its statistics are of, and these numbers of some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.catalogs.where import Condition
from xmatch_hats.errors import TableError
from xmatch_hats.sphere import offsets_arcsec
from xmatch_hats.tables.coordinates import find_coordinates
from xmatch_hats.tables.fits_stored import StoredTable
from xmatch_hats.tables.metadata import text_of

__all__ = ["Quantities", "Selected"]

Floats = NDArray[np.float64]

BRIGHTEST, FAINTEST = -10.0, 40.0
"""Magnitudes; what lies beyond stands for "no value"."""
EAST, NORTH = "dRA cos(Dec)", "dDec"
_USUAL = ("MAG_AUTO", "mag_auto", "MAG")
_ERROR = ("ERR", "SIG", "E_", "STD", "RMS")


@dataclass(frozen=True)
class Selected:
    """The selected rows of a chunk."""

    rows: int
    """Of the chunk, selected or not."""
    values: dict[str, Floats]
    """Quantities by name, each of shape (n,) for n selected rows; NaN where there is none."""
    position: tuple[Floats, Floats] | None
    """Right ascension and declination, degrees."""
    is_matched: NDArray[np.bool_]


@dataclass(frozen=True)
class Quantities:
    """What is taken of a table."""

    table: StoredTable
    condition: Condition | None
    magnitude: str | None
    colour: tuple[str, str] | None
    """Two magnitudes, of which the second is taken from the first."""
    others: tuple[str, ...]
    position: tuple[str, str] | None
    right: tuple[str, str] | None
    """Position of the catalogue's row."""
    distance: str | None
    facts: dict[str, str]
    """What the table's header tells of its match, by keyword."""

    @classmethod
    def of(
        cls, table: StoredTable, select: str | None, magnitude: str | None, colour: tuple[str, str] | None,
        others: Sequence[str],
    ) -> Quantities:  # fmt: skip
        """Choose.

        Parameters
        ----------
        table : StoredTable
        select : str, optional
            A pandas query; by default all rows are selected.
        magnitude : str, optional
            By default ``MAG_AUTO``, else the first column of the table in magnitudes.
        colour : (str, str), optional
            By default the magnitude less the first one of the catalogue, of a matched table.
        others : sequence of str
            Further columns.

        Raises
        ------
        TableError
            There is no such column, or it holds no numbers.
        UsageError
            The query cannot be one of this table.
        """
        facts = {card[:8].decode("ascii", "replace").strip(): _value(card) for card in table.cards if card[:2] == b"XM"}
        first = int(facts["XMFIRST"]) - 1 if facts.get("XMFIRST", "").isdecimal() else len(table.names)
        if magnitude is None:
            own = [*_USUAL, *_magnitudes(table, table.names[:first])]
            magnitude = next((name for name in own if name in table.columns), None)
        if colour is None and magnitude is not None:
            theirs = _magnitudes(table, table.names[first:])
            colour = (magnitude, theirs[0]) if theirs else None
        for name in (*filter(None, [magnitude]), *(colour or ()), *others):
            _check(table, name)
        condition = Condition.parse(select, table.schema, "--select") if select else None
        distance = facts.get("XMDIST") if facts.get("XMDIST") in table.columns else None
        return cls(
            table, condition, magnitude, colour, tuple(others), _position(table),
            _pair(table, facts, "XMCATRA", "XMCATDEC"), distance, facts,
        )  # fmt: skip

    @property
    def units(self) -> dict[str, str]:
        """Names of the quantities, in their order, with their units."""
        columns = list(dict.fromkeys([*filter(None, [self.magnitude]), *(self.colour or ()), *self.others]))
        units = {name: text_of(self.table.columns[name].field, "unit") for name in columns}
        if self.colour:
            units[self.colour_name] = "mag"
        if self.distance:
            units[self.distance] = "arcsec"
        return units | ({EAST: "arcsec", NORTH: "arcsec"} if self.right and self.position else {})

    @property
    def colour_name(self) -> str:
        """What the colour is called."""
        return " - ".join(self.colour or ())

    def take(self, start: int, stop: int) -> Selected:
        """Selected rows of a stretch of the table."""
        records = self.table.records(start, stop)
        keep = np.ones(len(records), dtype=bool)
        if self.condition is not None and len(records):
            names = self.condition.columns
            chunk = pa.table([self.table.columns[name].convert(records) for name in names], names=list(names))
            keep = self.condition.mask(chunk)
        records = records[keep]
        values = {}
        for name in self.units:
            if name in self.table.columns:
                values[name] = self.table.floats(name, records)
                if self._is_magnitude(name):
                    beyond = (values[name] <= BRIGHTEST) | (values[name] >= FAINTEST)
                    values[name] = np.where(beyond, np.nan, values[name])
        if self.colour:
            values[self.colour_name] = values[self.colour[0]] - values[self.colour[1]]
        position = self._pair_of(self.position, records)
        right = self._pair_of(self.right, records)
        if position is not None and right is not None:
            values[EAST], values[NORTH] = offsets_arcsec(*right, *position)
        is_matched = np.zeros(len(records), bool) if self.distance is None else np.isfinite(values[self.distance])
        return Selected(len(keep), values, position, is_matched)

    def _is_magnitude(self, name: str) -> bool:
        unit = text_of(self.table.columns[name].field, "unit")
        return name == self.magnitude or name in (self.colour or ()) or unit.strip().lower() == "mag"

    def _pair_of(self, pair: tuple[str, str] | None, records: NDArray[Any]) -> tuple[Floats, Floats] | None:
        return None if pair is None else (self.table.floats(pair[0], records), self.table.floats(pair[1], records))


def _value(card: bytes) -> str:
    """Value of a card: a number, or a string without its quotes."""
    text = card[10:].decode("ascii", "replace")
    if text.startswith("'"):
        return text[1:].partition("'")[0].rstrip()
    return text.partition("/")[0].strip()


def _magnitudes(table: StoredTable, names: Sequence[str]) -> list[str]:
    """Columns of magnitudes, their errors apart."""
    found = [name for name in names if name in table.columns and _is_number(table, name)]
    found = [name for name in found if text_of(table.columns[name].field, "unit").strip().lower() == "mag"]
    return [name for name in found if not any(word in name.upper() for word in _ERROR)]


def _is_number(table: StoredTable, name: str) -> bool:
    kind = table.columns[name].field.type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _check(table: StoredTable, name: str) -> None:
    place = f"{table.path}[{table.number}]"
    if name not in table.columns:
        raise TableError(f"no column {name!r}", place=place, hint=near_names(name, list(table.columns)), value=name)
    if not _is_number(table, name):
        raise TableError(f"the column {name} holds no single numbers", place=place, value=name)


def _position(table: StoredTable) -> tuple[str, str] | None:
    try:
        return find_coordinates(table.schema, told=table.positions)
    except TableError:
        return None


def _pair(table: StoredTable, facts: dict[str, str], ra: str, dec: str) -> tuple[str, str] | None:
    first, second = facts.get(ra, ""), facts.get(dec, "")
    return (first, second) if first in table.columns and second in table.columns else None


def __dir__() -> list[str]:
    return sorted(__all__)
