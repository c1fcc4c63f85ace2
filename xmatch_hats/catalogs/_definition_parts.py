"""Parts of a definition that stand by themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xmatch_hats.catalogs.magnitudes import Magnitude, parse_map
from xmatch_hats.errors import UsageError

STRICT = ConfigDict(frozen=True, extra="forbid")


class Place(BaseModel):
    """A public place of a catalogue."""

    model_config = STRICT

    kind: Literal["hats", "parquet", "bulk", "tap", "other"]
    url: str
    note: str = ""


class Bulk(BaseModel):
    """Layout of headerless bulk files: the columns of the definition in their order, between delimiters."""

    model_config = STRICT

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = "|"
    columns: int
    """Number of columns; it guards against a definition that is out of step."""
    pattern: str = ""
    """Shell pattern of the files' names."""


class StarPreset(BaseModel):
    """What a star catalogue for masks takes from this catalogue, unless told otherwise."""

    model_config = STRICT

    magnitudes: dict[str, str]
    """Columns with offsets by magnitude: ``Fmag``, ``Jmag``, ``Vmag``, ``Nmag``."""
    stars: str = ""
    """Condition that makes a row a star; all rows without it."""
    note: str = ""
    """What these magnitudes can and cannot stand for."""

    @field_validator("magnitudes")
    @classmethod
    def _magnitudes_parse(cls, pairs: dict[str, str]) -> dict[str, str]:
        try:
            parse_map(pairs, "magnitudes")
        except UsageError as error:
            raise ValueError(str(error)) from error
        return pairs

    @property
    def columns(self) -> list[str]:
        """Columns that the magnitudes need."""
        return [Magnitude.parse(text).column for text in self.magnitudes.values()]
