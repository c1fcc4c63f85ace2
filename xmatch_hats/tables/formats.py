"""Which format a file has, by content and by suffix."""

from __future__ import annotations

from pathlib import Path

from xmatch_hats.errors import TableError
from xmatch_hats.tables.streams import read_head

FORMATS = ("csv", "bulk", "ipac", "parquet", "fits", "votable", "ecsv")
"""Formats that are read; all but bulk and ipac are written too."""

_SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".tbl": "ipac", ".ipac": "ipac", ".parquet": "parquet", ".pq": "parquet",
    ".fits": "fits", ".fit": "fits", ".fts": "fits", ".ldac": "fits", ".vot": "votable", ".votable": "votable",
    ".xml": "votable", ".ecsv": "ecsv", ".psv": "bulk",
}  # fmt: skip
PACKED_SUFFIXES = (".gz", ".bz2")
"""Suffixes after that of the format, of files that are compressed as a whole."""
_WRITTEN = ("csv", "fits", "votable", "ecsv", "parquet")
_BULK_FIELDS = 20
"""Pipes in a first line from which on it is a row of a bulk file rather than a header."""


def suffix_format(path: Path) -> str | None:
    """Format that a file's name promises, compression suffixes apart."""
    return _SUFFIXES.get(_suffix(path))


def suffix_is(path: Path, suffix: str) -> bool:
    """Whether a file's name has a suffix, in any case, compression suffixes apart."""
    return _suffix(path) == suffix


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in PACKED_SUFFIXES]
    return suffixes[-1] if suffixes else ""


def format_of(path: Path, format: str | None = None) -> str:
    """Tell the format of a file to read.

    Content that cannot be mistaken wins over the suffix; the suffix decides between text formats.

    Raises
    ------
    TableError
        The format asked for is unknown, the file is missing, a folder or an SQLite file, or nothing tells its format.
    """
    if format is not None:
        if format not in FORMATS:
            raise TableError(f"unknown format {format!r}", place=path, hint=f"known are: {', '.join(FORMATS)}")
        return format
    refuse_pickles(path)
    head = read_head(path, 4096)
    promised = suffix_format(path)
    if kind := _certain(head):
        return kind
    return promised or _likely(path, head)


def refuse_pickles(path: Path) -> None:
    """Refuse an SQLite file: those that image pipelines write hold pickles, and reading these may run any code.

    Raises
    ------
    TableError
        It is one, by its content or its name, or cannot be read.
    """
    if read_head(path, 16).startswith(b"SQLite format 3") or suffix_is(path, ".sqlite"):
        raise TableError(
            "is an SQLite file: those of image pipelines hold pickles, which may run any code when they are read",
            place=path,
            hint="give the FITS tables that it was made from, or the pipeline's final catalogue",
        )


def _certain(head: bytes) -> str | None:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"# %ECSV"):
        return "ecsv"
    if text.startswith(b"<") and b"VOTABLE" in head:
        return "votable"
    return None


def _likely(path: Path, head: bytes) -> str:
    if head.startswith((b"\\", b"|")):
        return "ipac"
    first = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    if b"\x00" not in head and first.strip():
        if first.count(b"|") >= _BULK_FIELDS:
            return "bulk"
        return "csv"
    raise TableError(
        "its format cannot be told" if head else "is empty",
        place=path,
        hint=f"use a suffix such as .csv or .fits; known formats are: {', '.join(FORMATS)}",
    )


def format_to_write(path: Path, format: str | None = None) -> str:
    """Tell the format of a file to write.

    Raises
    ------
    TableError
        The format is not one that is written, or not compressed as a whole, or the suffix tells none.
    """
    kind = format or suffix_format(path)
    if kind == "parquet" and path.suffix.lower() in PACKED_SUFFIXES:
        raise TableError("parquet is compressed by itself", place=path, hint=f"leave {path.suffix} out")
    if kind in _WRITTEN:
        return kind
    problem = f"cannot be written as {kind}" if kind else "its suffix tells no format"
    raise TableError(problem, place=path, hint="use .csv, .fits, .vot, .ecsv or .parquet")
