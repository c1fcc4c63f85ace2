"""The files of a HATS catalogue on local disk, read without the ``hats`` library.

Importing ``hats`` takes seconds and a quarter of a gigabyte; telling what a folder holds must not. Only the parts of
the format that this package stands on are read: the two properties files, the list of partitions, the Arrow schema.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from xmatch_hats.errors import CatalogError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

COLLECTION_FILE = "collection.properties"
CATALOG_FILES = ("hats.properties", "properties")
HEALPIX_COLUMN = "_healpix_29"
HIVE_COLUMNS = frozenset({"Norder", "Dir", "Npix", "margin_Norder", "margin_Dir", "margin_Npix"})
"""Columns that the folder names stand for; old catalogues also store them in the files."""

ROW_COLUMN = "_row"
"""Source row number that copies without an id column keep, int64, from 0 over all sources in order."""

RESERVED = frozenset({HEALPIX_COLUMN, ROW_COLUMN}) | HIVE_COLUMNS
"""Columns that an import makes itself; a source's own of these names are from an earlier copy, and left behind."""

Partition = tuple[int, int]
"""HEALPix order and nested pixel number."""


def is_collection(folder: Path) -> bool:
    """Whether the folder is the root of a HATS collection."""
    return (folder / COLLECTION_FILE).is_file()


def is_catalog(folder: Path) -> bool:
    """Whether the folder is the root of a bare HATS catalogue or margin."""
    return any((folder / name).is_file() for name in CATALOG_FILES)


def refuse_inside_catalog(out: Path, *, itself: bool = False) -> None:
    """Refuse an output that would lie in a catalogue, links followed: files that no manifest knows spoil it.

    Parameters
    ----------
    out : Path
    itself : bool, optional
        Whether `out` may be no catalogue either, as it is a folder that files are put into.

    Raises
    ------
    UsageError
        It would.
    """
    place = out.expanduser().resolve()
    for folder in (place, *place.parents) if itself else place.parents:
        # Other standards have files of such a name, too: HiPS does.
        if is_collection(folder) or (is_catalog(folder) and (folder / "dataset").is_dir()):
            where = "is" if folder == place else "would lie in"
            raise UsageError(f"the output {where} the catalogue {folder}", place=out, hint="write elsewhere")


def read_collection_properties(folder: Path) -> dict[str, str]:
    """Read ``collection.properties`` of a collection.

    Raises
    ------
    CatalogError
        The file cannot be read or names no main table.
    """
    values = _read_properties(folder / COLLECTION_FILE)
    if not values.get("hats_primary_table_url"):
        raise CatalogError("does not name its main table", place=folder / COLLECTION_FILE)
    return values


def read_catalog_properties(folder: Path) -> dict[str, str]:
    """Read the properties file of a catalogue or margin.

    Raises
    ------
    CatalogError
        There is none, or it cannot be read.
    """
    for name in CATALOG_FILES:
        if (folder / name).is_file():
            return _read_properties(folder / name)
    raise CatalogError("is not a HATS catalogue: it has no properties file", place=folder)


def read_partitions(folder: Path) -> list[Partition]:
    """Partitions listed in ``partition_info.csv``, sorted along the sphere.

    Returns
    -------
    list of (int, int)
        HEALPix order and nested pixel number.

    Raises
    ------
    CatalogError
        The list is missing, malformed, or names a partition twice.
    """
    path = folder / "partition_info.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"Norder", "Npix"} <= set(reader.fieldnames or ()):
                raise KeyError("Norder, Npix")
            pixels = [(int(row["Norder"]), int(row["Npix"])) for row in reader]
    except OSError as error:
        raise CatalogError(f"cannot be read: {error.strerror}", place=path) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise CatalogError("is not a list of partitions with columns Norder and Npix", place=path) from error
    if len(set(pixels)) != len(pixels):
        raise CatalogError("names a partition twice", place=path)
    return sorted(pixels, key=sky_order)


def sky_order(partition: Partition) -> tuple[int, int]:
    """Key that sorts partitions of mixed orders along the nested HEALPix curve."""
    order, pixel = partition
    return pixel << 2 * (29 - order), order


def read_schema(folder: Path) -> pa.Schema:
    """Arrow schema of a catalogue's rows, without the columns that folder names stand for.

    Raises
    ------
    CatalogError
        Neither ``_common_metadata`` nor ``_metadata`` can be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("_common_metadata", "_metadata"):
        path = folder / "dataset" / name
        if not path.is_file():
            continue
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise CatalogError(f"cannot be read as parquet metadata: {error}", place=path) from error
        kept = [field for field in schema if field.name not in HIVE_COLUMNS]
        return pa.schema(kept)
    raise CatalogError("has no dataset/_common_metadata, so its columns are unknown", place=folder)


def partition_path(folder: Path, partition: Partition, suffix: str = ".parquet") -> Path:
    """Path of a partition's parquet file (its folder, where `suffix` is ``/``), whether or not it exists."""
    order, pixel = partition
    name = f"Npix={pixel}" if suffix == "/" else f"Npix={pixel}{suffix}"
    return folder / "dataset" / f"Norder={order}" / f"Dir={pixel // 10_000 * 10_000}" / name


def _read_properties(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CatalogError("is not a properties file", place=path) from error
    except OSError as error:
        raise CatalogError(f"cannot be read: {error.strerror}", place=path) from error
    return _parse_properties(text)


def _parse_properties(text: str) -> dict[str, str]:
    """Java properties as HATS writes them: one ``key=value`` a line, backslash escapes, no continuation lines."""
    values = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        key, _, value = line.partition("=")
        values[key.strip()] = _unescape(value.strip())
    return values


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    out, letters = [], iter(value)
    for letter in letters:
        if letter == "\\":
            letter = next(letters, "")
            letter = {"n": "\n", "t": "\t", "r": "\r"}.get(letter, letter)
        out.append(letter)
    return "".join(out)
