"""What lies under the name of an output: whether it is one, of which inputs and settings, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmatch_hats.bulk.runs.provenance import PROVENANCE_NAME
from xmatch_hats.catalogs.manifest import FileRecord, Manifest, hash_files
from xmatch_hats.errors import CatalogError

NOTES = "_bulk"
"""Folder of an output with what is told of it; readers of parquet datasets pass over such names."""
SUMMARY, LOG, FILES = "summary.json", "run.log.jsonl", "files.json"
WORK, STAGED = "bulk alerts", "match"
"""As the provenance, and as the staging folder, calls what is done to archives."""


def is_output(folder: Path) -> bool:
    """Whether a folder is the output of an archive; whatever else is there is somebody's own."""
    facts = read_notes(folder, PROVENANCE_NAME)
    return facts is not None and facts.get("work") == WORK and (folder / NOTES / SUMMARY).is_file()


def read_notes(folder: Path, name: str) -> dict[str, Any] | None:
    """Notes of an output; None where there are none, or they are damaged."""
    return read_json(folder / NOTES / name)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object in a file; None where there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def staged(out: Path) -> Path:
    """Where an output is made, and lies until it is whole."""
    return out.with_name(f".{out.name}.{STAGED}ing")


def write_files(folder: Path) -> None:
    """Note size and checksum of every file of an output that is whole: a copy has its manifest for that."""
    files = hash_files(folder)
    if (manifest := Manifest.read(folder)) is not None:
        manifest.model_copy(update={"files": files}).write(folder)
        return
    # But the log, which is another one each time: the same work gives the same notes.
    told = {name: record.model_dump() for name, record in files.items() if name != f"{NOTES}/{LOG}"}
    (folder / NOTES / FILES).write_text(json.dumps(told, indent=1) + "\n")


def recorded_files(folder: Path) -> Mapping[str, FileRecord]:
    """Every file that an output had when it was made, by relative path.

    Raises
    ------
    CatalogError
        The list of them is missing or damaged.
    """
    if (manifest := Manifest.read(folder)) is not None:
        return manifest.files
    try:
        files = {name: FileRecord(**told) for name, told in (read_notes(folder, FILES) or {}).items()}
    except (TypeError, ValueError):
        files = {}
    if not files:
        raise CatalogError("the list of its files is missing or damaged", place=folder / NOTES / FILES, hint=WAY_OUT)
    return files


def damage(folder: Path) -> CatalogError | None:
    """Tell the first file of an output that is missing or has another size than it was written with.

    Checksums are not compared, as that takes as long as reading everything: for a collection, `catalog verify` does.
    """
    try:
        files = recorded_files(folder)
    except CatalogError as error:
        return error
    for name, record in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            return CatalogError(f"cannot be read: {error.strerror}", place=path, hint=WAY_OUT)
        if size != record.bytes:
            return CatalogError(f"has {size:,} bytes, not {record.bytes:,}", place=path, hint=WAY_OUT)
    return None


WAY_OUT = "run `xmatch-hats bulk alerts` of its archive again: what is damaged is made anew"
