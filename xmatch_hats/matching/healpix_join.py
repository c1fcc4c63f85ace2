"""The sorted-HEALPix join as an LSDB crossmatch algorithm, for any code that uses LSDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.matching.algorithm import TieExactCrossmatch, frame_positions, id_of_lsdb, match_frame
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.sphere import PositionFault, position_faults

if TYPE_CHECKING:
    import lsdb
    from astropy import units as u
    from hats.catalog import TableProperties
    from lsdb.core.crossmatch.crossmatch_args import CrossmatchArgs

__all__ = ["HealpixJoin"]

_DOUBLE = pd.ArrowDtype(pa.float64())


class HealpixJoin(TieExactCrossmatch):
    """Nearest, k nearest or all rows within a radius, by the sort order of the partitions instead of a tree.

    ``left.crossmatch(right, algorithm=HealpixJoin(1.0))``. The answer has LSDB's own column ``_dist_arcsec``. Rows that
    have no valid position match nothing. The rows of a partition are in the order of their positions already, with
    those of the margin behind them; rows whose positions were changed since, or in any other order, are sorted first.

    The right catalogue must have a margin no narrower than the radius, whatever ``require_right_margin`` says: without
    it, matches across the borders of partitions would be missed in silence.

    Parameters
    ----------
    radius_arcsec : Quantity or float
        Largest separation, inclusive: an angle, or a number of arcseconds.
    n_neighbors : int or None, optional
        How many of the nearest rows; None is all within the radius.
    min_radius_arcsec : Quantity or float, optional
        Only rows beyond this separation count, where it is above 0.
    id_column : str, optional
        Column of the right catalogue whose smaller value decides between equal separations. By default, of a catalogue
        that was opened from a local copy, the one that the copy recorded; of any other, that of the shipped definition
        that its columns fit, else ``_row``. Where there is none, or it is not among the catalogue's columns, the
        smaller right ascension decides, then the smaller declination, and of rows on one spot the earlier in the
        partition.

    Raises
    ------
    RadiusError, UsageError
        A radius, a number of neighbours or an id column that cannot mean anything.

    Examples
    --------
    >>> from xmatch_hats import open_catalog
    >>> allwise = open_catalog("allwise", ["w1mpro"])
    >>> pairs = allwise.crossmatch(
    ...     allwise,
    ...     algorithm=HealpixJoin(5.0, n_neighbors=2),
    ...     suffixes=("", "_2"),
    ...     suffix_method="overlapping_columns",
    ... )
    >>> pairs.columns.tolist()
    ['ra', 'dec', 'w1mpro', 'ra_2', 'dec_2', 'w1mpro_2', '_dist_arcsec']
    """

    extra_columns = pd.DataFrame({"_dist_arcsec": pd.Series(dtype=_DOUBLE)})

    def __init__(
        self,
        radius_arcsec: u.Quantity | float,
        n_neighbors: int | None = 1,
        min_radius_arcsec: u.Quantity | float = 0.0,
        id_column: str | None = None,
    ) -> None:
        given: object = id_column
        if given is not None and not isinstance(given, str):
            raise UsageError(f"id_column must be the name of a column, not {given!r}", value=given)
        super().__init__(MatchRule(radius_arcsec, n_neighbors, min_radius_arcsec), id_column)
        # One join may serve several catalogues, whose partitions come with nothing but their catalogue's properties. It
        # is no part of what Dask tells joins apart by: Dask tells the catalogues apart already.
        self._ids_found: dict[str, str] = {}

    def __repr__(self) -> str:
        tie = f", ties by {self.id_column}" if self.id_column is not None else ""
        return f"<HealpixJoin within {self.rule.radius_arcsec:g} arcsec; {self.rule.wanted}{tie}>"

    @property
    def radius_arcsec(self) -> float:
        """Largest separation: what LSDB looks for where it joins the outer way."""
        return self.rule.radius_arcsec

    def validate(self, left: lsdb.Catalog, right: lsdb.Catalog) -> None:
        """Refuse what would give wrong answers, and find out what decides between equal separations.

        Raises
        ------
        RadiusError
            The right catalogue's margin is narrower than the radius.
        TableError
            The right catalogue lacks the id column that was asked for.
        CatalogError
            The right catalogue is of a local copy whose manifest cannot be read.
        """
        super().validate(left, right)
        if self.id_column is None:
            if (found := id_of_lsdb(right)) is not None:
                self._ids_found[_key_of(right.hc_structure.catalog_info)] = found
        elif self.id_column not in right.columns:
            raise TableError(
                f"the right side has no column {self.id_column!r}",
                place=right.name,
                hint=near_names(self.id_column, right.columns),
                value=self.id_column,
            )

    def perform_crossmatch(
        self, crossmatch_args: CrossmatchArgs
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], pd.DataFrame]:
        """Match the rows of one partition with those of another and its margin."""
        ra, dec = frame_positions(crossmatch_args.left_df, crossmatch_args.left_catalog_info)
        rows = np.flatnonzero(position_faults(ra, dec) == PositionFault.NONE)
        right, info = crossmatch_args.right_df, crossmatch_args.right_catalog_info
        pairs = match_frame(ra[rows], dec[rows], right, info, self.rule, self._id_of(right, info))
        distances = pd.DataFrame({"_dist_arcsec": pd.Series(pairs.distance_arcsec, dtype=_DOUBLE)})
        return rows[pairs.left], pairs.right, distances

    def _id_of(self, frame: pd.DataFrame, info: TableProperties) -> str | None:
        if self.id_column is not None:
            return self.id_column
        found = self._ids_found.get(_key_of(info))
        # The same catalogue may be joined with other columns, too.
        return found if found in frame.columns else None


def _key_of(info: TableProperties) -> str:
    return str(info.model_dump_json())


def __dir__() -> list[str]:
    return sorted(__all__)
