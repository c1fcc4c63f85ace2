"""What of a catalogue becomes a star catalogue: columns as magnitudes, which rows are stars, how faint they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.magnitudes import BANDS, Magnitude, parse_map
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.images.star_files import Stars

if TYPE_CHECKING:
    from xmatch_hats.catalogs.definition import StarPreset
    from xmatch_hats.catalogs.where import Condition

__all__ = ["StarChoice"]


@dataclass(frozen=True)
class StarChoice:
    """How rows of a copy become rows of a star catalogue."""

    copy: LocalCopy
    magnitudes: Mapping[str, Magnitude]
    """Columns of the copy, with offsets, by magnitude."""
    stars: Condition | None
    """What makes a row a star; None: all are."""
    faint: float | None
    """Rows whose mean magnitude is beyond it, or that have none, are left out."""
    note: str = ""
    """What the magnitudes can stand for, for people."""

    @classmethod
    def of(
        cls,
        copy: LocalCopy,
        magnitudes: Mapping[str, str] | None = None,
        stars: str | None = None,
        faint: float | None = None,
        *,
        option: str = "--",
    ) -> StarChoice:
        """Make the choice for a copy.

        Parameters
        ----------
        copy : LocalCopy
        magnitudes : mapping of str to str, optional
            Columns with offsets by magnitude, ``{"Vmag": "phot_g_mean_mag"}``; default the preset of the catalogue's
            definition.
        stars : str, optional
            A pandas query that makes a row a star; default the preset's, if the copy has its columns. Without any, and
            for an empty one, all rows are stars.
        faint : float, optional
            Magnitudes.
        option : str
            What stands before ``magnitudes``, ``stars`` and ``faint`` where errors name them.

        Raises
        ------
        UsageError
            No magnitudes are given and there is no preset, or what is given cannot be read.
        CatalogError
            The copy lacks a column.
        """
        from xmatch_hats.catalogs.where import Condition

        if faint is not None and not math.isfinite(faint):
            # Nothing is as bright as NaN: all files would be empty.
            raise UsageError(f"{faint} is no magnitude", place=f"{option}faint", value=faint)
        preset, note = _preset(copy), ""
        if magnitudes is None:
            if preset is None:
                raise UsageError(
                    f"nothing says which columns of {copy.name} are magnitudes", place=f"{option}magnitudes",
                    hint="map columns, as in Vmag=phot_g_mean_mag",
                )  # fmt: skip
            magnitudes, note = preset.magnitudes, preset.note
        chosen = {
            band: _own_column(copy, magnitude, f"{option}magnitudes {band}")
            for band, magnitude in parse_map(magnitudes, f"{option}magnitudes").items()
        }
        schema = pa.schema([copy.schema.field(name) for name in copy.column_names(None)])
        condition = Condition.parse(stars, schema, f"{option}stars") if stars else None
        if stars is None and preset is not None and preset.stars:
            try:
                condition = Condition.parse(preset.stars, schema, f"{option}stars")
            except UsageError:
                note = f"all rows count as stars, the copy lacks what {preset.stars!r} needs{note and '; '}{note}"
        return cls(copy, chosen, condition, faint, note)

    @property
    def columns(self) -> list[str]:
        """Columns of the copy that are needed."""
        own = [self.copy.ra_column, self.copy.dec_column]
        for magnitude in self.magnitudes.values():
            own += [magnitude.column, *self._error_of(magnitude.column)]
        return list(dict.fromkeys([*own, *(self.stars.columns if self.stars else ())]))

    def stars_of(self, rows: pa.Table) -> Stars:
        """Rows of a star catalogue from rows of the copy, faint ones left out."""
        magnitudes = np.full((rows.num_rows, len(BANDS)), np.nan)
        for band, magnitude in self.magnitudes.items():
            values = _floats(rows, magnitude.column)
            if self._error_of(magnitude.column) and self.copy.definition:
                limits = self.copy.definition.upper_limits(rows, magnitude.column)
                values = np.where(np.asarray(limits.to_numpy(zero_copy_only=False), dtype=bool), np.nan, values)
            magnitudes[:, BANDS.index(band)] = values + magnitude.offset
        is_star = np.ones(rows.num_rows, dtype=bool)
        if self.stars is not None and rows.num_rows:
            is_star = self.stars.mask(rows)
        ra, dec = _floats(rows, self.copy.ra_column), _floats(rows, self.copy.dec_column)
        stars = Stars(ra, dec, magnitudes, np.where(is_star, 0, 1))
        return stars if self.faint is None else stars.take(stars.brightness <= self.faint)

    def describe(self) -> str:
        """What is taken, in a line."""
        pairs = ", ".join(
            f"{band} {magnitude.column}{f'{magnitude.offset:+g}' if magnitude.offset else ''}"
            for band, magnitude in self.magnitudes.items()
        )
        condition = f"; Clas 0: {self.stars.text}" if self.stars else ""
        faint = f"; to {self.faint:g} mag" if self.faint is not None else ""
        return f"{pairs}{condition}{faint}{f'. {self.note}' if self.note else ''}"

    def _error_of(self, column: str) -> list[str]:
        """Column by whose absence a magnitude is an upper limit, if the copy has it."""
        definition = self.copy.definition
        known = definition.by_name.get(column) if definition else None
        error = known.error if known is not None and known.upper_limit else None
        return [error] if error and error in self.copy.schema.names else []


def _preset(copy: LocalCopy) -> StarPreset | None:
    """Preset of a copy's definition, else of the shipped one of the same name or that fits the columns."""
    from xmatch_hats.catalogs.definition import definition_for, list_definitions, load_definition

    if copy.definition is None:
        shipped = definition_for(copy.schema)
        return shipped.star_catalog if shipped else None
    if copy.definition.star_catalog is None and copy.definition.name in list_definitions():
        # A copy keeps the definition that it was made with, which may be older than the preset.
        return load_definition(copy.definition.name).star_catalog
    return copy.definition.star_catalog


def _own_column(copy: LocalCopy, magnitude: Magnitude, place: str) -> Magnitude:
    (column,) = copy.column_names([magnitude.column])
    kind = copy.schema.field(column).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise CatalogError(f"the column {column} holds no numbers but {kind}", place=place)
    return Magnitude(column, magnitude.offset)


def _floats(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def __dir__() -> list[str]:
    return sorted(__all__)
