"""What a unit writes: its partitions, what of them lies in the margins of others, and its counts on the sky."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.bulk.catalogs.border import border_rows
from xmatch_hats.bulk.catalogs.partition import Integers
from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.bulk.catalogs.rejects import with_reasons
from xmatch_hats.bulk.catalogs.units import Unit
from xmatch_hats.bulk.catalogs.write import TableWriter
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.margins import TILE_COLUMN
from xmatch_hats.errors import AccountError
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.whole import written_whole

SKY_ROWS = len(MatchStatus)
"""Of a unit's counts on the sky: row 0 holds the cells, then comes one for each status but the last, which has no place
on the sky, and in its stead the rows of the output."""


class _PartitionOutput:
    """Rows of one partition of the output, and of it in the margins of others."""

    def __init__(self, partition: Partition, plan: Plan) -> None:
        self.partition = partition
        self._plan = plan
        first = partition[1] << 2 * (MAX_ORDER - partition[0])
        self.tile = int(np.searchsorted(plan.tiles.firsts, first))
        self._rows = TableWriter(layout.partition_path(plan.made.main, partition), plan.schema, plan.scratch)
        shard = plan.schema.append(pa.field(TILE_COLUMN, pa.int32()))
        self._shard = TableWriter(plan.shard(self.tile), shard, plan.scratch)
        self._takers: set[int] = set()

    def add(self, table: pa.Table) -> None:
        self._rows.add(table)
        rows, takers = border_rows(table[HEALPIX_COLUMN].to_numpy(), self.tile, self._plan)
        if len(rows):
            self._shard.add(table.take(pa.array(rows)).append_column(TILE_COLUMN, pa.array(takers)))
            self._takers.update(takers.tolist())

    def finish(self) -> dict[str, Any] | None:
        """Its record; None where it has no rows."""
        # What others take must be there before anybody is told of the partition.
        self._shard.close()
        written = self._rows.close()
        if written is None:
            return None
        return {
            "partition": self.partition, "rows": written.rows, "bytes": written.bytes, "sha256": written.sha256,
            "tile": self.tile, "takers": sorted(self._takers),
        }  # fmt: skip

    def abandon(self, error: BaseException) -> None:
        self._shard.abandon(error)
        self._rows.abandon(error)


class UnitOutput:
    """Everything that comes of a unit; a context manager that leaves nothing half-written.

    Parameters
    ----------
    unit : Unit
    plan : Plan
    rows : int
        Left rows, as the files say.
    """

    def __init__(self, unit: Unit, plan: Plan, rows: int) -> None:
        self._unit, self._plan, self._in = unit, plan, rows
        self._open: _PartitionOutput | None = None
        self._number = -1
        self._written: list[dict[str, Any]] = []
        self._counts = np.zeros(len(MatchStatus), np.int64)
        self._pairs = 0
        self._rows = 0
        self._rejected: list[pa.Table] = []
        self._sky: list[tuple[Integers, Integers]] = []
        """Cells times the number of sky rows plus the row, and counts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._open is not None:
            self._open.abandon(error)

    def reject(self, table: pa.Table) -> None:
        """Take left rows that count and have no position."""
        self._counts[MatchStatus.REJECTED] += len(table)
        if len(table):
            self._rejected.append(table)

    def count(self, index: Integers, status: NDArray[np.uint8], pairs: int) -> None:
        """Count left rows: spatial indexes and statuses, shape (n,), and their pairs."""
        self._counts += np.bincount(status, minlength=len(MatchStatus))
        self._pairs += pairs
        self._note_sky(index, status)

    def add(self, table: pa.Table, left: Integers, ends: Sequence[int] | Integers) -> None:
        """Add rows of the output.

        Parameters
        ----------
        table : pyarrow.Table
            p rows along the sphere, after all that came before.
        left : ndarray of int64, shape (p,)
            Left rows that they came from, ascending.
        ends : ndarray of int64
            Where the left rows of each partition of the unit end.
        """
        if self._plan.where is not None:
            keep = self._plan.where.mask(table)
            if not keep.all():
                table, left = table.filter(pa.array(keep)), left[keep]
        self._rows += len(table)
        index = table[HEALPIX_COLUMN].to_numpy()
        self._note_sky(index, np.full(len(index), MatchStatus.REJECTED, np.uint8))
        cuts = np.searchsorted(left, ends).tolist()
        for number, (start, stop) in enumerate(zip([0, *cuts[:-1]], cuts, strict=True)):
            if stop > start:
                self._partition(number).add(table.slice(start, stop - start))

    def finish(self) -> dict[str, Any]:
        """Close all files, and tell what became of the unit.

        Returns
        -------
        dict
            Left rows ``in``, those ``left_out`` by region and query, counts by status, ``pairs`` that were found,
            ``rows`` that were written, and ``partitions``.

        Raises
        ------
        AccountError
            The counts do not add up.
        """
        self._close()
        counts = {status.key: int(self._counts[status]) for status in MatchStatus}
        left_out = self._in - sum(counts.values())
        rows = sum(part["rows"] for part in self._written)
        if left_out < 0 or rows != self._rows:
            raise AccountError(
                f"{sum(counts.values())} of {self._in} rows were matched, {rows} of {self._rows} written",
                place=self._unit.name,
            )
        self._write_sky()
        self._write_rejected()
        return {
            "in": self._in, "left_out": left_out, **counts, "pairs": self._pairs, "rows": rows,
            "partitions": self._written,
        }  # fmt: skip

    def _partition(self, number: int) -> _PartitionOutput:
        """The partition that is written; those before it are whole."""
        if self._open is None or number != self._number:
            self._close()
            self._open, self._number = _PartitionOutput(self._unit.left[number], self._plan), number
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            record = self._open.finish()
            self._open = None
            if record is not None:
                self._written.append(record)

    def _note_sky(self, index: Integers, kind: NDArray[np.uint8]) -> None:
        keys = (index >> 2 * (MAX_ORDER - self._plan.map_order)) * SKY_ROWS + kind
        self._sky.append(np.unique(keys, return_counts=True))

    def _write_sky(self) -> None:
        keys = np.concatenate([np.empty(0, np.int64), *(part for part, _ in self._sky)])
        counts = np.concatenate([np.empty(0, np.int64), *(part for _, part in self._sky)])
        cells = np.unique(keys // SKY_ROWS)
        sky = np.zeros((1 + SKY_ROWS, len(cells)), np.int64)
        sky[0] = cells
        np.add.at(sky, (1 + keys % SKY_ROWS, np.searchsorted(cells, keys // SKY_ROWS)), counts)
        with written_whole(self._plan.sky(self._unit.name), self._plan.scratch) as file:
            np.save(file, sky)

    def _write_rejected(self) -> None:
        if not self._rejected:
            return
        table = with_reasons(pa.concat_tables(self._rejected), self._plan.left)
        with written_whole(self._plan.rejected(self._unit.name), self._plan.scratch) as file:
            pq.write_table(table, file)
