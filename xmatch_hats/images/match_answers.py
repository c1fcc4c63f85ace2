"""What a catalogue answers to the rows of a table, until the number of rows and the widths of columns are known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.errors import TableError
from xmatch_hats.matching.assemble import DISTANCE, RANK, RESULT_METADATA, STATUS, added_columns
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.matching.targets import Target
from xmatch_hats.tables._fits_plan import ColumnPlan, ColumnTally
from xmatch_hats.tables.plain import plain_table

__all__ = ["Answers", "free_names"]

IN_MEMORY = 64 << 20
"""Bytes of answers to one table; where there are more, they wait in a file."""
_KINDS = {"distance": (DISTANCE, pa.float64()), "status": (STATUS, pa.string()), "rank": (RANK, pa.int32())}


class Answers:
    """Answers to one table, chunk by chunk: first all are added, then they are read once.

    Use it as a context manager.

    Parameters
    ----------
    target : Target
        What was matched with.
    taken : sequence of str
        Names of the table's columns.
    place : Path
        File that is made, for messages.
    keep_unmatched : bool
        Whether rows without a match are kept, with a column of statuses.
    is_ranked : bool
        Whether a row may have several matches, which have ranks.
    scratch : Path
        Folder for what does not fit in memory.

    Raises
    ------
    TableError
        FITS has no place for a column of the catalogue.
    """

    def __init__(
        self, target: Target, taken: Sequence[str], place: Path, *, keep_unmatched: bool, is_ranked: bool, scratch: Path
    ) -> None:
        self.counts = np.zeros(len(MatchStatus), np.int64)
        """Rows of the table by value of `MatchStatus`."""
        self.rows = 0
        """Rows of the output."""
        self._name, self._place, self._keep = target.name, place, keep_unmatched
        wanted = {"distance": True, "status": keep_unmatched, "rank": is_ranked}
        # In the order in which `added_columns` has them.
        kinds = [kind for kind in ("distance", "status", "rank") if kind != "rank" or is_ranked]
        self._picked = [*[True] * len(target.schema), *(wanted[kind] for kind in kinds)]
        kinds = [kind for kind in kinds if wanted[kind]]
        finals = free_names(taken, kinds, target.name)
        own = free_names([*taken, *finals], target.schema.names, target.name)
        self.titles = dict(zip(target.schema.names, own, strict=True))
        """What columns of the catalogue are called in the output."""
        self.finals = dict(zip(kinds, finals, strict=True))
        """Likewise ``distance``, ``status`` and ``rank``, those that there are."""
        with _hinted():
            plain = plain_table(target.schema.empty_table(), place).schema
            fields = [field.with_name(title).with_nullable(True) for field, title in zip(plain, own, strict=True)]
            for kind, title in self.finals.items():
                name, type_ = _KINDS[kind]
                fields.append(pa.field(title, type_, metadata=RESULT_METADATA[name]))
            self._tallies = [ColumnTally(field, place) for field in fields]
        self._schema = pa.schema([pa.field("", pa.int64()), *fields])
        self._spool = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(scratch))  # noqa: SIM115, __exit__ closes it
        self._writer = pa.ipc.new_stream(self._spool, self._schema)

    def add(self, first: int, result: MatchResult) -> None:
        """Add the answer to a chunk of rows, of which the first is row ``first`` of the table.

        Raises
        ------
        TableError
            FITS has no place for a value.
        """
        self.counts += np.bincount(result.status, minlength=len(MatchStatus))
        rows, added = added_columns([], {self._name: result}, join="left" if self._keep else "inner")
        columns = [column for column, picked in zip(added.columns, self._picked, strict=True) if picked]
        with _hinted():
            plain = plain_table(pa.table(columns, names=self._schema.names[1:]), self._place)
            for tally, column in zip(self._tallies, plain.columns, strict=True):
                tally.add(column)
        self._writer.write_table(pa.Table.from_arrays([pa.array(rows + first), *plain.columns], schema=self._schema))
        self.rows += len(rows)

    def plans(self) -> list[ColumnPlan]:
        """How the columns are stored, after all were added.

        Raises
        ------
        TableError
            FITS has no place for a value.
        """
        with _hinted():
            return [tally.plan() for tally in self._tallies]

    def pieces(self, most: int) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Rows of the table, ascending, and their columns, in pieces of at most so many."""
        self._writer.close()
        self._spool.seek(0)
        with pa.ipc.open_stream(self._spool) as reader:
            for batch in reader:
                for start in range(0, batch.num_rows, most):
                    part = pa.Table.from_batches([batch.slice(start, most)])
                    yield part.column(0).to_numpy(), part.select(range(1, part.num_columns))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()


def free_names(taken: Sequence[str], names: Sequence[str], catalog: str) -> list[str]:
    """Names that are free, for FITS in any case: where one is taken, it gets ``_NAME``, again if need be.

    Examples
    --------
    >>> free_names(["RA", "FLAGS"], ["ra", "w1mpro"], "allwise")
    ['ra_allwise', 'w1mpro']
    """
    used = {name.upper() for name in taken}
    free = []
    for name in names:
        title = name
        while title.upper() in used:
            title = f"{title}_{catalog}"
        used.add(title.upper())
        free.append(title)
    return free


@contextmanager
def _hinted() -> Iterator[None]:
    """Name the way out that there is: not to ask for a column."""
    try:
        yield
    except TableError as error:
        hint = "leave it out, by naming others with --columns"
        raise TableError(error.message, place=error.place, hint=hint, value=error.value) from error


def __dir__() -> list[str]:
    return sorted(__all__)
