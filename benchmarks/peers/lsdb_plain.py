"""LSDB as its documentation has it, at its best settings.

No margin is built for the left side, which nobody would read; the left side is cut no finer than the right, and has the
coverage map by which LSDB leaves out partitions far from it; only the asked columns are read, and no progress bar is
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lsdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.answers import Answer

ROW = "row"
TOLERANCE_ARCSEC = 1e-9
COMPRESSION_LEVEL = 1
"""As ours writes. By default it is zstd's level 15, which takes longer for few bytes less."""


class PlainLsdb:
    """Matches batches with a catalogue that was opened once; the current Dask client computes.

    Parameters
    ----------
    path : Path
        Folder of the HATS collection.
    columns : sequence of str
    radius_arcsec : float, optional
    """

    def __init__(self, path: Path, columns: Sequence[str], radius_arcsec: float = 1.0) -> None:
        self._catalog = lsdb.open_catalog(str(path), columns=list(columns))
        self._radius = radius_arcsec

    def match(self, batch: tuple[NDArray[np.float64], NDArray[np.float64]]) -> pd.DataFrame:
        """Match a batch of positions in degrees."""
        ra, dec = batch
        frame = pd.DataFrame({ROW: np.arange(len(ra)), "alert_ra": ra, "alert_dec": dec})
        left = lsdb.from_dataframe(
            frame,
            ra_column="alert_ra",
            dec_column="alert_dec",
            margin_threshold=None,
            catalog_name="alerts",
        )
        joined = left.crossmatch(
            self._catalog,
            radius_arcsec=self._radius,
            n_neighbors=1,
            suffixes=("", "_right"),
            suffix_method="overlapping_columns",
            log_changes=False,
        )
        found: pd.DataFrame = joined.compute(progress_bar=False)
        return found


def batch_answer(frame: pd.DataFrame) -> Answer:
    """Bring a batch's answer into comparable form."""
    return Answer.of(frame[ROW], frame["_dist_arcsec"])


def write_crossmatch(
    left: tuple[Path, Sequence[str]], right: tuple[Path, Sequence[str]], out: Path, radius_arcsec: float = 1.0
) -> None:
    """Match two catalogues and write the result as HATS.

    Parameters
    ----------
    left, right : tuple of Path and sequence of str
        Folder of the HATS collection, and the columns to write. The right side's coordinates are read, as LSDB
        matches by them, and not written.
    out : Path
        Folder to write.
    """
    read = (left, (right[0], [*right[1], "ra", "dec"]))
    sides = [lsdb.open_catalog(str(path), columns=list(columns)) for path, columns in read]
    joined = sides[0].crossmatch(
        sides[1],
        radius_arcsec=radius_arcsec,
        n_neighbors=1,
        suffixes=("", "_right"),
        suffix_method="overlapping_columns",
        log_changes=False,
    )
    joined[[*left[1], *right[1], "_dist_arcsec"]].write_catalog(
        str(out), overwrite=True, progress_bar=False, write_table_kwargs={"compression_level": COMPRESSION_LEVEL}
    )


def match_tables(left: Path, right: Path, out: Path, radius_arcsec: float = 1.0) -> None:
    """Match two parquet files in memory, the right side with a margin as it must have, and write parquet."""
    here, there = (
        lsdb.from_dataframe(
            pd.read_parquet(path, dtype_backend="pyarrow"),
            ra_column="ra",
            dec_column="dec",
            margin_threshold=margin,
            catalog_name=name,
        )
        for path, margin, name in ((left, None, "left"), (right, radius_arcsec, "right"))
    )
    joined = here.crossmatch(
        there,
        radius_arcsec=radius_arcsec,
        n_neighbors=1,
        suffixes=("", "_right"),
        suffix_method="overlapping_columns",
        log_changes=False,
    )
    joined.compute(progress_bar=False).to_parquet(out)
