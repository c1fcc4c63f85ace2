"""What a call asks for, and who gives what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xmatch_hats.catalogs.region import Region
from xmatch_hats.matching.assemble import Join, check_join
from xmatch_hats.matching.rule import MatchRule


@dataclass(frozen=True)
class Settings:
    """Everything that determines the rows of the output, but for the catalogues.

    Raises
    ------
    UsageError
        The join is not one of the two.
    """

    rule: MatchRule
    join: Join = "inner"
    left_columns: Sequence[str] | None = None
    right_columns: Sequence[str] | None = None
    left_where: str | None = None
    right_where: str | None = None
    where: str | None = None
    region: Region | None = None
    margin_arcsec: float | None = None
    """Of the output's margin cache; None is that of the left side, or the usual one."""

    def __post_init__(self) -> None:
        check_join(self.join, {})

    def told(self) -> dict[str, object]:
        """As JSON values, for people."""
        return {
            "radius_arcsec": self.rule.radius_arcsec, "n_neighbors": self.rule.n_neighbors, "join": self.join,
            "left_columns": _listed(self.left_columns), "right_columns": _listed(self.right_columns),
            "left_where": self.left_where, "right_where": self.right_where, "where": self.where,
            "region": None if self.region is None else str(self.region),
        }  # fmt: skip


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
