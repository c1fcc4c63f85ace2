"""What hats-import reads: the parts that the intake laid down, as Arrow tables.

This module is imported by every worker of an import, so it imports hats-import at its top.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hats_import.catalog.file_readers import InputReader

from xmatch_hats.catalogs.layout import ROW_COLUMN


class PartReader(InputReader):
    """Yields each part whole: its size is the bound on a worker's memory, and one chunk makes the fewest shards.

    Parameters
    ----------
    first_rows : dict of str to int
        Number of the first row of each source, by the name of the folder that holds its parts.
    """

    def __init__(self, first_rows: dict[str, int]) -> None:
        self.first_rows = first_rows

    def read(self, input_file: Any, read_columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of one part, with row numbers counted over all sources."""
        path = Path(str(input_file))
        table = pq.read_table(path, columns=read_columns, partitioning=None)
        if ROW_COLUMN in table.schema.names and (first := self.first_rows.get(path.parent.name)):
            index = table.schema.get_field_index(ROW_COLUMN)
            numbers = pc.add(table.column(index), pa.scalar(first, pa.int64()))
            table = table.set_column(index, table.schema.field(index), numbers)
        yield table
