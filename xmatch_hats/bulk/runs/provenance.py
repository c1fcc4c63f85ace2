"""What an output was made of, and how: no word of when or where, so that the same work gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xmatch_hats import __version__
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.manifest import MANIFEST_NAME
from xmatch_hats.errors import CatalogError
from xmatch_hats.whole import written_whole

PROVENANCE_NAME = "provenance.json"
LIBRARIES = (
    "astropy",
    "cdshealpix",
    "dask",
    "distributed",
    "hats",
    "hats-import",
    "lsdb",
    "numpy",
    "pandas",
    "pyarrow",
)
"""Of which an output may depend."""
_WITNESSES = (
    MANIFEST_NAME,
    layout.COLLECTION_FILE,
    *layout.CATALOG_FILES,
    "partition_info.csv",
    "dataset/_metadata",
)
"""Small files of a catalogue that are about all of its rows; a manifest holds the checksum of every file."""
_BLOCK_BYTES = 1 << 20


def provenance(work: str, inputs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Say what an output was made of.

    Parameters
    ----------
    work : str
        What was done, as the command line calls it.
    inputs : sequence of mapping
        As `copy_input` and `file_input` give them.
    settings : mapping
        What was asked for; JSON values, and paths.
    """
    return {
        "work": work,
        "inputs": [dict(given) for given in inputs],
        "settings": dict(settings),
        "software": software(),
    }


def write_provenance(folder: Path, scratch: Path, facts: Mapping[str, Any]) -> Path:
    """Write what `provenance` gave into the folder of an output.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    path = folder / PROVENANCE_NAME
    with written_whole(path, scratch) as file:
        file.write(f"{json.dumps(facts, indent=2, sort_keys=True, default=str)}\n".encode())
    return path


def software() -> dict[str, str]:
    """Versions of everything that an output may depend on."""
    return {
        "xmatch-hats": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def copy_input(copy: LocalCopy) -> dict[str, Any]:
    """Say which catalogue is read.

    Its files are not read for it but a few: the manifest, which has the checksums of all others, and for catalogues
    without one the footers of all partitions and the lists of them.

    Raises
    ------
    CatalogError
        One of these cannot be read.
    """
    folders = dict.fromkeys((copy.path, copy.main_path, *([copy.margin_path] if copy.margin_path else [])))
    checksums = {}
    for folder in folders:
        for path in (folder / name for name in _WITNESSES):
            if path.is_file():
                checksums[_name_below(path, copy.path)] = sha256_of(path)
    return {
        "kind": "HATS",
        "path": str(copy.path),
        "name": copy.name,
        "uuid": None if copy.manifest is None else copy.manifest.uuid,
        "rows": copy.total_rows,
        "partitions": len(copy.partitions),
        "margin_arcsec": copy.margin_arcsec,
        "sha256": checksums,
    }


def file_input(path: Path | str, size: int, sha256: str | None = None) -> dict[str, Any]:
    """Say which file is read.

    Parameters
    ----------
    path : Path or str
        Or its address.
    size : int
        In bytes.
    sha256 : str, optional
        Of its bytes, where all were read.
    """
    return {"kind": "file", "path": str(path), "bytes": size, "sha256": sha256}


def sha256_of(path: Path) -> str:
    """Checksum of a file, hexadecimal.

    Raises
    ------
    CatalogError
        It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise CatalogError(f"cannot be read: {error.strerror or error}", place=path) from error
    return digest.hexdigest()


def _name_below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
