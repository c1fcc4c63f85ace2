"""What every format's reader is: a source of record batches under one schema."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from xmatch_hats.errors import TableError

BATCH_ROWS = 65_536
"""Rows of a batch: large enough that the work per batch is NumPy's and Arrow's, and 150 MB at 298 columns."""


class TableSource(ABC):
    """A table in a file, read as a stream of batches.

    Parameters
    ----------
    path : Path
        The file.
    schema : pyarrow.Schema
        Columns, with unit, UCD and description as field metadata.
    num_rows : int, optional
        Rows, where the format tells them before reading.
    refused : mapping of str to TableError
        Columns that the file has and the schema has not, by name, and why they cannot be read.
    """

    positions: tuple[str, str] | None = None
    """Columns with right ascension and declination, where the file says which they are."""

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        num_rows: int | None = None,
        refused: Mapping[str, TableError] | None = None,
    ) -> None:
        self.path = path
        self.schema = schema
        self.num_rows = num_rows
        self.refused = refused or {}

    def batches(self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Read the table in pieces.

        Parameters
        ----------
        columns : sequence of str, optional
            Columns wanted, in the order wanted; all by default.
        batch_rows : int, optional
            Most rows of a batch.

        Yields
        ------
        pyarrow.RecordBatch
            Under the schema of the chosen columns; none for an empty table.

        Raises
        ------
        TableError
            A column is unknown or of a kind that cannot be read, or the file is broken; the message names file and
            place.
        """
        schema = self._projected(columns)
        for batch in self._iterate(schema, batch_rows):
            for start in range(0, batch.num_rows, batch_rows):
                yield batch.slice(start, batch_rows)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the whole table into memory.

        Raises
        ------
        TableError
            As `batches`.
        """
        return pa.Table.from_batches(list(self.batches(columns)), schema=self._projected(columns))

    def require(self, columns: Collection[str] | None = None) -> None:
        """Refuse columns that the file has and that cannot be read, of those wanted or, by default, of all.

        Raises
        ------
        TableError
            As the first of them is refused.
        """
        for name, error in self.refused.items():
            if columns is None or name in columns:
                raise error

    @abstractmethod
    def _iterate(self, schema: pa.Schema, batch_rows: int, /) -> Iterator[pa.RecordBatch]:
        """Yield batches of exactly this schema, a selection of the table's own; larger ones are cut up."""

    def _projected(self, columns: Sequence[str] | None) -> pa.Schema:
        self.require(columns)
        if columns is None:
            return self.schema
        if unknown := [name for name in columns if name not in self.schema.names]:
            raise TableError(
                f"no column {', '.join(map(repr, unknown))}",
                place=self.path,
                hint=f"its columns are: {', '.join(self.schema.names)}",
                value=unknown,
            )
        return pa.schema([self.schema.field(name) for name in columns], metadata=self.schema.metadata)


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse column names that occur twice: nobody could tell which of them is meant.

    Raises
    ------
    TableError
        With the doubled names.
    """
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise TableError(f"two columns are called {', '.join(doubled)}", place=path, value=doubled)
