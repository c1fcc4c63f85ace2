"""What a remote parquet file holds and where: its footer, and the byte ranges that some columns and rows need."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats import healpix
from xmatch_hats.catalogs.remote import FileState
from xmatch_hats.errors import RemoteError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.remote_catalog import RemoteCatalog

MAGIC = b"PAR1"
_SMALLEST = 12
"""Bytes of a parquet file without anything in it."""
_FIRST_GUESS = 1 << 16
"""Bytes of the end of a file read at first: most footers fit."""
_PAD = 128
"""Some writers forgot the page header when they recorded the length of a chunk."""
HOLE_BYTES = 512 << 10
"""Ranges closer than this are fetched as one: a request costs as much time as half a megabyte."""
REQUEST_BYTES = 16 << 20
"""Most bytes of one request: what is held in memory, and lost when the connection breaks."""


@dataclass(frozen=True)
class Footer:
    """The end of a remote parquet file."""

    path: str
    """Relative to the catalogue."""
    state: FileState
    data: bytes
    """The file's last bytes, from the footer on."""
    metadata: pq.FileMetaData

    @property
    def checksum(self) -> str:
        """SHA-256 of the footer, which tells file versions apart where the server does not."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class FilePlan:
    """What is fetched of one file."""

    path: str
    """Relative to the catalogue."""
    state: FileState
    checksum: str
    """Of the footer; empty where the server gives no parts and the footer is not known before the file is here."""
    rows: int | None
    """Rows that will be read, None if not known yet."""
    requests: tuple[tuple[int, int], ...]
    """Byte ranges, half open, each of at most `REQUEST_BYTES`; the footer is among them."""

    @property
    def bytes(self) -> int:
        """Bytes to fetch."""
        return sum(end - start for start, end in self.requests)


class TornFileError(Exception):
    """What came is not the file that was promised; for this package only, which asks again."""


def read_footer(catalog: RemoteCatalog, path: str) -> Footer:
    """Read the footer of a file; the server must give parts of files.

    Raises
    ------
    RemoteError
        It cannot be read, or the file is not parquet.
    """
    store = catalog.store
    try:
        for trial in store.retry.trials(TornFileError, attempts=4):
            with trial:
                state = store.state(path)
                if state.size < _SMALLEST:
                    raise TornFileError(f"it has {state.size} bytes")
                tail = store.read_range(path, max(0, state.size - _FIRST_GUESS), state.size)
                length = footer_length(tail)
                if len(tail) < length <= state.size:
                    tail = store.read_range(path, state.size - length, state.size - len(tail)) + tail
                return _parse(path, state, tail)
    except TornFileError as error:
        raise RemoteError(f"is not a whole parquet file: {error}", place=store.path(path)) from error
    raise RemoteError("was not tried", place=store.path(path))


def footer_length(tail: bytes) -> int:
    """Length of a footer with its own length and magic number, told by the last bytes of a file.

    Raises
    ------
    TornFileError
        The bytes are not the end of a parquet file.
    """
    if not tail.endswith(MAGIC):
        raise TornFileError("it does not end as one")
    return int.from_bytes(tail[-8:-4], "little") + 8


def _parse(path: str, state: FileState, tail: bytes) -> Footer:
    length = footer_length(tail)
    if length > len(tail):
        raise TornFileError("its footer is longer than the file")
    data = tail[-length:]
    try:
        return Footer(path, state, data, pq.read_metadata(io.BytesIO(MAGIC + data)))
    except (pa.ArrowInvalid, OSError) as error:
        raise TornFileError(f"its footer cannot be read: {error}") from error


def plan_file(catalog: RemoteCatalog, path: str, columns: Collection[str], outer: NDArray[np.int64] | None) -> FilePlan:
    """Decide which bytes of a file to fetch.

    Parameters
    ----------
    catalog : RemoteCatalog
    path : str
        Relative to the catalogue.
    columns : collection of str
        Columns to read.
    outer : ndarray of int64, shape (m, 2), or None
        Ranges of cells that are wanted; None for all.
    """
    if not catalog.ranges:
        state = catalog.store.state(path)
        return FilePlan(path, state, "", None, ((0, state.size),))
    footer = read_footer(catalog, path)
    groups = wanted_groups(footer.metadata, catalog, outer)
    end = footer.state.size - len(footer.data)
    spans = [span for group in groups for span in _chunks(footer.metadata.row_group(group), columns, end)]
    rows = sum(footer.metadata.row_group(group).num_rows for group in groups)
    return FilePlan(
        path=path,
        state=footer.state,
        checksum=footer.checksum,
        rows=rows,
        requests=tuple(_requests([*spans, (end, footer.state.size)])),
    )


def wanted_groups(metadata: pq.FileMetaData, catalog: RemoteCatalog, outer: NDArray[np.int64] | None) -> list[int]:
    """Row groups that may hold rows in ranges of cells, as far as their statistics tell."""
    groups = list(range(metadata.num_row_groups))
    if outer is None or catalog.healpix_order is None:
        return groups
    shift = 2 * (healpix.MAX_ORDER - catalog.healpix_order)
    bounds = [_bounds(metadata.row_group(group), catalog.healpix_column) for group in groups]
    return [
        group
        for group, known in zip(groups, bounds, strict=True)
        if known is None
        or healpix.overlap_ranges(np.array([known[0] << shift]), np.array([(known[1] + 1) << shift]), outer)[0]
    ]


def _bounds(group: pq.RowGroupMetaData, column: str) -> tuple[int, int] | None:
    """Least and greatest value of an integer column, None if they are not recorded."""
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema == column:
            statistics = chunk.statistics
            if statistics is None or not statistics.has_min_max or not isinstance(statistics.min, int):
                return None
            return statistics.min, statistics.max
    return None


def _chunks(group: pq.RowGroupMetaData, columns: Collection[str], end_of_data: int) -> list[tuple[int, int]]:
    spans = []
    for index in range(group.num_columns):
        chunk = group.column(index)
        path = chunk.path_in_schema
        # A nested column's chunks are named by the path to each leaf.
        if path not in columns and not any(path.startswith(f"{name}.") for name in columns):
            continue
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        spans.append((start, min(end_of_data, start + chunk.total_compressed_size + _PAD)))
    return spans


def _requests(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[list[int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1] + HOLE_BYTES:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return [(at, min(end, at + REQUEST_BYTES)) for start, end in joined for at in range(start, end, REQUEST_BYTES)]
