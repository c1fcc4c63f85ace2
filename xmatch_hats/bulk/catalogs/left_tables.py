"""A left side that is no catalogue yet: a table, or a folder of tables, imported on the way."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from xmatch_hats import __version__
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import ImportSettings, Telling, build_copy
from xmatch_hats.catalogs.sources import expand_sources


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
        A source cannot be read or contradicts its definition.
    CatalogError
        The copy cannot be written.
    """
    source = Path(place).expanduser().absolute()
    folder = out.parent / f"{_prefix(out)}{_state(source)}"
    if folder.is_dir():
        return LocalCopy.open(folder)
    listener.say(f"importing {place} first")
    settings: ImportSettings = {"columns": "all", "side_copy": False, "name": source.stem or "tables"}
    if workers is not None:
        settings["workers"] = workers
    return build_copy([source], folder, progress=Telling(listener.say), **settings)


def remove_left(out: Path) -> None:
    """Remove what was imported for an output, which is there now."""
    for folder in out.parent.glob(f"{_prefix(out)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(out: Path) -> str:
    return f".{out.name}.left-"


def _state(source: Path) -> str:
    """Tells files of one state from all others."""
    states = [(str(file), file.stat()) for file in expand_sources([source])]
    told = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
    return hashlib.sha256(json.dumps([__version__, told]).encode()).hexdigest()[:12]
