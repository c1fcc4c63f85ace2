"""FITS tables: binary ones as a memory-mapped stream, ASCII ones whole.

A binary table's rows are read straight from the file as big-endian records, so that memory is bounded by a batch; what
a column's header says of scaling, unsigned offsets and nulls is applied to the integers as they are. NaN is how FITS
says "missing" for floats, and becomes null. A compressed file is unpacked to a temporary one first.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

from xmatch_hats.errors import TableError
from xmatch_hats.tables._fits_column import FitsColumn, make_column
from xmatch_hats.tables.convert import from_astropy
from xmatch_hats.tables.formats import refuse_pickles
from xmatch_hats.tables.memory import MemorySource
from xmatch_hats.tables.metadata import make_field
from xmatch_hats.tables.source import TableSource, check_names
from xmatch_hats.tables.streams import BROKEN, broken_file, one_line, open_stream

IMAGE_HEADER, OBJECTS, RESULTS = "LDAC_IMHEAD", "LDAC_OBJECTS", "RESULTS"
"""Names of HDUs: of SExtractor's FITS_LDAC, and of the final catalogue of an image pipeline."""
POSITION_KEYS = ("XMRA", "XMDEC")
"""Keywords of a table of matches: which columns were matched, beside those of the catalogue."""


class FitsSource(TableSource):
    """The rows of one binary table.

    Parameters
    ----------
    path : Path
        The file, for messages.
    unpacked : Path
        The same file without compression.
    offset : int
        Where its rows begin, in bytes.
    rows : int
    row_type : numpy.dtype
        Record of a row as stored.
    columns : list of FitsColumn
    refused : mapping of str to TableError
        As of `TableSource`.
    """

    def __init__(
        self,
        path: Path,
        unpacked: Path,
        offset: int,
        rows: int,
        row_type: np.dtype[Any],
        columns: list[FitsColumn],
        refused: Mapping[str, TableError],
    ) -> None:
        super().__init__(path, pa.schema([column.field for column in columns]), rows, refused)
        self._unpacked, self._offset, self._row_type = unpacked, offset, row_type
        self._columns = {column.field.name: column for column in columns}

    def _iterate(self, schema: pa.Schema, batch_rows: int, /) -> Iterator[pa.RecordBatch]:
        if not self.num_rows or not schema.names:
            return
        with broken_file(self.path, "FITS"):
            records = np.memmap(self._unpacked, self._row_type, "r", self._offset, (self.num_rows,))
        for start in range(0, self.num_rows, batch_rows):
            chunk = records[start : start + batch_rows]
            arrays = [self._columns[name].convert(chunk) for name in schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def open_fits(path: Path, hdu: int | str | None = None) -> TableSource:
    """Open a table of a FITS file.

    Parameters
    ----------
    path : Path
    hdu : int or str, optional
        Number or name; by default ``LDAC_OBJECTS`` if there is one, else ``RESULTS``, else the first table that is not
        ``LDAC_IMHEAD``.

    Raises
    ------
    TableError
        The file is broken or cut short, or has no such table or several.
    """
    unpacked = unpack(path)
    try:
        with opened_hdus(path, unpacked) as hdus:
            source = _open_hdu(path, unpacked, hdus, choose_table(hdus, hdu, path))
    except TableError:
        remove_unpacked(path, unpacked)
        raise
    weakref.finalize(source, remove_unpacked, path, unpacked)
    return source


@contextmanager
def opened_hdus(path: Path, unpacked: Path) -> Iterator[fits.HDUList]:
    """Open a file with all its headers read; what astropy raises for a broken one becomes a `TableError`.

    Parameters
    ----------
    path : Path
        The file, for messages.
    unpacked : Path
        The same file without compression.
    """
    try:
        with warnings.catch_warnings():
            # Odd keywords are no reason to fail, nor to fill the screen.
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(unpacked, memmap=True, lazy_load_hdus=False) as hdus:
                yield hdus
    except (*BROKEN, ValueError, KeyError, TypeError, fits.VerifyError) as error:
        if isinstance(error, OSError) and any(words in str(error) for words in ("Empty or corrupt", "No SIMPLE card")):
            raise TableError("is empty or no FITS file", place=path) from error
        raise TableError(f"not a whole FITS file: {one_line(error)}", place=path) from error


def unpack(path: Path) -> Path:
    """The file itself, or a temporary one without its compression, which the caller removes.

    Raises
    ------
    TableError
        It cannot be read, or unpacked, or is none that may be read.
    """
    open_stream(path).close()
    refuse_pickles(path)
    if _is_plain(path):
        return path
    with tempfile.NamedTemporaryFile(prefix="xmatch-hats-", suffix=".fits", delete=False) as plain:
        target = Path(plain.name)
        try:
            with broken_file(path, "compressed FITS"), open_stream(path) as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
        except TableError:
            target.unlink(missing_ok=True)
            raise
    return target


def remove_unpacked(path: Path, unpacked: Path) -> None:
    """Remove what `unpack` has made, if it has made anything."""
    if unpacked != path:
        unpacked.unlink(missing_ok=True)


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) not in (b"\x1f\x8b", b"BZ")


def _is_table(hdu: Any) -> bool:
    return isinstance(hdu, fits.BinTableHDU | fits.TableHDU)


