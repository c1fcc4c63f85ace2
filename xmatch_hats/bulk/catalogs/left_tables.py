"""A left side that is no catalogue yet: a table, or a folder of tables, imported on the way."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from xmatch_hats import __version__
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import ImportSettings, Telling, build_copy
from xmatch_hats.catalogs.sources import expand_sources
from xmatch_hats.errors import CatalogError, TableError
from xmatch_hats.tables.formats import format_of, suffix_format


def is_tables(place: str | Path) -> bool:
    """Whether this is a file, or a folder that is no HATS catalogue."""
    path = Path(place).expanduser()
    return path.is_file() or (path.is_dir() and not layout.is_collection(path) and not layout.is_catalog(path))


def import_left(place: str | Path, out: Path, listener: Listener, *, workers: int | None = None) -> LocalCopy:
    """Import tables beside an output, or open what an earlier call has imported of the same files.

    Parameters
    ----------
    place : str or Path
        A table, or a folder of them, in any format that `catalog import` reads.
    out : Path
        The output, which is not there yet.
    listener : Listener
        Told what is worth telling.
    workers : int, optional
        As `build_copy` takes them.

    Raises
    ------
    TableError, DefinitionError, SelfCheckError
        A source cannot be read or contradicts its definition, or there is none.
    CatalogError
        The copy cannot be written, or another call is writing it.
    """
    source = Path(place).expanduser().absolute()
    files = _tables(source, listener)
    folder = out.parent / f"{_prefix(out)}{_state(files)}"
    if folder.is_dir():
        return LocalCopy.open(folder)
    listener.say(f"importing {place} first")
    settings: ImportSettings = {
        "columns": "all", "side_copy": False, "name": source.stem or "tables", "keep_rejects": True,
    }  # fmt: skip
    if workers is not None:
        settings["workers"] = workers
    try:
        return build_copy(files, folder, progress=Telling(listener.say), **settings)
    except CatalogError as error:
        if error.place != str(folder):
            raise
        # People know the output, and not what lies hidden beside it for a while.
        raise CatalogError(error.message, place=out, hint=error.hint) from error


def remove_left(out: Path) -> None:
    """Remove what was imported for an output, which is there now."""
    own = re.compile(re.escape(_prefix(out)) + "[0-9a-f]{12}")
    for folder in list(out.parent.iterdir()):
        if own.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _prefix(out: Path) -> str:
    return f".{out.name}.left-"


def _tables(source: Path, listener: Listener) -> list[Path]:
    """The tables that a place means: the file itself, or those of a folder's files that are tables beyond doubt."""
    files = expand_sources([source])
    if source.is_file():
        return files
    tables = [path for path in files if _is_table(path)]
    if not tables:
        raise TableError(
            "is no HATS catalogue, and none of its files is a table", place=source,
            hint="tables end in .csv, .parquet, .fits and the like; name one that does not by itself",
        )  # fmt: skip
    if others := len(files) - len(tables):
        first = next(path for path in files if path not in tables)
        listener.say(f"{source}: {others:,} files that are no tables are left out, {first.name} first")
    return tables


def _is_table(path: Path) -> bool:
    if suffix_format(path):
        return True
    try:
        # Any text may be CSV.
        return format_of(path) != "csv"
    except TableError:
        return False


def _state(files: Sequence[Path]) -> str:
    """Tells files of one state from all others."""
    states = [(str(file), file.stat()) for file in files]
    told = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    return hashlib.sha256(json.dumps([__version__, told]).encode()).hexdigest()[:12]
