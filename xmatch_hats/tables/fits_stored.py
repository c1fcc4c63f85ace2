"""A FITS binary table as its bytes are: what is copied from it comes out as it was, whatever its columns hold."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits
from numpy.typing import NDArray

from xmatch_hats.errors import TableError
from xmatch_hats.tables._fits_column import FitsColumn, make_column
from xmatch_hats.tables.fits import (
    IMAGE_HEADER,
    check_length,
    check_whole,
    choose_table,
    column_names,
    opened_hdus,
    remove_unpacked,
    row_type_of,
    told_positions,
    unpack,
)
from xmatch_hats.tables.streams import broken_file

CARD, BLOCK = 80, 2880
_EPOCH = re.compile(r"EPOCH_\d+")


@dataclass(frozen=True)
class Stretch:
    """Bytes of a file, from one place up to another."""

    start: int
    stop: int


class StoredTable:
    """One binary table of a FITS file, and the HDUs that belong to it.

    Parameters
    ----------
    path : Path
        The file, for messages.
    unpacked : Path
        The same file without compression.
    hdus : astropy.io.fits.HDUList
    number : int
        Of the table's HDU.

    Raises
    ------
    TableError
        It is cut short, or no binary table that can be copied row by row.
    """

    def __init__(self, path: Path, unpacked: Path, hdus: fits.HDUList, number: int) -> None:
        hdu = hdus[number]
        header = hdu.header
        if isinstance(hdu, fits.TableHDU):
            raise TableError(
                f"HDU {number} is a table of text", place=path, hint="make it a binary one, as `xmatch-hats match` does"
            )
        if header.get("ZTABLE"):
            raise TableError(f"HDU {number} is compressed by fpack", place=path, hint="unpack it with funpack")
        check_length(path, unpacked, hdu, number)
        self.path, self._unpacked, self.number = path, unpacked, number
        self.names = column_names(header)
        self.positions = told_positions(header)
        """Columns with right ascension and declination, of a table that was matched before."""
        self.rows, self.row_bytes = int(header["NAXIS2"]), int(header["NAXIS1"])
        self._type = row_type_of(path, hdu, number)
        place = hdu.fileinfo()
        self._offset = int(place["datLoc"])
        heap = self._offset + int(header.get("THEAP", self.row_bytes * self.rows))
        self.heap = Stretch(heap, self._offset + self.row_bytes * self.rows + int(header.get("PCOUNT", 0)))
        """What columns of arrays of varying length point into."""
        self.cards = _cards(unpacked, Stretch(int(place["hdrLoc"]), self._offset))
        """The table's header, card by card."""
        self.before, self.after = _belonging(path, unpacked, hdus, number)
        """HDUs in front of the table and behind it: the primary one, SExtractor's header of the image, epochs."""
        self.columns: dict[str, FitsColumn] = {}
        """Columns whose values can be read; others are copied alone."""
        for column, (name, stored) in enumerate(zip(self.names, self._type.names or (), strict=True), start=1):
            # Of two columns of one name nobody could tell which is meant.
            with suppress(TableError):
                if self.names.count(name) == 1:
                    self.columns[name] = make_column(header, column, name, stored, path)

    @property
    def schema(self) -> pa.Schema:
        """Columns whose values can be read."""
        return pa.schema([column.field for column in self.columns.values()])

    def records(self, start: int, stop: int) -> NDArray[Any]:
        """Rows as they are stored, by a memory map of these alone, shape (n,)."""
        if start >= stop:
            return np.empty(0, self._type)
        with broken_file(self.path, "FITS"):
            return np.memmap(
                self._unpacked, self._type, "r", self._offset + start * self.row_bytes, (min(stop, self.rows) - start,)
            )

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The same as bytes, shape (n, ``row_bytes``)."""
        if start >= stop or not self.row_bytes:
            return np.empty((max(0, stop - start), self.row_bytes), np.uint8)
        shape = (min(stop, self.rows) - start, self.row_bytes)
        with broken_file(self.path, "FITS"):
            return np.memmap(self._unpacked, np.uint8, "r", self._offset + start * self.row_bytes, shape)

    def floats(self, name: str, records: NDArray[Any]) -> NDArray[np.float64]:
        """A column of numbers of some rows, shape (n,); NaN where there is none."""
        values = self.columns[name].convert(records).cast(pa.float64(), safe=False)
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)

    def bytes_of(self, stretch: Stretch, piece: int = 1 << 20) -> Iterator[bytes]:
        """Read a stretch of the file in pieces.

        Raises
        ------
        TableError
            It cannot be read, or ends before.
        """
        left = stretch.stop - stretch.start
        with broken_file(self.path, "FITS"), self._unpacked.open("rb") as file:
            file.seek(stretch.start)
            while left > 0:
                data = file.read(min(piece, left))
                if not data:
                    raise TableError("became shorter while it was read", place=self.path)
                left -= len(data)
                yield data


def open_stored(path: Path, hdu: int | str | None = None) -> StoredTable:
    """Open a binary table of a FITS file, to copy rows of it as they are.

    Parameters
    ----------
    path : Path
        A file that is compressed as a whole is unpacked to a temporary one.
    hdu : int or str, optional
        As of `open_fits`.

    Raises
    ------
    TableError
        The file is broken or cut short, has no such table or several, or it is compressed or one of text.
    """
    unpacked = unpack(path)
    try:
        with opened_hdus(path, unpacked) as hdus:
            check_whole(path, unpacked, hdus)
            table = StoredTable(path, unpacked, hdus, choose_table(hdus, hdu, path))
    except TableError:
        remove_unpacked(path, unpacked)
        raise
    weakref.finalize(table, remove_unpacked, path, unpacked)
    return table


def _cards(unpacked: Path, stretch: Stretch) -> list[bytes]:
    with unpacked.open("rb") as file:
        file.seek(stretch.start)
        data = file.read(stretch.stop - stretch.start)
    cards = [data[at : at + CARD] for at in range(0, len(data), CARD)]
    last = next((at for at, card in enumerate(cards) if card[:8] == b"END     "), len(cards))
    return cards[:last]


def _belonging(path: Path, unpacked: Path, hdus: fits.HDUList, number: int) -> tuple[list[Stretch], list[Stretch]]:
    before: list[Stretch] = []
    after: list[Stretch] = []
    for at, hdu in enumerate(hdus):
        # An image beside a table stays where it is: it is large, and nothing of the rows.
        is_primary = at == 0 and not hdu.size
        is_header = at == number - 1 and hdu.name == IMAGE_HEADER
        if not (is_primary or is_header or (at != number and _EPOCH.fullmatch(hdu.name))):
            continue
        check_length(path, unpacked, hdu, at)
        place = hdu.fileinfo()
        stretch = Stretch(int(place["hdrLoc"]), int(place["datLoc"]) + int(hdu.size))
        (before if at < number else after).append(stretch)
    return before, after