def choose_table(hdus: fits.HDUList, wanted: int | str | None, path: Path) -> int:
    """Number of the HDU with the table that is wanted, see `open_fits`.

    Raises
    ------
    TableError
        There is none, or several.
    """
    listed = ", ".join(f"{i} {hdu.name or 'without name'} ({type(hdu).__name__})" for i, hdu in enumerate(hdus))
    tables = [i for i, hdu in enumerate(hdus) if _is_table(hdu)]
    if wanted is None:
        for name in (OBJECTS, RESULTS):
            named = [i for i in tables if hdus[i].name == name]
            if len(named) > 1:
                raise TableError(
                    f"has {len(named)} tables {name}, of HDUs {named[0]} to {named[-1]}", place=path,
                    hint="tell which HDU is meant",
                )  # fmt: skip
            if named:
                return named[0]
        others = [i for i in tables if hdus[i].name != IMAGE_HEADER]
        if not others:
            raise TableError("holds no table", place=path, hint=f"its HDUs are: {listed}")
        return others[0]
    if isinstance(wanted, str) and not wanted.lstrip("-").isdigit():
        found = [i for i, hdu in enumerate(hdus) if hdu.name == wanted.upper()]
    else:
        found = [int(wanted)] if 0 <= int(wanted) < len(hdus) else []
    if not found or found[0] not in tables:
        problem = "is no table" if found else "does not exist"
        raise TableError(f"HDU {wanted} {problem}", place=path, hint=f"its HDUs are: {listed}", value=wanted)
    return found[0]


def check_length(path: Path, unpacked: Path, hdu: Any, number: int) -> None:
    """Refuse a file that ends before an HDU's data do.

    Raises
    ------
    TableError
    """
    _refuse_short(path, unpacked, number, hdu.fileinfo()["datLoc"] + hdu.size)


def _refuse_short(path: Path, unpacked: Path, number: int, needed: int) -> None:
    if unpacked.stat().st_size < needed:
        raise TableError(
            f"is cut short: HDU {number} needs {needed} bytes, the file has {unpacked.stat().st_size}",
            place=path,
            hint="fetch or write it again",
        )


def check_whole(path: Path, unpacked: Path, hdus: fits.HDUList) -> None:
    """Refuse a file that is cut short, wherever: HDUs may be missing, even if those that there are have all their data.

    Raises
    ------
    TableError
    """
    place = hdus[-1].fileinfo()
    end = int(place["datLoc"] + place["datSpan"])
    with unpacked.open("rb") as file:
        file.seek(end)
        # One with a broken header is left out by astropy.
        if file.read(8) == b"XTENSION":
            raise TableError(f"the header of HDU {len(hdus)} is broken or cut short", place=path)
    _refuse_short(path, unpacked, len(hdus) - 1, end)


def _open_hdu(path: Path, unpacked: Path, hdus: fits.HDUList, number: int) -> TableSource:
    hdu = hdus[number]
    header = hdu.header
    names = column_names(header)
    check_names(names, path)
    check_length(path, unpacked, hdu, number)
    if isinstance(hdu, fits.TableHDU):
        return _open_ascii(path, unpacked, number, header)
    row_type = row_type_of(path, hdu, number)
    columns: list[FitsColumn] = []
    refused: dict[str, TableError] = {}
    for i, (name, own) in enumerate(zip(names, row_type.names or (), strict=True), start=1):
        try:
            columns.append(make_column(header, i, name, own, path))
        except TableError as error:
            refused[name] = error
    source = FitsSource(path, unpacked, hdu.fileinfo()["datLoc"], header["NAXIS2"], row_type, columns, refused)
    source.positions = told_positions(header)
    return source


def column_names(header: fits.Header) -> list[str]:
    """Names of a table's columns, in their order; those without one are called by their number."""
    return [header.get(f"TTYPE{i}", f"col{i}").strip() for i in range(1, header["TFIELDS"] + 1)]


def told_positions(header: fits.Header) -> tuple[str, str] | None:
    """Columns that the header of a table of matches calls its positions; None where it says nothing of them."""
    first, second = (str(header.get(key, "")).strip() for key in POSITION_KEYS)
    return (first, second) if first and second else None


def row_type_of(path: Path, hdu: Any, number: int) -> np.dtype[Any]:
    """Type of a binary table's rows as they are stored.

    Raises
    ------
    TableError
        Its columns do not fill its rows.
    """
    row_type: np.dtype[Any] = hdu.columns.dtype
    if row_type.itemsize != hdu.header["NAXIS1"]:
        raise TableError(f"HDU {number}: its columns do not fill its rows", place=path)
    return row_type.newbyteorder(">")


def _open_ascii(path: Path, unpacked: Path, number: int, header: fits.Header) -> TableSource:
    table = from_astropy(Table.read(unpacked, hdu=number, format="fits"))
    fields = []
    for i, field in enumerate(table.schema, start=1):
        texts = {"unit": header.get(f"TUNIT{i}"), "ucd": header.get(f"TUCD{i}"), "description": header.get(f"TCOMM{i}")}
        fields.append(make_field(field.name, field.type, **texts))
    return MemorySource(path, table.cast(pa.schema(fields)))
