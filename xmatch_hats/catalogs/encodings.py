"""How the columns of a catalogue are encoded in parquet, by what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import HEALPIX_COLUMN

SAMPLE_ROWS = 2_048
"""From so many rows of a column it is judged whether its values repeat."""
REPEATING = 0.95
"""Share of different values in a sample, below which a dictionary pays: magnitudes of three decimals have 0.85."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiplied by it, near numbers come to lie far from each other (Knuth, volume 3, 6.4)."""


def encodings(sample: pa.Table) -> dict[str, Any]:
    """Choose how columns are encoded.

    Values that repeat go into a dictionary. Others would fill it for nothing: their bytes are written by place in the
    number (floating-point numbers) or as differences (whole numbers), which compresses better and in less time. Of
    ALLWISE that makes files two thirds as large as with one rule for all numbers, and twice as fast to read.

    Parameters
    ----------
    sample : pyarrow.Table
        All columns, and some rows.

    Returns
    -------
    dict
        Arguments of `pyarrow.parquet.write_table`.
    """
    repeating: list[str] = []
    chosen: dict[str, str] = {}
    for field, column in zip(sample.schema, sample.columns, strict=True):
        is_float = pa.types.is_float64(field.type) or pa.types.is_float32(field.type)
        is_whole = pa.types.is_int64(field.type) or pa.types.is_int32(field.type)
        if field.name == HEALPIX_COLUMN or ((is_float or is_whole) and not _repeats(column)):
            chosen[field.name] = "BYTE_STREAM_SPLIT" if is_float else "DELTA_BINARY_PACKED"
        elif is_float or is_whole or pa.types.is_nested(field.type) or _repeats(column):
            repeating.append(field.name)
    return {"use_dictionary": repeating, "column_encoding": chosen or None}


def _repeats(column: pa.ChunkedArray) -> bool:
    sample = column.slice(0, SAMPLE_ROWS)
    try:
        return pc.count_distinct(sample).as_py() < REPEATING * len(sample)
    except pa.ArrowNotImplementedError:
        # Arrow cannot count every type, dictionaries among them.
        return True


class Sample:
    """Some rows of a source, drawn by their places on the sky: the same whatever order the rows come in."""

    def __init__(self, schema: pa.Schema) -> None:
        self._keys = np.empty(0, np.uint64)
        self._rows = schema.empty_table()

    def add(self, rows: pa.RecordBatch | pa.Table, index: NDArray[np.int64]) -> None:
        """Draw from further rows.

        Parameters
        ----------
        rows : pyarrow.RecordBatch or pyarrow.Table, n rows
        index : ndarray of int64, shape (n,)
            Their HEALPix cells of order 29.
        """
        keys = index.astype(np.uint64) * _GOLDEN
        if len(self._keys) >= SAMPLE_ROWS:
            low = np.flatnonzero(keys < self._keys[-1])
            rows, keys = rows.take(pa.array(low)), keys[low]
        if len(keys) == 0:
            return
        order = np.argsort(keys, kind="stable")[:SAMPLE_ROWS]
        drawn = rows.take(pa.array(order))
        if isinstance(drawn, pa.RecordBatch):
            drawn = pa.Table.from_batches([drawn])
        keys = np.r_[self._keys, keys[order]]
        order = np.argsort(keys, kind="stable")[:SAMPLE_ROWS]
        self._keys = keys[order]
        self._rows = pa.concat_tables([self._rows, drawn]).take(pa.array(order)).combine_chunks()

    @property
    def rows(self) -> pa.Table:
        """What was drawn."""
        return self._rows
