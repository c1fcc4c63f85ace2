"""Open a table of any format as a stream of record batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from xmatch_hats.errors import TableError
from xmatch_hats.tables.formats import format_of
from xmatch_hats.tables.source import BATCH_ROWS, TableSource

__all__ = ["BATCH_ROWS", "TableSource", "open_table"]


def open_table(
    path: str | Path,
    *,
    format: str | None = None,
    hdu: int | str | None = None,
    names: Sequence[str] | None = None,
    column_types: Mapping[str, pa.DataType] | None = None,
) -> TableSource:
    """Open a table for reading.

    Parameters
    ----------
    path : str or Path
        The file; text formats may be compressed with gzip or bzip2, FITS with gzip.
    format : str, optional
        One of `xmatch_hats.tables.formats.FORMATS`; told by content and suffix if None.
    hdu : int or str, optional
        FITS only: number (0 is the primary) or name of the table's HDU; the first table by default.
    names : sequence of str, optional
        Bulk files only: names of their columns, as they have no header.
    column_types : mapping of str to pyarrow.DataType, optional
        CSV and bulk files only: types of columns; others are learnt from the values.

    Returns
    -------
    TableSource

    Raises
    ------
    TableError
        The file is missing, broken, or of no known format.
    """
    path = Path(path)
    kind = format_of(path, format)
    if hdu is not None and kind != "fits":
        raise TableError(f"a {kind} file has no HDUs", place=path, hint="leave the HDU out")
    if kind == "bulk":
        return _open_bulk(path, names, column_types)
    if kind == "csv":
        from xmatch_hats.tables.delimited import open_csv

        return open_csv(path, column_types)
    return _open_described(path, kind, hdu)


def _open_described(path: Path, kind: str, hdu: int | str | None) -> TableSource:
    """Open a file of a format that tells its own types; astropy is imported only for those that need it."""
    if kind == "parquet":
        from xmatch_hats.tables.parquet import ParquetSource

        return ParquetSource(path)
    if kind == "ipac":
        from xmatch_hats.tables.ipac import IpacSource

        return IpacSource(path)
    if kind == "fits":
        from xmatch_hats.tables.fits import open_fits

        return open_fits(path, hdu)
    if kind == "votable":
        from xmatch_hats.tables.votable import VotableSource

        return VotableSource(path)
    from xmatch_hats.tables.ecsv import open_ecsv

    return open_ecsv(path)


def _open_bulk(path: Path, names: Sequence[str] | None, column_types: Mapping[str, pa.DataType] | None) -> TableSource:
    from xmatch_hats.tables.delimited import open_bulk

    if names is None:
        raise TableError(
            "has no header line, and nothing tells the names of its columns",
            place=path,
            hint="give the definition of its catalogue",
        )
    return open_bulk(path, names, column_types)


def __dir__() -> list[str]:
    return sorted(__all__)
