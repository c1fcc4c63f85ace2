"""FITS files of matched rows: a table with the columns of a catalogue behind its own, and what belongs to it.

Rows and header of the table are copied byte for byte, so that units, scales, marks for missing values, vectors and
columns of any kind come out as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from xmatch_hats.errors import TableError
from xmatch_hats.images.match_answers import Answers
from xmatch_hats.tables._fits_plan import ColumnPlan, records_of
from xmatch_hats.tables.fits_stored import BLOCK, CARD, StoredTable, Stretch

__all__ = ["EXTENSION", "write_matched"]

EXTENSION = "MATCHED"
MOST_COLUMNS = 999
"""That FITS allows."""
PIECE_BYTES = 32 << 20
"""Of rows that are put together at once."""
_OWN = (
    b"XTENSION", b"BITPIX", b"NAXIS", b"NAXIS1", b"NAXIS2", b"PCOUNT", b"GCOUNT", b"TFIELDS", b"THEAP", b"EXTNAME",
    b"EXTVER", b"EXTLEVEL", b"CHECKSUM", b"DATASUM",
)  # fmt: skip
"""Cards that are not those of the input, beside those of an earlier match."""
_OF_COLUMN = re.compile(
    rb"(TTYPE|TFORM|TUNIT|TNULL|TSCAL|TZERO|TDISP|TDIM|TBCOL|TDMIN|TDMAX|TLMIN|TLMAX|TUCD|TUTYP|TCOMM|TXTYP"
    rb"|TCTYP|TCUNI|TCRPX|TCRVL|TCDLT|TRPOS)(\d+) *"
)
"""Keywords that describe a column, with its number."""


def write_matched(
    file: BinaryIO, table: StoredTable, answers: Answers, facts: Sequence[tuple[str, str | float | int, str]],
    words: str, place: Path,
) -> None:  # fmt: skip
    """Write a file.

    Parameters
    ----------
    file : binary file
    table : StoredTable
        That was matched.
    answers : Answers
        To all of its rows.
    facts : sequence of (str, value, str)
        Keywords of the header, with their comments.
    words : str
        What was done, in a sentence, for the header's history.
    place : Path
        The file, for messages.

    Raises
    ------
    TableError
        There would be more columns than FITS allows.
    """
    plans = answers.plans()
    if len(table.names) + len(plans) > MOST_COLUMNS:
        raise TableError(
            f"would have {len(table.names) + len(plans)} columns, and FITS allows {MOST_COLUMNS}", place=place,
            hint="ask for fewer with --columns",
        )  # fmt: skip
    if not table.before or table.before[0].start:
        file.write(fits.PrimaryHDU(header=fits.Header([("EXTEND", True)])).header.tostring().encode("ascii"))
    for stretch in table.before:
        _copy(file, table, stretch)
    file.write(_header(table, answers.rows, plans, facts, words))
    written = _write_rows(file, table, answers, plans)
    for data in table.bytes_of(table.heap):
        written += file.write(data)
    file.write(b"\x00" * (-written % BLOCK))
    for stretch in table.after:
        _copy(file, table, stretch)


def _copy(file: BinaryIO, table: StoredTable, stretch: Stretch) -> None:
    written = sum(file.write(data) for data in table.bytes_of(stretch))
    file.write(b"\x00" * (-written % BLOCK))


def _write_rows(file: BinaryIO, table: StoredTable, answers: Answers, plans: Sequence[ColumnPlan]) -> int:
    written = 0
    for rows, columns in answers.pieces(max(1, PIECE_BYTES // (table.row_bytes + _width(plans)))):
        first = int(rows[0])
        own = table.raw(first, int(rows[-1]) + 1)[rows - first]
        added = records_of(columns, plans).view(np.uint8).reshape(len(rows), -1)
        written += file.write(np.concatenate((own, added), axis=1).tobytes())
    return written


def _width(plans: Iterable[ColumnPlan]) -> int:
    return sum(plan.repeat * plan.stored.itemsize for plan in plans)


def _header(
    table: StoredTable, rows: int, plans: Sequence[ColumnPlan], facts: Sequence[tuple[str, str | float | int, str]],
    words: str,
) -> bytes:  # fmt: skip
    first, last = fits.Header(), fits.Header()
    for key, value in (
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", table.row_bytes + _width(plans)),
        ("NAXIS2", rows), ("PCOUNT", table.heap.stop - table.heap.start), ("GCOUNT", 1),
        ("TFIELDS", len(table.names) + len(plans)), ("EXTNAME", EXTENSION),
    ):  # fmt: skip
        first[key] = value
    for number, plan in enumerate(plans, start=len(table.names) + 1):
        plan.describe(last, number)
    for key, fact, comment in facts:
        last[key] = (fact, comment)
    last.add_history(words)
    own = {key.ljust(8) for key in (*_OWN, *(key.encode() for key, *_ in facts))}
    data = b"".join([_bytes(first), *_kept(table.cards, own, len(table.names)), _bytes(last), b"END".ljust(CARD)])
    return data + b" " * (-len(data) % BLOCK)


def _kept(cards: Iterable[bytes], own: set[bytes], columns: int) -> Iterable[bytes]:
    """Cards of the input; one that goes on in the next goes with it."""
    is_kept = True
    for card in cards:
        if card[:8] != b"CONTINUE":
            is_kept = card[:8] not in own and not _is_stale(card, columns)
        if is_kept:
            yield card


def _is_stale(card: bytes, columns: int) -> bool:
    """Whether a card describes a column that is no more: it would be taken for one of the catalogue."""
    found = _OF_COLUMN.fullmatch(card[:8])
    return found is not None and int(found[2]) > columns


def _bytes(header: fits.Header) -> bytes:
    data: bytes = header.tostring(endcard=False, padding=False).encode("ascii")
    return data


def __dir__() -> list[str]:
    return sorted(__all__)
