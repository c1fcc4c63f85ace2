"""Which columns of an output say what: where the rows of the catalogue lie, how bright they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from xmatch_hats.bulk.report.outputs import Target
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import XmatchError
from xmatch_hats.matching.assemble import DISTANCE, RANK, STATUS
from xmatch_hats.tables.metadata import text_of

MAX_MAGNITUDES = 6
"""Columns that are drawn, so that their curves can be told apart."""
_MAGNITUDE = re.compile(r"(^|_)[a-z0-9]{0,8}mag(\d*|psf|ap|nitude)(_|$)|mpro(_|$)|_m_2mass(_|$)", re.IGNORECASE)
_NO_MAGNITUDE = re.compile(r"(^|_)e_|sig|err|lim|std|rms|snr|nr$", re.IGNORECASE)
_WISE = ("w1mpro", "w2mpro", "w3mpro", "w4mpro")


@dataclass(frozen=True)
class MatchColumns:
    """The columns of an output that tell of the match with one catalogue; None and empty where there are none."""

    distance: str
    status: str | None
    rank: str | None
    right: tuple[str, str] | None
    """Right ascension and declination of the catalogue's row."""
    magnitudes: tuple[str, ...]
    """Of the row that was matched, and of that of the catalogue."""
    colour: tuple[str, str] | None
    """Two magnitudes whose difference is a colour: W1 and W2 for AllWISE."""
    errors: dict[str, str]
    """Errors of magnitudes without which they are upper limits of brightness."""

    @cached_property
    def all(self) -> list[str]:
        """All of them."""
        names = [self.distance, self.status, self.rank, *(self.right or ()), *self.magnitudes, *self.errors.values()]
        return [name for name in dict.fromkeys(names) if name is not None]


def match_columns(
    schema: pa.Schema, target: Target, others: Sequence[Target], position: tuple[str, str]
) -> MatchColumns:
    """Find the columns of one catalogue.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the output.
    target : Target
    others : sequence of Target
        Whose columns are not meant.
    position : (str, str)
        Right ascension and declination of what was matched.

    Raises
    ------
    XmatchError
        The output has no column of the distance to it.
    """
    names = set(schema.names)

    def final(kind: str) -> str | None:
        return next((name for name in (f"{kind}_{target.name}", kind) if name in names), None)

    distance = final(DISTANCE)
    if distance is None:
        raise XmatchError(f"has no column {DISTANCE} of {target.name}", value=target.name)
    foreign = {title for other in others for name in other.columns or () for title in _titles(name, other, names)[:1]}
    magnitudes = [field.name for field in schema if _is_magnitude(field) and field.name not in foreign]
    wise = [_title(name, target, names) for name in _WISE]
    errors = {}
    for name, title in zip(_WISE, wise, strict=True):
        error = _title(name.replace("mpro", "sigmpro"), target, names)
        if title is not None and error is not None:
            errors[title] = error
    w1, w2 = wise[:2]
    colour = (w1, w2) if w1 and w2 else None
    if colour:
        # Its own bands first.
        magnitudes.sort(key=lambda name: name not in colour)
    return MatchColumns(
        distance, final(STATUS), final(RANK), _right_position(target, names, position),
        tuple(magnitudes[:MAX_MAGNITUDES]), colour, errors,
    )  # fmt: skip


def _right_position(target: Target, names: set[str], position: tuple[str, str]) -> tuple[str, str] | None:
    # A name that what was matched has, too, ends in the catalogue's.
    ra, dec = (_title(name, target, names - set(position)) for name in _own_position(target))
    return (ra, dec) if ra and dec else None


def _own_position(target: Target) -> tuple[str, str]:
    """What the catalogue calls its coordinates; the usual names, if it is not there any more."""
    if target.path is not None:
        try:
            copy = LocalCopy.open(target.path)
        except XmatchError:
            return "ra", "dec"
        return copy.ra_column, copy.dec_column
    return "ra", "dec"


def _titles(name: str, target: Target, names: set[str]) -> list[str]:
    """Columns that may be what the catalogue calls `name`, the likeliest first."""
    return [title for title in (f"{name}_{target.name}", name) if title in names]


def _title(name: str, target: Target, names: set[str]) -> str | None:
    return next(iter(_titles(name, target, names)), None)


def _is_magnitude(field: pa.Field) -> bool:
    if not pa.types.is_floating(field.type):
        return False
    ucd, unit = text_of(field, "ucd"), text_of(field, "unit")
    if ucd:
        return ucd.startswith("phot.mag")
    return unit in ("", "mag") and bool(_MAGNITUDE.search(field.name)) and not _NO_MAGNITUDE.search(field.name)
