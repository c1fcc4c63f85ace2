"""Tables of formats whose readers give them whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from xmatch_hats.tables.source import TableSource


class MemorySource(TableSource):
    """A table held in memory.

    Parameters
    ----------
    path : Path
        Where it came from, for messages.
    table : pyarrow.Table
    """

    def __init__(self, path: Path, table: pa.Table) -> None:
        super().__init__(path, table.schema, table.num_rows)
        self._table = table

    def _iterate(self, schema: pa.Schema, batch_rows: int, /) -> Iterator[pa.RecordBatch]:
        if schema.names:
            yield from self._table.select(schema.names).to_batches(max_chunksize=batch_rows)
