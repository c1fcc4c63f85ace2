"""The kinds of self-checks that a definition may ask for, as data.

What each of them looks at, in NumPy and Arrow, is in `xmatch_hats.catalogs.selfcheck`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Check(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    """Name under which a source is refused."""

    @property
    def used(self) -> tuple[str, ...]:
        """Canonical names of the columns that the check looks at."""
        raise NotImplementedError

    @property
    def texts(self) -> tuple[str, ...]:
        """Those of them that must be strings; the others must be numbers."""
        return ()


class DesignationCheck(_Check):
    """The position written in a designation (``JHHMMSS.ss+DDMMSS.s``) agrees with the coordinates."""

    kind: Literal["designation"]
    column: str
    ra: str
    dec: str
    tolerance_arcsec: Annotated[float, Field(gt=0)]
    """Largest distance between the two; the digits that a designation cuts off are part of it (0.18 of ALLWISE's)."""

    @property
    def used(self) -> tuple[str, ...]:
        """Designation and coordinates."""
        return (self.column, self.ra, self.dec)

    @property
    def texts(self) -> tuple[str, ...]:
        """The designation."""
        return (self.column,)


class RangeCheck(_Check):
    """Values that are there lie between two bounds, ends included."""

    kind: Literal["range"]
    columns: tuple[str, ...]
    minimum: float
    maximum: float

    @property
    def used(self) -> tuple[str, ...]:
        """Every column bounded."""
        return self.columns


class PatternCheck(_Check):
    """Strings that are there match a regular expression (RE2)."""

    kind: Literal["pattern"]
    columns: tuple[str, ...]
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @property
    def used(self) -> tuple[str, ...]:
        """Every column matched."""
        return self.columns

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them."""
        return self.columns


class UnitVectorCheck(_Check):
    """Three columns are a vector of length one, in the direction of the coordinates where those are named."""

    kind: Literal["unit_vector"]
    columns: tuple[str, str, str]
    tolerance: Annotated[float, Field(gt=0)]
    """How far the length may be from one, and the vector from that of the coordinates."""
    ra: str | None = None
    dec: str | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """The three components, and the coordinates."""
        return (*self.columns, *(name for name in (self.ra, self.dec) if name))


class ErrorWithoutValueCheck(_Check):
    """An error is there only where its value is."""

    kind: Literal["error_without_value"]
    pairs: tuple[tuple[str, str], ...]
    """Value and error column of each pair."""

    @property
    def used(self) -> tuple[str, ...]:
        """Values and errors."""
        return tuple(name for pair in self.pairs for name in pair)


class DifferenceCheck(_Check):
    """Two like quantities, such as magnitudes in neighbouring bands, are not further apart than a bound."""

    kind: Literal["difference"]
    pairs: tuple[tuple[str, str], ...]
    maximum: float

    @property
    def used(self) -> tuple[str, ...]:
        """Both columns of each pair."""
        return tuple(name for pair in self.pairs for name in pair)


class OrderedCheck(_Check):
    """One quantity never exceeds another, as detections never exceed observations."""

    kind: Literal["ordered"]
    pairs: tuple[tuple[str, str], ...]
    """Smaller and larger column of each pair."""

    @property
    def used(self) -> tuple[str, ...]:
        """Both columns of each pair."""
        return tuple(name for pair in self.pairs for name in pair)


class LettersCheck(_Check):
    """A string has one letter a band, and a band's error is there exactly where its letter tells of a detection."""

    kind: Literal["letters"]
    column: str
    errors: tuple[str, ...]
    """Error columns, in the order of the letters."""
    detected: str
    """Letters of a detection."""

    @property
    def used(self) -> tuple[str, ...]:
        """The letters and the errors."""
        return (self.column, *self.errors)

    @property
    def texts(self) -> tuple[str, ...]:
        """The letters."""
        return (self.column,)


SelfCheck = Annotated[
    DesignationCheck
    | RangeCheck
    | PatternCheck
    | UnitVectorCheck
    | ErrorWithoutValueCheck
    | DifferenceCheck
    | OrderedCheck
    | LettersCheck,
    Field(discriminator="kind"),
]
