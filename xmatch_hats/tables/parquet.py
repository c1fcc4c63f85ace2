"""Parquet files, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.tables.source import TableSource, check_names
from xmatch_hats.tables.streams import broken_file, open_stream


class ParquetSource(TableSource):
    """One parquet file; memory is bounded by a row group of the chosen columns."""

    def __init__(self, path: Path) -> None:
        open_stream(path).close()
        with broken_file(path, "parquet"), pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        check_names(schema.names, path)
        # pandas' own notes on its index would mislead once columns are chosen or renamed.
        metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"pandas"}
        super().__init__(path, schema.with_metadata(metadata or None), rows)

    def _iterate(self, schema: pa.Schema, batch_rows: int, /) -> Iterator[pa.RecordBatch]:
        with broken_file(self.path, "parquet"), self._open() as file:
            if not schema.names:
                return
            for batch in file.iter_batches(batch_size=batch_rows, columns=schema.names):
                yield pa.RecordBatch.from_arrays([batch.column(name) for name in schema.names], schema=schema)

    def _open(self) -> pq.ParquetFile:
        # Buffering ahead, the default, holds whole files.
        return pq.ParquetFile(self.path, pre_buffer=False)
