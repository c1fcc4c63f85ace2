"""Our rule of matching as an LSDB crossmatch algorithm, and the match of one frame of a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from lsdb.core.crossmatch.abstract_crossmatch_algorithm import AbstractCrossmatchAlgorithm
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import guess_id
from xmatch_hats.catalogs.manifest import Manifest
from xmatch_hats.errors import RadiusError
from xmatch_hats.matching.pairs import Pairs, Problem, match_pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedSky, match_sorted
from xmatch_hats.matching.ties import tie_keys
from xmatch_hats.matching.tree import TreeFinder
from xmatch_hats.sphere import PositionFault, position_faults

if TYPE_CHECKING:
    import lsdb
    from hats.catalog import TableProperties
    from lsdb.core.crossmatch.crossmatch_args import CrossmatchArgs


_MAKE_AGAIN = "make the copy again with a margin"


class TieExactCrossmatch(AbstractCrossmatchAlgorithm):
    """Pairs by exact separation, where equal separations go to the smaller id whatever the order of the rows.

    Parameters
    ----------
    rule : MatchRule
        Which pairs are asked for.
    id_column : str or None
        Column of the right catalogue that decides ties; None for the fallback of `tie_keys`.
    """

    # The separation is not handed on as a column: a catalogue may have one of the same name, and whoever gets the rows
    # computes it again from the positions, to the last bit.
    extra_columns: pd.DataFrame | None = None

    def __init__(self, rule: MatchRule, id_column: str | None) -> None:
        super().__init__()
        self.rule = rule
        self.id_column = id_column

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        rule = self.rule
        return (type(self).__name__, rule.radius_arcsec, rule.n_neighbors, rule.min_radius_arcsec, self.id_column)

    def validate(self, left: lsdb.Catalog, right: lsdb.Catalog) -> None:
        """Refuse a radius beyond the margin.

        Raises
        ------
        RadiusError
            The right catalogue's margin is narrower than the radius.
        """
        super().validate(left, right)
        check_lsdb_margin(self.rule.radius_arcsec, right)

    def perform_crossmatch(
        self, crossmatch_args: CrossmatchArgs
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], pd.DataFrame]:
        """Match one partition of positions with one partition of the catalogue and its margin."""
        left_ra, left_dec = frame_positions(crossmatch_args.left_df, crossmatch_args.left_catalog_info)
        pairs = match_frame(
            left_ra,
            left_dec,
            crossmatch_args.right_df,
            crossmatch_args.right_catalog_info,
            self.rule,
            self.id_column,
            use_tree=True,
        )
        return pairs.left, pairs.right, pd.DataFrame(index=pd.RangeIndex(len(pairs)))


def match_frame(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    frame: pd.DataFrame,
    info: TableProperties,
    rule: MatchRule,
    id_column: str | None,
    *,
    index: NDArray[np.int64] | None = None,
    use_tree: bool = False,
) -> Pairs:
    """Match valid positions with the rows of one frame of a catalogue; rows without a position match nothing.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Degrees.
    frame : DataFrame of m rows
    info : TableProperties
        Of the frame's catalogue: its coordinate columns.
    rule : MatchRule
        Which pairs are asked for.
    id_column : str or None
        Column of the frame that decides ties.
    index : ndarray of int64, shape (n,), optional
        Spatial indexes of the positions, where they are known.
    use_tree : bool, optional
        Find candidates by a k-d tree instead: another way to the same pairs.

    Returns
    -------
    Pairs
        With the row numbers of both sides.
    """
    right_ra, right_dec = frame_positions(frame, info)
    rows = np.flatnonzero(position_faults(right_ra, right_dec) == PositionFault.NONE)
    right_ra, right_dec = right_ra[rows], right_dec[rows]
    ids = None if id_column is None else pa.array(frame[id_column].iloc[rows])
    ties = tie_keys(ids, right_ra, right_dec)
    if use_tree:
        left, right = (ra, dec), (right_ra, right_dec)
        pairs = match_pairs(Problem(TreeFinder(left, right), left, right, ties, rule))
    else:
        sky = SortedSky.from_positions(right_ra, right_dec)
        pairs = match_sorted(ra, dec, sky, rule, ties=tuple(key[sky.rows] for key in ties), index=index)
    return Pairs(pairs.left, rows[pairs.right], pairs.distance_arcsec, pairs.rank)


def frame_positions(frame: pd.DataFrame, info: TableProperties) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascensions and declinations of a frame in degrees, NaN where they are missing."""
    return tuple(
        frame[column].to_numpy(dtype=np.float64, na_value=np.nan) for column in (info.ra_column, info.dec_column)
    )


def id_of_lsdb(catalog: lsdb.Catalog) -> str | None:
    """Id column of a catalogue, as the copy that it was opened from recorded it, so that both give one answer.

    Raises
    ------
    CatalogError
        The copy's manifest cannot be read.
    """
    base = catalog.hc_structure.catalog_base_dir
    manifest = Manifest.read(Path(str(base)).parent) if base is not None else None
    if manifest is not None and manifest.id_column in catalog.columns:
        return manifest.id_column
    return guess_id(pa.Schema.from_pandas(catalog.meta, preserve_index=False))


def check_lsdb_margin(radius_arcsec: float, catalog: lsdb.Catalog) -> None:
    """Refuse a radius that reaches beyond the margin of an LSDB catalogue.

    Raises
    ------
    RadiusError
        As of `check_margin`.
    """
    margin = catalog.margin.hc_structure.catalog_info.margin_threshold if catalog.margin is not None else None
    # One that lies in no folder was made in memory: no copy of it can be made again.
    is_made = catalog.hc_structure.catalog_base_dir is None
    remedy = "give lsdb.from_dataframe a margin_threshold" if is_made else _MAKE_AGAIN
    check_margin(radius_arcsec, margin or 0.0, catalog.name, remedy)


def check_margin(radius_arcsec: float, margin_arcsec: float, name: str, remedy: str = _MAKE_AGAIN) -> None:
    """Refuse a radius that reaches beyond the margin cache of a catalogue.

    Parameters
    ----------
    radius_arcsec, margin_arcsec : float
    name : str
        Of the catalogue.
    remedy : str, optional
        How it comes by a wider margin; the width follows.

    Raises
    ------
    RadiusError
        Names the catalogue, its margin and the radius.
    """
    if radius_arcsec <= margin_arcsec:
        return
    margin, smaller = f"a margin of {margin_arcsec:g} arcsec", "search a smaller radius, or "
    if margin_arcsec <= 0:
        margin, smaller = "no margin cache at all", ""
    raise RadiusError(
        f"a radius of {radius_arcsec:.12g} arcsec cannot be searched: the catalogue has {margin}",
        place=name,
        hint=f"{smaller}{remedy} of {radius_arcsec:.12g} arcsec",
        value=radius_arcsec,
    )
