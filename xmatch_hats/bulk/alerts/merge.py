"""The outputs of many archives as one HATS collection."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.bulk.alerts.empty import empty_collection
from xmatch_hats.bulk.alerts.gather import read_rows
from xmatch_hats.bulk.alerts.likeness import alike, matched_with, told_differences
from xmatch_hats.bulk.alerts.published import NOTES, SUMMARY, damage
from xmatch_hats.bulk.runs.provenance import PROVENANCE_NAME, provenance, write_provenance
from xmatch_hats.catalogs.convert import COMPRESSION
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import Progress, Silent, build_copy
from xmatch_hats.catalogs.layout import RESERVED, is_collection
from xmatch_hats.catalogs.manifest import Manifest, SourceRecord, hash_files
from xmatch_hats.catalogs.staging import Staging
from xmatch_hats.errors import AccountError, CatalogError, UsageError
from xmatch_hats.whole import unwritable, written_whole

WORK, MATCHES = "bulk merge", "matches"
"""As the provenance calls it; and where that tells what archives were matched with, as `alike` gives it."""
MERGED, NAME = "merged", "alerts"
"""Folder of the collection where none is given, and what it is called."""
BUCKET_ROWS = 1 << 24
"""Alerts that are compared at once, 32 bytes each; where there are more, files are read once for every so many."""

_ORDER = ("candid", "member", "record")


@dataclass(frozen=True)
class MergeReport:
    """What was put together."""

    path: Path
    archives: int
    rows: int
    duplicates: int
    """Alerts of a number that an earlier one has: of the smaller archive name, then the smaller member."""
    duplicates_removed: int
    unfinished: tuple[str, ...]
    """Archives that are not in it, as their outputs are not finished."""
    damaged: tuple[str, ...]
    """Archives that are in it of which something was lost, and what."""

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self) | {
            "path": str(self.path),
            "unfinished": list(self.unfinished),
            "damaged": list(self.damaged),
        }


@dataclass(frozen=True)
class _Part:
    """One finished archive."""

    archive: str
    folder: Path
    summary: dict[str, Any]
    facts: dict[str, Any]
    """Its provenance."""
    state: str
    """Checksum of that."""
    files: list[Path]


def merge_nights(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    dedup: bool = False,
    mixed: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Make one collection of the alerts of all archives.

    Parameters
    ----------
    folder : Path or str
        Where `crossmatch_alerts` wrote to.
    out : Path or str, optional
        The collection, by default ``merged`` in `folder`; an earlier one is replaced.
    dedup : bool, optional
        Whether only the first alert of each number stays: that of the smallest archive name, then of the first member.
    mixed : bool, optional
        Whether archives may be merged that were matched with other radii or other versions of a catalogue than the
        first; the notes tell which.
    workers : int, optional
        Worker processes of the import; default by size.
    progress : Progress, optional

    Raises
    ------
    UsageError
        There is nothing to merge, or the output would lie in a catalogue, or among what is merged.
    CatalogError
        Archives are damaged, or have other columns or were matched otherwise than the first; or the output cannot be
        written, or is something else.
    AccountError
        Rows that do not add up.
    """
    folder = Path(folder).expanduser().absolute()
    out = folder / MERGED if out is None else Path(out).expanduser().absolute()
    progress = progress or Silent()
    if not folder.is_dir():
        raise UsageError("there is no such folder", place=folder, hint="give the --out of `xmatch-hats bulk alerts`")
    parts = _find(folder)
    _require_apart(folder, out)
    unfinished = tuple(sorted(path.name[1:].rpartition(".")[0] for path in folder.glob("night=*/.archive=*.matching")))
    for name in unfinished:
        progress.say(f"{name}: is not finished, and left out")
    _require_same_columns(parts)
    facts = _facts(parts, dedup)
    _require_alike(folder, facts, progress if mixed else None)
    with Staging(out, facts, progress.say, work="merge", replaces=_is_merged(out)) as staging:
        drop = _repeated(parts)
        duplicates = sum(int(mask.sum()) for mask in drop.values())
        rows = sum(part.summary["rows"] for part in parts) - (duplicates if dedup else 0)
        sources = _kept_files(parts, drop if dedup else {}, staging)
        report = MergeReport(
            out, len(parts), rows, duplicates, duplicates if dedup else 0, unfinished,
            tuple(f"{part.archive}: the archive {lost}" for part in parts if (lost := part.summary["damage"])),
        )  # fmt: skip
        built = staging.path("collection")
        origin = [
            SourceRecord(path=str(part.folder), bytes=sum(path.stat().st_size for path in part.files),
                         rows=part.summary["rows"])
            for part in parts
        ]  # fmt: skip
        if not rows:
            empty_collection(_schema(parts[0].folder), built, NAME, origin, {})
        elif not built.exists():
            copy = build_copy(
                sources, built, progress=progress, name=NAME, plain=True, workers=workers, side_copy=False,
                origin=origin,
            )  # fmt: skip
            if copy.total_rows != rows:
                raise AccountError(f"has {copy.total_rows} rows, not {rows}", place=out)
        _write_notes(built, parts, report, facts)
        staging.publish(built)
    return report


