"""Which two columns of a table are its positions."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import text_of

NAME_PAIRS = (
    ("ra", "dec"),
    ("RAJ2000", "DEJ2000"),
    ("RA_ICRS", "DE_ICRS"),
    ("ALPHA_J2000", "DELTA_J2000"),
    ("XWIN_WORLD", "YWIN_WORLD"),
    ("X_WORLD", "Y_WORLD"),
)
"""Names of coordinate columns, in degrees, in the order in which they are looked for."""

UCD_PAIRS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"),
    ("POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"),
    ("pos.eq.ra", "pos.eq.dec"),
)
"""UCDs of coordinate columns, those of the main position first; the second pair is UCD1's."""


def find_coordinates(
    schema: pa.Schema, ra: str | None = None, dec: str | None = None, *, told: tuple[str, str] | None = None
) -> tuple[str, str]:
    """Find the columns with right ascension and declination.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns of the table, with UCDs as field metadata where known.
    ra, dec : str, optional
        Names given by the user: both or neither.
    told : (str, str), optional
        What the table itself calls its positions, for instance as `TableSource.positions`.

    Returns
    -------
    ra, dec : str
        Those given, else those told, else by `NAME_PAIRS` as written, then in any case, then by `UCD_PAIRS`.

    Raises
    ------
    TableError
        A given or told column is not there or not numeric, only one is given, or none are found; the message names the
        choices.
    """
    if ra is not None or dec is not None:
        pair = _given(schema, ra, dec)
    elif told is not None:
        # Without them others may be there that are positions of something else: better no answer than these.
        pair = _given(schema, *told)
    else:
        found = _by_name(schema) or _by_ucd(schema)
        if found is None:
            looked_for = ", ".join("/".join(names) for names in NAME_PAIRS)
            raise TableError(
                f"no coordinate columns are found by name ({looked_for}) or by UCD (pos.eq.ra, pos.eq.dec)",
                hint=f"name them with ra= and dec=; the columns are: {_listed(schema.names)}",
            )
        pair = found
    for name in pair:
        _check_numeric(schema, name)
    return pair


def _given(schema: pa.Schema, ra: str | None, dec: str | None) -> tuple[str, str]:
    if ra is None or dec is None:
        raise TableError("only one coordinate column is named", hint="name both, or neither")
    for name in (ra, dec):
        if name not in schema.names:
            raise TableError(f"no column {name!r}", hint=f"the columns are: {_listed(schema.names)}", value=name)
    if ra == dec:
        raise TableError(f"column {ra!r} is named for both coordinates", value=ra)
    return ra, dec


def _by_name(schema: pa.Schema) -> tuple[str, str] | None:
    names = set(schema.names)
    for pair in NAME_PAIRS:
        if names.issuperset(pair):
            return pair
    lower: dict[str, list[str]] = {}
    for name in schema.names:
        lower.setdefault(name.lower(), []).append(name)
    for pair in NAME_PAIRS:
        ra, dec = (lower.get(name.lower(), []) for name in pair)
        # "RA" and "Ra" side by side: better no answer than a guess.
        if len(ra) == len(dec) == 1:
            return ra[0], dec[0]
    return None


def _by_ucd(schema: pa.Schema) -> tuple[str, str] | None:
    ucds = {field.name: text_of(field, "ucd").lower() for field in schema}
    for pair in UCD_PAIRS:
        ra, dec = ([name for name, ucd in ucds.items() if ucd == wanted.lower()] for wanted in pair)
        if len(ra) == len(dec) == 1:
            return ra[0], dec[0]
    return None


def _check_numeric(schema: pa.Schema, name: str) -> None:
    field = schema.field(name)
    if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_decimal(field.type)):
        raise TableError(
            f"coordinate column {name!r} is {text_of(field, 'dtype') or field.type}, not a number",
            hint="positions must be decimal degrees; name other columns with ra= and dec=",
            value=name,
        )
    unit = text_of(field, "unit").strip().lower()
    if unit and unit not in ("deg", "degree", "degrees", "°"):
        raise TableError(
            f"coordinate column {name!r} is in {unit}, not in degrees",
            hint="convert it, or name other columns with ra= and dec=",
            value=name,
        )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return (", ".join(names[:40]) or "none") + (f", and {len(names) - 40} more" if len(names) > 40 else "")
