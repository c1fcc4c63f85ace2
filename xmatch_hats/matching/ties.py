"""What equal separations are ordered by, as arrays that sort."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def order_keys(column: pa.Array | pa.ChunkedArray) -> NDArray:
    """Numbers that sort as the values of a column do, missing values last.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray
        Of any type with an order. Integers stay what they are; others become their ranks among themselves.

    Returns
    -------
    ndarray of int64 or uint64, shape (n,)
    """
    if pa.types.is_integer(column.type) and column.null_count == 0:
        wide = pa.uint64() if pa.types.is_uint64(column.type) else pa.int64()
        return np.asarray(column.cast(wide).to_numpy())
    ranks = pc.rank(column, sort_keys="ascending", tiebreaker="dense")
    return np.asarray(ranks.cast(pa.int64()).to_numpy())


def tie_keys(
    ids: pa.Array | pa.ChunkedArray | None,
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
) -> tuple[NDArray, ...]:
    """Keys of the rows of a catalogue, the most important first.

    Parameters
    ----------
    ids : pyarrow array of n values, or None
        The catalogue's id column, or the source row numbers; None for a foreign catalogue that has neither: then its
        rows are ordered by right ascension and declination, and at last by their order in the files.
    ra, dec : ndarray of float64, shape (n,)
        Degrees.
    """
    fallback = (ra, dec)
    return fallback if ids is None else (order_keys(ids), *fallback)
