"""FITS binary tables, batch by batch: the header first, then big-endian records."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pyarrow as pa
from astropy.io import fits

from xmatch_hats.tables._fits_plan import ColumnPlan, ColumnTally, records_of
from xmatch_hats.tables.plain import plain_table
from xmatch_hats.tables.source import BATCH_ROWS

_BLOCK = 2880


def write_fits(table: pa.Table, file: IO[bytes], path: Path) -> None:
    """Write an empty primary HDU and one binary table."""
    table = plain_table(table, path)
    plans = [_plan(field, column, path) for field, column in zip(table.schema, table.columns, strict=True)]
    header = _header(table.num_rows, plans)
    file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
    file.write(header.tostring().encode("ascii"))
    written = 0
    for start in range(0, table.num_rows, BATCH_ROWS):
        written += file.write(records_of(table.slice(start, BATCH_ROWS), plans).tobytes())
    file.write(b"\x00" * (-written % _BLOCK))


def _plan(field: pa.Field, column: pa.ChunkedArray, path: Path) -> ColumnPlan:
    tally = ColumnTally(field, path)
    tally.add(column)
    return tally.plan()


def _header(rows: int, plans: list[ColumnPlan]) -> fits.Header:
    header = fits.Header()
    width = sum(plan.repeat * plan.stored.itemsize for plan in plans)
    for key, value in (
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", width), ("NAXIS2", rows),
        ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", len(plans)),
    ):  # fmt: skip
        header[key] = value
    for number, plan in enumerate(plans, start=1):
        plan.describe(header, number)
    return header
