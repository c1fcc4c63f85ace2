"""Row checks that need only the position columns: on the sphere, in the pixel, index right, sorted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.subject import Table
from xmatch_hats.catalogs.verify.tiling import Floats, Ints
from xmatch_hats.healpix import MAX_ORDER, cells_of
from xmatch_hats.sphere import PositionFault, position_faults

ROUNDING_DEG = 1e-10
"""A position this near to a cell's side may have been put on either side of it by another library's arithmetic; that is
a thousandth of the width of the deepest cell."""


@dataclass(frozen=True)
class Positions:
    """Positions of a batch of rows, as far as they can be trusted."""

    ra: Floats
    dec: Floats
    cells: Ints
    """Order-29 cells by `ra` and `dec`, as stored where that is as right; -1 where there is no position."""
    index: Ints | None
    """The HEALPix index as stored, -1 for null; None where the table has none."""
    agrees: NDArray[np.bool_]
    """Whether the stored index is that of the position, but for rounding."""


def position_columns(table: Table) -> list[str]:
    """Names of the columns that `read_positions` needs."""
    return [name for name in (table.healpix_column, table.ra_column, table.dec_column) if name]


def read_positions(batch: pa.RecordBatch, table: Table) -> Positions:
    """Take the positions out of a batch and compute where they are."""
    ra, dec = (
        batch.column(name).cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        for name in (table.ra_column, table.dec_column)
    )
    valid = position_faults(ra, dec) == PositionFault.NONE
    cells = np.full(len(ra), -1, dtype=np.int64)
    cells[valid] = cells_of(ra[valid], dec[valid])
    if table.healpix_column is None:
        return Positions(ra, dec, cells, None, valid)
    stored = batch.column(table.healpix_column).cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    shift = 2 * (MAX_ORDER - table.healpix_order)
    agrees = stored == cells >> shift
    doubtful = np.flatnonzero(valid & ~agrees)
    agrees[doubtful] = _is_rounding(ra[doubtful], dec[doubtful], stored[doubtful], shift)
    if shift == 0:
        cells = np.where(agrees & valid, stored, cells)
    return Positions(ra, dec, cells, stored, agrees)


def _is_rounding(ra: Floats, dec: Floats, stored: Ints, shift: int) -> NDArray[np.bool_]:
    agrees = np.zeros(len(ra), dtype=bool)
    if not len(ra):
        return agrees
    stretch = ROUNDING_DEG / np.maximum(np.cos(np.radians(dec)), ROUNDING_DEG)
    for east in (-1, 0, 1):
        for north in (-1, 0, 1):
            moved = np.clip(dec + north * ROUNDING_DEG, -90.0, 90.0)
            agrees |= cells_of(ra + east * np.minimum(stretch, 180.0), moved) >> shift == stored
    return agrees


class FileChecker:
    """The position checks over the batches of one file, in order."""

    def __init__(self, table: Table, path: Path, partition: Partition, findings: Findings) -> None:
        self._table, self._path, self._partition, self._findings = table, path, partition, findings
        self._rows = 0
        self._last = -1

    def check(self, positions: Positions) -> None:
        """Check the next rows of the file."""
        self._check_coordinates(positions)
        self._check_index(positions)
        if not self._table.is_margin:
            self._check_pixel(positions)
            self._check_order(positions)
        self._rows += len(positions.cells)

    def _fault(self, check: str, wrong: NDArray[np.bool_], detail: str) -> None:
        tally = self._findings[check]
        tally.looked_at += len(wrong)
        rows = np.flatnonzero(wrong)
        if len(rows):
            place = self._table.place(self._path, detail, self._partition)
            tally.fault_rows(rows + self._rows, place.file, detail, place.partition)

    def _check_coordinates(self, positions: Positions) -> None:
        wrong = positions.cells < 0
        reason = ""
        if wrong.any():
            fault = position_faults(positions.ra[wrong][:1], positions.dec[wrong][:1])[0]
            reason = PositionFault(int(fault)).reason
        self._fault("coordinates", wrong, reason)

    def _check_index(self, positions: Positions) -> None:
        if positions.index is None:
            self._findings["healpix-index"].skip(f"{self._table.path.name} has no HEALPix column")
            return
        wrong = ~positions.agrees & (positions.cells >= 0)
        self._fault("healpix-index", wrong, f"{self._table.healpix_column} is not that of ra and dec")

    def _check_pixel(self, positions: Positions) -> None:
        order, pixel = self._partition
        inside = positions.cells >> 2 * (MAX_ORDER - order) == pixel
        if positions.index is not None and self._table.healpix_order >= order:
            stored = positions.index >> 2 * (self._table.healpix_order - order) == pixel
            # By rounding a row on a border may be indexed, and then belongs, on its other side.
            inside = stored & (inside | positions.agrees)
        self._fault("pixel", ~inside & (positions.cells >= 0), "lies outside the partition's pixel")

    def _check_order(self, positions: Positions) -> None:
        if positions.index is None:
            self._findings["sorted"].skip(f"{self._table.path.name} has no HEALPix column")
            return
        before = np.concatenate(([self._last], positions.index[:-1])) if len(positions.index) else positions.index
        self._fault("sorted", positions.index < before, "has a smaller HEALPix index than the row before it")
        if len(positions.index):
            self._last = int(positions.index[-1])