def _require_apart(folder: Path, out: Path) -> None:
    """Refuse an output that the next merge would take for one of an archive."""
    top, place = folder.resolve(), out.resolve()
    if place.is_relative_to(top) and any(part.startswith("night=") for part in place.relative_to(top).parts):
        raise UsageError(
            "the output would lie among those that it is made of", place=out, hint="leave --out out, or write elsewhere"
        )


def _find(folder: Path) -> list[_Part]:
    """Finished archives, by name."""
    found = []
    for notes in folder.glob(f"night=*/archive=*/{NOTES}"):
        place = notes.parent
        try:
            summary = json.loads((notes / SUMMARY).read_bytes())
            data = (notes / PROVENANCE_NAME).read_bytes()
            facts = json.loads(data)
        except (OSError, ValueError) as error:
            raise CatalogError("its notes cannot be read", place=place, hint="run the archive again") from error
        if (fault := damage(place)) is not None:
            raise fault
        state = hashlib.sha256(data).hexdigest()
        found.append(_Part(place.name.partition("=")[2], place, summary, facts, state, _row_files(place)))
    found.sort(key=lambda part: (part.archive, part.folder.parent.name))
    if not found:
        raise UsageError(
            "there are no matched archives here", place=folder, hint="give the --out of `xmatch-hats bulk alerts`"
        )
    return found


def _row_files(folder: Path) -> list[Path]:
    if not is_collection(folder):
        return [path for path in sorted(folder.glob("part-*.parquet")) if pq.read_metadata(path).num_rows]
    copy = LocalCopy.open(folder)
    return [copy.partition_file(partition) for partition in copy.partitions]


def _schema(folder: Path) -> pa.Schema:
    """Columns of an archive's output, where it has no rows, too."""
    if is_collection(folder):
        return LocalCopy.open(folder).schema
    return pq.read_schema(folder / "part-00000.parquet")


def _require_same_columns(parts: Sequence[_Part]) -> None:
    first: tuple[str, pa.Schema] | None = None
    for part in parts:
        if not part.files:
            continue
        schema = pa.schema(
            [pa.field(field.name, field.type) for field in pq.read_schema(part.files[0]) if field.name not in RESERVED]
        )
        first = first or (part.archive, schema)
        if schema != first[1]:
            raise CatalogError(
                f"has other columns than {first[0]}",
                place=part.folder,
                hint="run `xmatch-hats bulk alerts` with the same catalogues and columns for all",
            )


def _require_alike(folder: Path, facts: dict[str, Any], allowed: Progress | None) -> None:
    """Refuse archives that were matched otherwise than the first; where it is allowed, only say so."""
    for words in told_differences(facts["settings"][MATCHES]):
        if allowed is None:
            raise CatalogError(
                words,
                place=folder,
                hint="match all alike with `xmatch-hats bulk alerts`, or give --mixed to put them together as they are",
            )
        allowed.say(words)


