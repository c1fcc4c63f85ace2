"""One unit of work: two groups of partitions become partitions of the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.bulk.catalogs.output import UnitOutput
from xmatch_hats.bulk.catalogs.partition import Integers
from xmatch_hats.bulk.catalogs.pieces import LeftRows, Span, read_left, spans_of
from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.bulk.catalogs.right import Positions, RightSide, open_right
from xmatch_hats.bulk.catalogs.units import Side, Unit
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.errors import AccountError
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.pairs import Pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import match_sorted
from xmatch_hats.matching.status import STATUS_LABELS, MatchStatus


@dataclass(frozen=True)
class _Stretch:
    """Left rows of a span that lie in one right partition, or in none."""

    start: int
    stop: int
    home: int
    """Number of the partition; -1 for none."""


@dataclass(frozen=True)
class _Answer:
    """Output rows of a stretch, by left row and rank, those without a right row included."""

    left: Integers
    """Left rows of the span, shape (p,)."""
    right: Integers
    """Right rows; -1 for none, shape (p,)."""
    distance_arcsec: NDArray[np.float64]
    rank: NDArray[np.int32]
    status: NDArray[np.uint8]
    """Of the left row, shape (p,)."""

    def part(self, rows: slice) -> _Answer:
        return _Answer(
            self.left[rows], self.right[rows], self.distance_arcsec[rows], self.rank[rows], self.status[rows]
        )


def join_unit(unit: Unit, shared: Shared[Plan]) -> dict[str, Any]:
    """Join one unit, and write its partitions, each whole or not at all.

    Returns
    -------
    dict
        What became of it, as `UnitOutput.finish` tells.

    Raises
    ------
    PartitionReadError
        A partition of either side cannot be read.
    OutputError
        The output cannot be written.
    AccountError
        The rows that were read are not those that the files say they hold.
    """
    plan = shared.value
    spans, rows = spans_of(unit, plan)
    with UnitOutput(unit, plan, rows) as output:
        examined = 0
        for span in spans:
            left = read_left(unit, span, plan)
            examined += left.examined
            output.reject(left.rejected)
            for stretch in _stretches(left.positions.index, unit.right, plan.right):
                _join_stretch(stretch, left, span, plan, output)
        if examined != rows:
            raise AccountError(
                f"{examined} rows were read, its files say {rows}", place=plan.left.file(unit.left[0]),
                hint="run `xmatch-hats catalog verify` on the catalogue",
            )  # fmt: skip
        return output.finish()


def _join_stretch(stretch: _Stretch, left: LeftRows, span: Span, plan: Plan, output: UnitOutput) -> None:
    positions = left.positions.take(slice(stretch.start, stretch.stop))
    with ExitStack() as stack:
        near = None if stretch.home < 0 else span.reach(plan.rule.padded_arcsec)
        right = open_right(
            stack, plan.right, stretch.home, positions.index, plan.rule.padded_arcsec, near=near,
            read_bytes=plan.budget.read_bytes,
        )  # fmt: skip
        pairs = _match(positions, right, plan.rule)
        status = _statuses(positions, pairs, plan)
        output.count(positions.index, status, len(pairs))
        answer = _answer(stretch.start, pairs, status, plan)
        for rows in _slices(answer, left, right, plan):
            part = answer.part(rows)
            output.add(_assemble(left.table, part, right, plan), part.left, left.ends)


def _match(stretch: Positions, right: RightSide, rule: MatchRule) -> Pairs:
    """Match one stretch, exactly."""
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int32))
    if len(stretch.index) == 0 or len(right) == 0:
        return nothing
    # One neighbour more than asked shows every tie that matters; ids are costly to read, and ties are rare.
    more = rule if rule.n_neighbors is None else replace(rule, n_neighbors=rule.n_neighbors + 1)
    pairs = match_sorted(stretch.ra, stretch.dec, right.sky, more, index=stretch.index)
    is_tied = (pairs.left[1:] == pairs.left[:-1]) & (pairs.distance_arcsec[1:] == pairs.distance_arcsec[:-1])
    if is_tied.any():
        return match_sorted(stretch.ra, stretch.dec, right.sky, rule, ties=right.ties, index=stretch.index)
    if rule.n_neighbors is None:
        return pairs
    keep = pairs.rank <= rule.n_neighbors
    return Pairs(pairs.left[keep], pairs.right[keep], pairs.distance_arcsec[keep], pairs.rank[keep])


def _statuses(stretch: Positions, pairs: Pairs, plan: Plan) -> NDArray[np.uint8]:
    """What became of each left row."""
    status = np.full(len(stretch.index), MatchStatus.MATCHED, np.uint8)
    alone = np.ones(len(status), bool)
    alone[pairs.left] = False
    rows = np.flatnonzero(alone)
    if len(rows):
        lost = stretch.take(rows)
        inside = plan.coverage.contains_discs(lost.ra, lost.dec, plan.rule.radius_arcsec)
        status[rows] = np.where(inside, MatchStatus.UNMATCHED, MatchStatus.OUTSIDE_COVERAGE)
    return status


def _stretches(index: Integers, partitions: tuple[Partition, ...], side: Side) -> Iterator[_Stretch]:
    """Divide left rows by the right partition they lie in; between them are holes."""
    reached = 0
    for order, pixel in partitions:
        first = pixel << 2 * (MAX_ORDER - order)
        start, stop = np.searchsorted(index, [first, first + (1 << 2 * (MAX_ORDER - order))]).tolist()
        if start > reached:
            yield _Stretch(reached, start, -1)
        if stop > start:
            yield _Stretch(start, stop, int(np.searchsorted(side.partitions.starts, first)))
        reached = stop
    if len(index) > reached:
        yield _Stretch(reached, len(index), -1)


def _answer(start: int, pairs: Pairs, status: NDArray[np.uint8], plan: Plan) -> _Answer:
    """Output rows of a stretch, whose first left row is `start` of the span."""
    left, right, distance, rank = pairs.left, pairs.right, pairs.distance_arcsec, pairs.rank
    if plan.join == "left":
        rows = np.flatnonzero(status != MatchStatus.MATCHED)
        left = np.concatenate((left, rows))
        order = np.argsort(left, kind="stable")
        left = left[order]
        right = np.concatenate((right, np.full(len(rows), -1)))[order]
        distance = np.concatenate((distance, np.full(len(rows), np.nan)))[order]
        rank = np.concatenate((rank, np.zeros(len(rows), np.int32)))[order]
    return _Answer(left + start, right, distance, rank, status[left])


def _slices(answer: _Answer, left: LeftRows, right: RightSide, plan: Plan) -> Iterator[slice]:
    """Cut an answer so that the columns of each part fit in memory; nearly always there is one."""
    rows = len(answer.left)
    row_bytes = left.table.nbytes / max(len(left.table), 1)
    if rows and (answer.right >= 0).any():
        row_bytes += right.row_bytes_at_most()
    most = max(1024, int(plan.budget.slice_bytes / max(row_bytes, 1.0)))
    for start in range(0, rows, most):
        yield slice(start, min(rows, start + most))


def _assemble(left: pa.Table, answer: _Answer, right: RightSide, plan: Plan) -> pa.Table:
    """Put the columns of both sides together."""
    matched = answer.right >= 0
    fetched, places = right.fetch(answer.right[matched])
    empty = pa.schema([plan.right.schema.field(name) for name in plan.right.columns]).empty_table()
    rows = np.full(len(answer.right), -1, np.int64)
    rows[matched] = places
    first, last = int(answer.left[0]), int(answer.left[-1]) + 1
    near = left.select(plan.left.columns).slice(first, last - first)
    columns = [
        *_pick(near, answer.left - first).columns,
        *_pick(pa.concat_tables([empty, *fetched]), rows).columns,
        pa.array(answer.distance_arcsec, mask=~matched),
    ]
    if plan.join == "left":
        columns.append(pa.array(STATUS_LABELS).take(pa.array(answer.status)))
    columns.append(pa.array(answer.rank, mask=~matched))
    # The rank is left out where every row has one match at most.
    return pa.table(columns[: len(plan.schema)], schema=plan.schema)


def _pick(table: pa.Table, rows: Integers) -> pa.Table:
    """Take rows, -1 giving nulls."""
    if len(rows) == table.num_rows and bool((rows == np.arange(len(rows))).all()):
        return table
    # Of many chunks each column's would be put together one by one, and twice for text.
    return table.combine_chunks().take(pa.array(rows, mask=rows < 0))
