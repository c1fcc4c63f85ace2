"""Write tables, atomically: under its final name a file is whole or not there."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.errors import TableError
from xmatch_hats.tables.formats import format_to_write
from xmatch_hats.tables.source import check_names

__all__ = ["write_csv_to", "write_table"]

_PACKED: dict[str, Callable[..., IO[bytes]]] = {
    ".gz": cast(Callable[..., IO[bytes]], gzip.open),
    ".bz2": cast(Callable[..., IO[bytes]], bz2.open),
}


def write_table(table: pa.Table, path: str | Path, *, format: str | None = None, overwrite: bool = False) -> None:
    """Write a table.

    Units, UCDs and descriptions are kept in every format but CSV, dates and times are ISO 8601 strings in every format
    but parquet. Integers with gaps stay exact in all. A missing float is NaN in FITS, an empty cell elsewhere, and an
    empty string cannot be told from a missing one in FITS, VOTable and ECSV.

    Parameters
    ----------
    table : pyarrow.Table
        Fields may carry ``unit``, ``ucd`` and ``description`` as metadata.
    path : str or Path
        File to make; ``.gz`` and ``.bz2`` after a suffix compress it.
    format : str, optional
        ``csv``, ``fits``, ``votable``, ``ecsv`` or ``parquet``; told by the suffix if None.
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    TableError
        The file exists, the folder does not, or a column cannot be kept in the format.
    """
    path = Path(path)
    kind = format_to_write(path, format)
    _check_target(path, overwrite)
    check_names(table.schema.names, path)
    packer = _PACKED.get(path.suffix.lower())
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with packer(part, "wb") if packer else part.open("wb") as file:
            _writer(kind)(table, file, path)
        _check_target(path, overwrite)
        part.replace(path)
    except OSError as error:
        raise TableError(f"cannot be written: {error.strerror or error}", place=path) from error
    finally:
        # On a read-only file system even what is not there cannot be removed; why it is not there says more.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_csv_to(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as CSV to an open binary file, such as standard output."""
    _writer("csv")(table, file, Path("<stream>"))


def _check_target(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise TableError("is a folder", place=path, hint="name a file")
    if path.exists() and not overwrite:
        raise TableError("exists already", place=path, hint="choose another name, or allow overwriting", value=path)
    if not path.parent.is_dir():
        raise TableError(f"its folder {path.parent} does not exist", place=path, hint="make the folder first")


def _writer(kind: str) -> Callable[[pa.Table, IO[bytes], Path], None]:
    # Only what is needed is imported: astropy alone takes half a second.
    if kind == "csv":
        from xmatch_hats.tables._write_text import write_csv as writer
    elif kind == "ecsv":
        from xmatch_hats.tables._write_text import write_ecsv as writer
    elif kind == "votable":
        from xmatch_hats.tables._write_votable import write_votable as writer
    elif kind == "fits":
        from xmatch_hats.tables._write_fits import write_fits as writer
    else:
        writer = _write_parquet
    return writer


def _write_parquet(table: pa.Table, file: IO[bytes], path: Path) -> None:
    # Numbers seldom repeat: looking for it takes longer than writing them.
    texts = [field.name for field in table.schema if field.type in (pa.string(), pa.large_string())]
    try:
        pq.write_table(table, file, compression="zstd", use_dictionary=texts)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(f"cannot be written as parquet: {error}", place=path) from error


def __dir__() -> list[str]:
    return sorted(__all__)
