"""Magnitudes of a star catalogue, as columns of a catalogue of one's own with an offset: ``w1mpro+2.7``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xmatch_hats.errors import UsageError

__all__ = ["BANDS", "Magnitude", "parse_map", "split_map"]

BANDS = ("Fmag", "Jmag", "Vmag", "Nmag")
"""Magnitudes of a star catalogue: photographic red and blue, visual, near infrared."""

_EXPRESSION = re.compile(r"(?P<column>`[^`]+`|[^\s+\-*/()`=,]+)\s*(?:(?P<sign>[+-])\s*(?P<offset>\S+))?")
_OFFSET = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HINT = "as in Vmag=phot_g_mean_mag,Nmag=w1mpro+2.7"


@dataclass(frozen=True)
class Magnitude:
    """A column and what is added to it."""

    column: str
    offset: float = 0.0
    """Magnitudes."""

    @classmethod
    def parse(cls, text: str, place: str = "magnitudes") -> Magnitude:
        """Read ``column``, ``column+offset`` or ``column-offset``; a name with signs or spaces stands in backticks.

        Raises
        ------
        UsageError

        Examples
        --------
        >>> Magnitude.parse("w1mpro+2.7")
        Magnitude(column='w1mpro', offset=2.7)
        >>> Magnitude.parse("`BP-RP` - 0.5")
        Magnitude(column='BP-RP', offset=-0.5)
        """
        found = _EXPRESSION.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r} is not a column with an offset", place=place, hint=_HINT, value=text)
        number = found["offset"] or "0"
        offset = float((found["sign"] or "") + number) if _OFFSET.fullmatch(number) else math.nan
        if not math.isfinite(offset):
            raise UsageError(
                f"the offset {found['offset']!r} is not a number", place=place,
                hint="a column with signs in its name goes in backticks", value=text,
            )  # fmt: skip
        return cls(found["column"].strip("`"), offset)


def split_map(texts: Iterable[str], place: str) -> dict[str, str]:
    """Split ``Vmag=...,Nmag=...`` into magnitudes and what stands for them.

    Raises
    ------
    UsageError
        A part is no such pair, or a magnitude comes twice.
    """
    pairs: dict[str, str] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        band, equals, expression = (word.strip() for word in part.partition("="))
        if not (band and equals and expression):
            raise UsageError(f"{part!r} maps no column to a magnitude", place=place, hint=_HINT, value=part)
        if band in pairs:
            raise UsageError(f"{band} is given twice", place=place, value=part)
        pairs[band] = expression
    return pairs


def parse_map(pairs: Mapping[str, str], place: str) -> dict[str, Magnitude]:
    """Read what stands for each magnitude.

    Raises
    ------
    UsageError
        There is no such magnitude, or what stands for one is no column with an offset.
    """
    if not pairs:
        raise UsageError("no magnitude is given", place=place, hint=_HINT)
    for band in pairs:
        if band not in BANDS:
            raise UsageError(f"there is no magnitude {band}", place=place, hint=f"there are {', '.join(BANDS)}")
    return {band: Magnitude.parse(text, f"{place} {band}") for band, text in pairs.items()}


def __dir__() -> list[str]:
    return sorted(__all__)
