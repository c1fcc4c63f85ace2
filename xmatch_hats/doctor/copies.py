"""Catalogues: where they are looked for, which there are, and whether each can be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xmatch_hats.display import counted
from xmatch_hats.doctor.report import Look, State, Symptom
from xmatch_hats.errors import CatalogError, XmatchError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.copy import LocalCopy

SILENT = "is its disk there?"
FAULTS_TOLD = 3


def look_at_root() -> list[Symptom]:
    """Tell where named copies are looked for, and what was left half done there."""
    from xmatch_hats.catalogs.pull_staging import interrupted_pulls
    from xmatch_hats.catalogs.registry import list_copies
    from xmatch_hats.catalogs.staging import leftover_names
    from xmatch_hats.config import config_path, load_config

    config = load_config()
    there = "" if config_path().is_file() else ", which is not there"
    lines = [Symptom("configuration", State.OK, f"{config_path()}{there}")]
    place = f"{config.catalogs_root} (from {config.source})"
    entries = list_copies()
    if not entries:
        todo = "make one with `xmatch-hats catalog import` or `catalog pull`; `xmatch-hats demo` tries it out"
        return [*lines, Symptom("catalogues", State.WARNING, f"none in {place}", todo)]
    names = {entry.name for entry in entries}
    lines.append(Symptom("catalogues", State.OK, f"{len(names):,} in {place}"))
    for name in sorted(names - {entry.name for entry in entries if entry.current}):
        last = max(str(entry.version) for entry in entries if entry.name == name)
        todo = f"choose one: `xmatch-hats catalog use {name} {last}`"
        lines.append(Symptom(name, State.PROBLEM, "has no current version", todo))
    for folder in sorted({entry.path.parent for entry in entries if entry.version is not None}):
        for version in sorted({*leftover_names(folder), *interrupted_pulls(folder)}):
            todo = f"give the same command again, or remove {folder}/.{version}.*"
            lines.append(Symptom(folder.name, State.WARNING, f"making version {version} was interrupted", todo))
    return lines


def looks_at_copies(more: tuple[str, ...] = ()) -> list[Look]:
    """One look for each copy that a name leads to, and for each further one.

    Parameters
    ----------
    more : tuple of str
        Folders or names that are looked at as well.
    """
    from xmatch_hats.catalogs.registry import list_copies

    places = {entry.path: entry.name for entry in list_copies() if entry.current}
    looks = [_look(name, path) for path, name in places.items()]
    return looks + [_look(place, place) for place in more]


def _look(name: str, place: Path | str) -> Look:
    return Look(f"catalogue {name}", lambda: _examine(f"catalogue {name}", place), SILENT)


def _examine(what: str, place: Path | str) -> list[Symptom]:
    from xmatch_hats.catalogs.copy import open_copy

    copy = open_copy(place)
    if faults := list(_unreadable(copy)):
        more = f" and {len(faults) - FAULTS_TOLD:,} more" if len(faults) > FAULTS_TOLD else ""
        detail = f"cannot be read: {', '.join(faults[:FAULTS_TOLD])}{more}"
        return [Symptom(what, State.PROBLEM, detail, "`xmatch-hats catalog verify` tells all; import or pull it again")]
    coverage = "coverage not recorded"
    if copy.manifest is not None:
        record = copy.manifest.coverage
        coverage = f"coverage {record.kind}{' (estimated)' if record.estimated else ''}"
    detail = (
        f"{counted(copy.total_rows, 'row')} in {counted(len(copy.partitions), 'partition')}, "
        f"margin {copy.margin_arcsec:g} arcsec, {coverage}, {_origin(copy)}, {copy.path}"
    )
    return [Symptom(what, State.OK, detail), *_wants(what, copy), _side_copy(what, copy)]


def _unreadable(copy: LocalCopy) -> Iterator[str]:
    """Files of partitions that are missing or closed to reading."""
    for partition in copy.partitions:
        path = copy.partition_file(partition)
        margin = copy.margin_file(partition)
        for file in (path, margin) if margin is not None else (path,):
            if not os.access(file, os.R_OK):
                yield str(file.relative_to(copy.path))


def _origin(copy: LocalCopy) -> str:
    if copy.manifest is None:
        return "not made by this program"
    return f"verified when it was made, {copy.manifest.created}"


def _wants(what: str, copy: LocalCopy) -> list[Symptom]:
    """What the copy lacks for being searched and trusted."""
    lines = []
    if not copy.margin_arcsec:
        todo = "import it again: a copy of this program has a margin"
        lines.append(Symptom(what, State.WARNING, "has no margin, so nothing can be searched across borders", todo))
    if copy.manifest is None:
        todo = f"`xmatch-hats catalog verify {copy.path}` once"
        lines.append(Symptom(what, State.WARNING, "nobody has recorded its checksums", todo))
    elif copy.manifest.checksum != copy.manifest.expected_checksum:
        todo = "import or pull it again"
        lines.append(Symptom(what, State.PROBLEM, "its manifest does not agree with its own checksum", todo))
    return lines


def _side_copy(what: str, copy: LocalCopy) -> Symptom:
    from xmatch_hats.catalogs.side_copy import SideCopy, stream_columns

    make = f"`xmatch-hats catalog side-copy {copy.path}` makes one"
    what = f"{what}, side copy"
    try:
        side = SideCopy.open(copy)
    except CatalogError as error:
        return Symptom(what, State.WARNING, f"cannot be used: {error.message}", make)
    if side is None:
        return Symptom(what, State.OK, "none: streams read the copy itself, more slowly", make)
    gone = [path for path in map(side.path, side.sizes) if not os.access(path, os.R_OK)]
    if gone:
        return Symptom(what, State.WARNING, f"{len(gone):,} of its files cannot be read", make)
    told = f"{side.bytes / 1e6:,.1f} MB, {len(side.columns)} columns"
    if missing := [name for name in stream_columns(copy) if name not in side.columns]:
        return Symptom(what, State.OK, f"{told}; none of what streams ask for by default: {', '.join(missing)}", make)
    return Symptom(what, State.OK, told)


def largest_copy_bytes() -> int:
    """Bytes of the largest copy that has a manifest, and of its side copy; 0 where there is none."""
    from xmatch_hats.catalogs.registry import list_copies
    from xmatch_hats.catalogs.side_copy import SideCopy

    largest = 0
    for entry in list_copies():
        try:
            copy = entry.open()
            side = SideCopy.open(copy)
        except XmatchError:
            continue
        files = copy.manifest.files.values() if copy.manifest else ()
        largest = max(largest, sum(file.bytes for file in files) + (side.bytes if side else 0))
    return largest
