"""What there is to report on: the outputs in a folder, and what their notes say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xmatch_hats.bulk.alerts import merge, published
from xmatch_hats.bulk.alerts.likeness import alike, matched_with, told_differences
from xmatch_hats.bulk.alerts.merge import MATCHES
from xmatch_hats.bulk.alerts.published import NOTES, SUMMARY, recorded_files
from xmatch_hats.bulk.catalogs.finish import SUMMARY_FILE
from xmatch_hats.bulk.catalogs.sky import SKY_FILE
from xmatch_hats.bulk.runs.provenance import PROVENANCE_NAME
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import is_collection, read_catalog_properties
from xmatch_hats.errors import CatalogError, UsageError

NIGHTS, MERGED, CATALOGS = published.WORK, merge.WORK, "bulk catalogs"
"""What makes the outputs, as their provenance calls it."""


@dataclass(frozen=True)
class Target:
    """A catalogue that was matched with."""

    name: str
    radius_arcsec: float | None = None
    """None where no notes tell it."""
    n_neighbors: int | None = 1
    """How many of the nearest were kept; None for all."""
    columns: tuple[str, ...] | None = None
    """Those of it that the rows have, by its own names; None for all, or unknown."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Its folder and its state when it was read, as the provenance has them; empty if unknown."""

    @property
    def path(self) -> Path | None:
        """Folder that it had."""
        return Path(self.facts["path"]) if "path" in self.facts else None


@dataclass(frozen=True)
class Part:
    """One output: of an archive, of a merge, or of two catalogues."""

    name: str
    folder: Path
    files: tuple[Path, ...]
    """Parquet files of its rows."""
    ra_column: str
    dec_column: str
    summary: Mapping[str, Any]
    facts: Mapping[str, Any]
    """Its provenance."""
    sky_order: int = 0
    """HEALPix order of `sky`."""

    @property
    def sky(self) -> Path | None:
        """Counts of what was matched by cell, where the output has them: its rows need not hold what has no match."""
        path = self.folder / SKY_FILE
        return path if path.is_file() else None


@dataclass(frozen=True)
class Outputs:
    """Everything in a folder that one report is about."""

    folder: Path
    kind: str
    """`NIGHTS`, `MERGED` or `CATALOGS`."""
    parts: tuple[Part, ...]
    targets: tuple[Target, ...]
    unfinished: tuple[str, ...] = ()
    """Archives whose outputs are not there yet."""
    remarks: tuple[str, ...] = ()
    """What a reader of the report should know of them."""


def find_outputs(folder: Path | str) -> Outputs:
    """Tell what a folder holds.

    Parameters
    ----------
    folder : Path or str
        The ``--out`` of ``bulk alerts``, the output of one of its archives, or that of ``bulk merge`` or
        ``bulk catalogs``.

    Raises
    ------
    UsageError
        It is none of these.
    CatalogError
        Notes or files of an output are missing or damaged.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError("there is no such folder", place=folder, hint="give the --out of a verb of `xmatch-hats bulk`")
    if (folder / NOTES / SUMMARY).is_file():
        part = _read_part(folder, folder / NOTES)
        return _merged(part) if "archives" in part.summary else _nights(folder, [part])
    if (folder / SUMMARY_FILE).is_file() and (folder / PROVENANCE_NAME).is_file():
        return _catalogs(_read_part(folder, folder))
    notes = sorted(folder.glob(f"night=*/archive=*/{NOTES}"))
    if not notes:
        raise UsageError(
            "holds nothing to report on",
            place=folder,
            hint="give the --out of `xmatch-hats bulk alerts`, `bulk merge` or `bulk catalogs`",
        )
    return _nights(folder, [_read_part(path.parent, path) for path in notes])


def read_json(path: Path) -> dict[str, Any]:
    """Read notes of an output.

    Raises
    ------
    CatalogError
        They are missing or damaged.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no JSON"
        raise CatalogError(f"cannot be read: {reason}", place=path, hint="make the output again") from error
    if not isinstance(found, dict):
        raise CatalogError("holds no notes of an output", place=path, hint="make the output again")
    return found


def _read_part(folder: Path, notes: Path) -> Part:
    summary, facts = read_json(notes / SUMMARY), read_json(notes / PROVENANCE_NAME)
    name = folder.name.removeprefix("archive=")
    if not is_collection(folder):
        rows = [folder / path for path in recorded_files(folder) if path.startswith("part-")]
        return Part(name, folder, _present(sorted(rows), facts), "ra", "dec", summary, facts)
    copy = LocalCopy.open(folder)
    files = _present([copy.partition_file(partition) for partition in copy.partitions], facts)
    order = int(read_catalog_properties(copy.main_path).get("hats_skymap_order", 0))
    return Part(name, folder, files, copy.ra_column, copy.dec_column, summary, facts, order)


def _present(files: Sequence[Path], facts: Mapping[str, Any]) -> tuple[Path, ...]:
    """Refuse an output that lacks a file of its rows."""
    for path in files:
        if not path.exists():
            hint = f"run the same `xmatch-hats {facts['work']}` again: what is damaged is made anew"
            if facts["work"] == CATALOGS:
                hint = f"remove the output, and run the same `xmatch-hats {CATALOGS}` again"
            raise CatalogError("a file of the output is missing", place=path, hint=hint)
    return tuple(files)


def _nights(folder: Path, parts: Sequence[Part]) -> Outputs:
    unfinished = sorted(path.name[1:].rpartition(".")[0] for path in folder.glob("night=*/.archive=*.matching"))
    targets, remarks = _alert_targets(alike((part.name, matched_with(part.facts)) for part in parts))
    return Outputs(folder, NIGHTS, tuple(parts), targets, tuple(unfinished), remarks)


def _merged(part: Part) -> Outputs:
    """Of a merge, which knows what its archives were matched with."""
    targets, remarks = _alert_targets(part.facts["settings"][MATCHES])
    return Outputs(part.folder, MERGED, (part,), targets, remarks=remarks)


def _alert_targets(groups: Sequence[Mapping[str, Any]]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Catalogues that archives were matched with, as the first did, and remarks on others."""
    found: dict[str, Target] = {}
    for group in groups:
        for one in group["catalogs"]:
            target = Target(one["name"], one["radius_arcsec"], 1, tuple(one["columns"]), one["input"])
            known = found.setdefault(target.name, target)
            # No separation lies beyond the pictures.
            widest = max(known.radius_arcsec or 0.0, one["radius_arcsec"])
            found[target.name] = replace(known, radius_arcsec=widest)
    remarks = [
        f"{words}: matches by chance are reckoned for the widest radius, and that version"
        for words in told_differences(groups)
    ]
    return tuple(found.values()), tuple(remarks)


def _catalogs(part: Part) -> Outputs:
    settings = part.facts["settings"]
    right = next(given for given in part.facts["inputs"] if given.get("side") == "right")
    columns = settings["right_columns"]
    target = Target(
        right["name"], settings["radius_arcsec"], settings["n_neighbors"],
        None if columns is None else tuple(columns), right,
    )  # fmt: skip
    remarks = []
    for key, option in (("left_where", "--left-where"), ("right_where", "--right-where"), ("where", "--where")):
        if settings[key]:
            remarks.append(f"{option}: {settings[key]}")
    if settings["region"]:
        remarks.append(f"limited to {settings['region']}")
    return Outputs(part.folder, CATALOGS, (part,), (target,), remarks=tuple(remarks))
