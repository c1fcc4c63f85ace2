"""One unit of work: two groups of partitions become partitions of the output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.bulk.partition import Integers, PartitionFile
from xmatch_hats.bulk.right import Positions, RightSide, open_right
from xmatch_hats.bulk.units import Side, Unit
from xmatch_hats.bulk.write import Written, write_partition, write_record
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.assemble import Join
from xmatch_hats.matching.pairs import Pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import match_sorted


@dataclass(frozen=True)
class Plan:
    """What is asked of every unit."""

    left: Side
    right: Side
    rule: MatchRule
    join: Join
    schema: pa.Schema
    """Of the output: index, left columns, right columns, distance, and rank where there may be several pairs."""
    folder: Path
    """Where the work lies: the catalogue, and the records of what is done."""
    map_order: int
    """HEALPix order in which the rows of the output are counted."""

    @property
    def catalog(self) -> Path:
        """Folder of the catalogue that is written."""
        return self.folder / "catalog"

    @property
    def scratch(self) -> Path:
        """Folder of files that are being written."""
        return self.folder / "scratch"

    def record(self, unit: Unit) -> Path:
        """Path of what is known of a unit that is done."""
        return self.folder / "units" / f"{unit.name}.json"


@dataclass(frozen=True)
class Done:
    """What became of a unit."""

    left_rows: int
    """Rows of the left side."""
    matched: int
    """Those of them that have a match."""
    written: tuple[Written, ...]

    def to_json(self) -> str:
        """Write it down."""
        parts = [[part.partition, part.rows, part.cells] for part in self.written]
        return json.dumps({"left_rows": self.left_rows, "matched": self.matched, "written": parts})

    @classmethod
    def from_json(cls, text: str) -> Done:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        written = tuple(
            Written((order, pixel), rows, tuple((cell, count) for cell, count in cells))
            for (order, pixel), rows, cells in values["written"]
        )
        return cls(values["left_rows"], values["matched"], written)


@dataclass(frozen=True)
class _Answer:
    """Pairs of a unit, by left row and rank, those without a right row included."""

    left: Integers
    """Left rows, shape (p,)."""
    place: Integers
    """Where the right row is in `rows`; -1 for none, shape (p,)."""
    distance_arcsec: NDArray[np.float64]
    rank: NDArray[np.int32]
    rows: pa.Table
    """The asked columns of the right side."""


def join_units(units: tuple[Unit, ...], plan: Plan) -> list[Done]:
    """Join some units, one after the other."""
    return [join_unit(unit, plan) for unit in units]


def join_unit(unit: Unit, plan: Plan) -> Done:
    """Join one unit, write its partitions, each whole or not at all, and at last its record.

    Raises
    ------
    PartitionReadError
        A partition of either side cannot be read.
    CatalogError
        The output cannot be written.
    """
    left, ends = _read_left(unit, plan.left)
    positions = Positions.of(left, plan.left)
    answer = _match(positions, unit, plan)
    matched = int(np.count_nonzero(np.diff(answer.left[answer.place >= 0], prepend=-1)))
    written = []
    table = _assemble(left, answer, plan)
    cuts = np.searchsorted(answer.left, ends).tolist()
    for partition, start, stop in zip(unit.left, [0, *cuts[:-1]], cuts, strict=True):
        if stop > start:
            rows = table.slice(start, stop - start)
            path = layout.partition_path(plan.catalog, partition)
            written.append(write_partition(rows, path, partition, plan.map_order, plan.scratch))
    done = Done(left.num_rows, matched, tuple(written))
    write_record(done.to_json(), plan.record(unit), plan.scratch)
    return done


def _read_left(unit: Unit, side: Side) -> tuple[pa.Table, Integers]:
    """Rows of the left side along the sphere, and where those of each partition end."""
    tables = []
    names = list(dict.fromkeys((HEALPIX_COLUMN, *side.columns)))
    for partition in unit.left:
        with PartitionFile(side.file(partition), side.schema) as file:
            table = file.read(names)
        index = table[HEALPIX_COLUMN].to_numpy()
        if (index[1:] < index[:-1]).any():
            table = table.take(pa.array(np.argsort(index, kind="stable")))
        tables.append(table)
    ends = np.cumsum([table.num_rows for table in tables], dtype=np.int64)
    return pa.concat_tables(tables), ends


def _match(positions: Positions, unit: Unit, plan: Plan) -> _Answer:
    """Match the stretches of the left side, one after the other; each has right rows of its own."""
    found: list[Pairs] = []
    places: list[Integers] = []
    tables = [pa.schema([plan.right.schema.field(name) for name in plan.right.columns]).empty_table()]
    count = 0
    for start, stop, home in _stretches(positions.index, unit.right, plan.right):
        stretch = positions.take(slice(start, stop))
        rows = stretch.valid()
        if rows is not None:
            stretch = stretch.take(rows)
        with ExitStack() as stack:
            right = open_right(stack, plan.right, home, stretch.index, plan.rule.padded_arcsec)
            pairs = _match_stretch(stretch, right, plan.rule)
            if pairs is None:
                continue
            fetched, place = right.fetch(pairs.right)
        left = (pairs.left if rows is None else rows[pairs.left]) + start
        found.append(Pairs(left, pairs.right, pairs.distance_arcsec, pairs.rank))
        places.append(place + count)
        tables += fetched
        count += len(place)
    left, distance, rank = (
        np.concatenate([np.empty(0, kind), *(getattr(pairs, name) for pairs in found)])
        for name, kind in (("left", np.int64), ("distance_arcsec", np.float64), ("rank", np.int32))
    )
    answer = _Answer(left, np.concatenate([np.empty(0, np.int64), *places]), distance, rank, pa.concat_tables(tables))
    return answer if plan.join == "inner" else _with_unmatched(answer, len(positions.index))


def _match_stretch(stretch: Positions, right: RightSide, rule: MatchRule) -> Pairs | None:
    """Match one stretch; None where there is nothing."""
    if len(stretch.index) == 0 or len(right) == 0:
        return None
    # One neighbour more than asked shows every tie that matters; ids are costly to read, and ties are rare.
    more = rule if rule.n_neighbors is None else replace(rule, n_neighbors=rule.n_neighbors + 1)
    pairs = match_sorted(stretch.ra, stretch.dec, right.sky, more, index=stretch.index)
    is_tied = (pairs.left[1:] == pairs.left[:-1]) & (pairs.distance_arcsec[1:] == pairs.distance_arcsec[:-1])
    if is_tied.any():
        pairs = match_sorted(stretch.ra, stretch.dec, right.sky, rule, ties=right.ties, index=stretch.index)
    elif rule.n_neighbors is not None:
        keep = pairs.rank <= rule.n_neighbors
        pairs = Pairs(pairs.left[keep], pairs.right[keep], pairs.distance_arcsec[keep], pairs.rank[keep])
    return pairs if len(pairs) else None


def _stretches(index: Integers, partitions: tuple[Partition, ...], side: Side) -> Iterator[tuple[int, int, int]]:
    """Divide left rows by the right partition they lie in: first and last row, and number, -1 for holes between."""
    reached = 0
    for order, pixel in partitions:
        first = pixel << 2 * (MAX_ORDER - order)
        start, stop = np.searchsorted(index, [first, first + (1 << 2 * (MAX_ORDER - order))]).tolist()
        if start > reached:
            yield reached, start, -1
        if stop > start:
            yield start, stop, int(np.searchsorted(side.partitions.starts, first))
        reached = stop
    if len(index) > reached:
        yield reached, len(index), -1


def _with_unmatched(answer: _Answer, size: int) -> _Answer:
    """Add the left rows that have no pair."""
    alone = np.ones(size, dtype=bool)
    alone[answer.left] = False
    rows = np.flatnonzero(alone)
    left = np.concatenate((answer.left, rows))
    order = np.argsort(left, kind="stable")
    return _Answer(
        left[order],
        np.concatenate((answer.place, np.full(len(rows), -1)))[order],
        np.concatenate((answer.distance_arcsec, np.full(len(rows), np.nan)))[order],
        np.concatenate((answer.rank, np.zeros(len(rows), np.int32)))[order],
        answer.rows,
    )


def _assemble(left: pa.Table, answer: _Answer, plan: Plan) -> pa.Table:
    """Put the columns of both sides together."""
    none = answer.place < 0
    columns = [
        *_pick(left, answer.left).columns,
        *_pick(answer.rows, answer.place).columns,
        pa.array(answer.distance_arcsec, mask=none),
        pa.array(answer.rank, mask=none),
    ]
    # The rank is left out where every row has one match at most.
    return pa.table(columns[: len(plan.schema)], schema=plan.schema)


def _pick(table: pa.Table, rows: Integers) -> pa.Table:
    """Take rows, -1 giving nulls."""
    if len(rows) == table.num_rows and bool((rows == np.arange(len(rows))).all()):
        return table
    # Of many chunks each column's would be put together one by one, and twice for text.
    return table.combine_chunks().take(pa.array(rows, mask=rows < 0))
