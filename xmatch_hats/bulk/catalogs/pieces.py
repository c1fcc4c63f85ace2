"""A unit, cut along the sphere into pieces that fit in memory, and the left rows of a piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.bulk.catalogs.memory import POSITION_BYTES
from xmatch_hats.bulk.catalogs.partition import Integers, PartitionFile
from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.bulk.catalogs.right import Positions
from xmatch_hats.bulk.catalogs.units import Side, Unit
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.moc_files import moc_of
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import FULL_SKY_END, MAX_ORDER, cover_order, grow_ranges, in_ranges

DEPTH = 8
"""Orders below a unit at which its rows are counted, to cut it: 65,536 cells."""


@dataclass(frozen=True)
class Span:
    """A stretch of the sphere that is worked on at once."""

    start: int
    stop: int
    """Spatial indexes, half open."""
    order: int | None = None
    """HEALPix order of the cells that it was cut along; None where it is all of the unit."""

    def reach(self, radius_arcsec: float) -> Integers | None:
        """Ranges of all within a radius of it, and a little more; None for all of the unit."""
        finest = cover_order(radius_arcsec)
        if self.order is None or finest is None:
            return None
        # Not finer than the cells of the cut: what that brings more is little, and finer cells are many.
        order = min(self.order, finest)
        own = grow_ranges(np.array([[self.start, self.stop]], np.int64), order)
        return moc_of(own, order).add_neighbours().to_depth29_ranges.astype(np.int64)


@dataclass(frozen=True)
class LeftRows:
    """The left rows of a span."""

    table: pa.Table
    """Rows that count and have a position, by partition and then along the sphere."""
    positions: Positions
    """Of these."""
    ends: Integers
    """Where those of each partition of the unit end."""
    examined: int
    """Rows of the span, whether or not they count."""
    rejected: pa.Table
    """Rows that count and have no position."""


def spans_of(unit: Unit, plan: Plan) -> tuple[list[Span], int]:
    """Cut a unit so that left rows and right positions of each span fit in memory; nearly always there is one.

    Returns
    -------
    spans : list of Span
        Along the sphere; together they cover the unit.
    rows : int
        Left rows, as the files say.

    Raises
    ------
    PartitionReadError
        A partition cannot be read.
    """
    rows, left_bytes = _size(unit.left, plan)
    # The right partitions of a coarser left one are searched one after the other.
    beside = max((_most_rows(plan.right, part) for part in unit.right), default=0)
    if rows * left_bytes + beside * POSITION_BYTES <= plan.budget.piece_bytes:
        return [Span(0, FULL_SKY_END)], rows
    coarsest, pixel = min((*unit.left, *unit.right))
    order = min(MAX_ORDER, coarsest + DEPTH)
    counted = [(left_bytes, _cells(plan.left, unit.left, order, plan))]
    counted.append((POSITION_BYTES, _cells(plan.right, unit.right, order, plan)))
    cells = np.unique(np.concatenate([found for _, (found, _) in counted]))
    cost = np.zeros(len(cells))
    for size, (found, counts) in counted:
        cost[np.searchsorted(cells, found)] += size * counts
    # Of a damaged catalogue, rows may lie anywhere.
    inside = cells >> 2 * (order - coarsest) == pixel
    cells, cost = cells[inside], cost[inside]
    cuts, held = [pixel << 2 * (MAX_ORDER - coarsest)], 0.0
    for cell, more in zip(cells.tolist(), cost.tolist(), strict=True):
        if held and held + more > plan.budget.piece_bytes:
            cuts.append(cell << 2 * (MAX_ORDER - order))
            held = 0.0
        held += more
    ends = [*cuts[1:], (pixel + 1) << 2 * (MAX_ORDER - coarsest)]
    return [Span(start, stop, order) for start, stop in zip(cuts, ends, strict=True)], rows


def read_left(unit: Unit, span: Span, plan: Plan) -> LeftRows:
    """Read the left rows of a span.

    Raises
    ------
    PartitionReadError
        A partition cannot be read, or holds rows that lie outside of its pixel.
    """
    kept: list[pa.Table] = []
    rejected: list[pa.Table] = []
    ends, examined = [], 0
    for partition in unit.left:
        tables = []
        for table, rows in _counting(partition, span, plan):
            examined += rows
            positions = Positions.of(table, plan.left)
            valid = positions.valid()
            if valid is not None:
                lost = np.setdiff1d(np.arange(len(table)), valid, assume_unique=True)
                rejected.append(table.take(pa.array(lost)).select(plan.left.columns))
                table = table.take(pa.array(valid))
            tables.append(table)
        kept.append(_along_sphere(pa.concat_tables(tables)) if tables else _nothing(plan.left))
        ends.append(len(kept[-1]))
    rows = pa.concat_tables(kept)
    lost_rows = pa.concat_tables([_nothing(plan.left).select(plan.left.columns), *rejected])
    return LeftRows(rows, Positions.of(rows, plan.left), np.cumsum(ends, dtype=np.int64), examined, lost_rows)


def _counting(partition: Partition, span: Span, plan: Plan) -> Iterator[tuple[pa.Table, int]]:
    """Rows of a partition that lie in a span and count, bit by bit; and how many were looked at."""
    side = plan.left
    wanted = None if span.order is None else np.array([[span.start, span.stop]], np.int64)
    with PartitionFile(side.file(partition), side.schema, plan.budget.read_bytes) as file:
        groups = None if wanted is None else file.groups_near(wanted)
        for table in file.stream(_names(side), groups):
            index = table[HEALPIX_COLUMN].to_numpy()
            _check_home(index, partition, side)
            masks: list[NDArray[np.bool_]] = []
            if wanted is not None:
                masks.append(in_ranges(index, wanted))
            examined = int(np.count_nonzero(masks[0])) if masks else len(table)
            if plan.region is not None:
                positions = Positions.of(table, side)
                masks.append(plan.region.row_mask(positions.ra, positions.dec))
            if side.where is not None:
                masks.append(side.where.mask(table))
            if masks:
                keep = np.logical_and.reduce(masks)
                if not keep.all():
                    table = table.filter(pa.array(keep))
            yield table, examined


def _check_home(index: Integers, partition: Partition, side: Side) -> None:
    order, pixel = partition
    if (
        len(index)
        and not pixel
        <= int(index.min()) >> 2 * (MAX_ORDER - order)
        <= int(index.max()) >> 2 * (MAX_ORDER - order)
        <= pixel
    ):
        raise PartitionReadError(
            "holds rows that lie outside of its pixel",
            place=side.file(partition),
            hint="run `xmatch-hats catalog verify` on the catalogue",
        )


def _along_sphere(table: pa.Table) -> pa.Table:
    index = table[HEALPIX_COLUMN].to_numpy()
    if (index[1:] < index[:-1]).any():
        return table.take(pa.array(np.argsort(index, kind="stable")))
    return table


def _names(side: Side) -> list[str]:
    asked = side.where.columns if side.where else ()
    return list(dict.fromkeys((HEALPIX_COLUMN, *side.columns, side.ra, side.dec, *asked)))


def _nothing(side: Side) -> pa.Table:
    return pa.schema([side.schema.field(name) for name in _names(side)]).empty_table()


def _size(partitions: tuple[Partition, ...], plan: Plan) -> tuple[int, float]:
    """Left rows of some partitions, and about what each takes."""
    names = _names(plan.left)
    rows, row_bytes = 0, 0.0
    for partition in partitions:
        with PartitionFile(plan.left.file(partition), plan.left.schema, plan.budget.piece_bytes) as file:
            rows += len(file)
            # To look at every column of every row group takes a while, and hardly ever matters.
            row_bytes = max(row_bytes, file.row_bytes_at_most(names))
    return rows, row_bytes


def _most_rows(side: Side, partition: Partition) -> float:
    """Rows of a partition, or more: each takes some bytes of its file."""
    path = side.file(partition)
    if path.is_file():
        return path.stat().st_size / 4
    with PartitionFile(path, side.schema) as file:
        return len(file)


def _cells(side: Side, partitions: tuple[Partition, ...], order: int, plan: Plan) -> tuple[Integers, Integers]:
    """Occupied cells of some partitions, and their rows."""
    found, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for partition in partitions:
        with PartitionFile(side.file(partition), side.schema, plan.budget.read_bytes) as file:
            for table in file.stream([HEALPIX_COLUMN]):
                cells, rows = np.unique(table[HEALPIX_COLUMN].to_numpy() >> 2 * (MAX_ORDER - order), return_counts=True)
                found.append(cells)
                counts.append(rows)
    cells, place = np.unique(np.concatenate(found), return_inverse=True)
    return cells, np.bincount(place, np.concatenate(counts), minlength=len(cells)).astype(np.int64)