def _facts(parts: Sequence[_Part], dedup: bool) -> dict[str, Any]:
    """What determines the collection, and what it was made from."""
    inputs = [
        {"path": str(part.folder), "rows": part.summary["rows"], "provenance_sha256": part.state} for part in parts
    ]
    groups = alike((part.archive, matched_with(part.facts)) for part in parts)
    return provenance(WORK, inputs, {"dedup": dedup, MATCHES: groups})


def _is_merged(out: Path) -> bool:
    try:
        return "archives" in json.loads((out / NOTES / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return False


def _repeated(parts: Sequence[_Part]) -> dict[Path, NDArray[np.bool_]]:
    """Tell, of every file that has some, which alerts have a number that an earlier one has."""
    files = [(number, path) for number, part in enumerate(parts) for path in part.files]
    firsts = np.cumsum([0, *(pq.read_metadata(path).num_rows for _, path in files)])
    total = int(firsts[-1])
    again = np.zeros(total, dtype=bool)
    buckets = max(1, -(-total // BUCKET_ROWS))
    for bucket in range(buckets):
        columns = list(_bucket(files, firsts, bucket, buckets))
        if not columns:
            continue
        candid, archive, member, record, place = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.lexsort((record, member, archive, candid))
        repeats = np.flatnonzero(candid[order][1:] == candid[order][:-1]) + 1
        again[place[order[repeats]]] = True
    masks = {path: again[firsts[i] : firsts[i + 1]] for i, (_, path) in enumerate(files)}
    return {path: mask for path, mask in masks.items() if mask.any()}


def _bucket(
    files: Sequence[tuple[int, Path]], firsts: NDArray[np.int64], bucket: int, buckets: int
) -> Iterator[tuple[NDArray[Any], ...]]:
    """Numbers of alerts that fall into one bucket, and what orders them; those without a number repeat nobody."""
    for (archive, path), first in zip(files, firsts, strict=False):
        table = read_rows(path, list(_ORDER))
        known = table["candid"].is_valid().to_numpy()
        candid, member, record = (table[name].fill_null(0).to_numpy() for name in _ORDER)
        rows = np.flatnonzero(known & (candid % buckets == bucket))
        yield candid[rows], np.full(len(rows), archive, dtype=np.int32), member[rows], record[rows], rows + first


def _kept_files(parts: Sequence[_Part], drop: dict[Path, NDArray[np.bool_]], staging: Staging) -> list[Path]:
    """Files to merge: those that lose rows are written anew."""
    sources: list[Path] = []
    for number, path in enumerate(path for part in parts for path in part.files):
        if path not in drop:
            sources.append(path)
            continue
        kept = staging.path("kept", f"{number:06d}.parquet")
        # A resume finds it as it was: an import takes up only what it knows.
        if not kept.exists():
            table = read_rows(path).filter(pa.array(~drop[path]))
            with written_whole(kept, staging.path("scratch")) as file:
                pq.write_table(table, file, **COMPRESSION)
        sources.append(kept)
    return sources


def _write_notes(built: Path, parts: Sequence[_Part], report: MergeReport, facts: dict[str, Any]) -> None:
    notes = built / NOTES
    shutil.rmtree(notes, ignore_errors=True)
    told = {
        "archives": [part.summary for part in parts],
        "rows": report.rows,
        "duplicates": report.duplicates,
        "duplicates_removed": report.duplicates_removed,
    }
    try:
        notes.mkdir()
        (notes / SUMMARY).write_text(json.dumps(told, indent=1) + "\n")
        write_provenance(notes, notes, facts)
    except OSError as error:
        raise unwritable(notes, error) from error
    if (manifest := Manifest.read(built)) is not None:
        manifest.model_copy(update={"files": hash_files(built)}).write(built)
