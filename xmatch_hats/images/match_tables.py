"""Tables of an image pipeline matched with a catalogue: one file for each, whether or not anything matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.images.fits_images import Naming
from xmatch_hats.images.match_answers import Answers
from xmatch_hats.images.matched_files import write_matched
from xmatch_hats.images.scratch import scratch_folder
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.tables.coordinates import find_coordinates
from xmatch_hats.tables.fits import POSITION_KEYS
from xmatch_hats.tables.fits_stored import StoredTable, open_stored
from xmatch_hats.whole import is_same_file, unwritable, written_whole

__all__ = ["MatchJob", "MatchedFile", "TableOutcome", "match_tables"]

CHUNK_BYTES = 64 << 20
"""Of a table, that are mapped into memory at once."""
CHUNK_ROWS = 100_000
"""That are matched at once; where all pairs are asked for, a row may have many."""
CHUNK_ROWS_ALL = 20_000


class TableOutcome(StrEnum):
    """What became of a table."""

    WRITTEN = "written"
    KEPT = "kept"
    FAILED = "not matched"


@dataclass(frozen=True)
class MatchedFile:
    """One table, and its file."""

    table: str
    file: str
    """Name of the file; empty where there is none."""
    outcome: TableOutcome
    rows: int = 0
    """Of the file."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows of the table by status, and their number, ``in``, which is the sum; empty where they were not counted."""
    reason: str = ""


@dataclass(frozen=True)
class MatchJob:
    """How tables are matched, and where to."""

    out: Path
    """Folder, made if need be."""
    naming: Naming = field(default_factory=lambda: Naming("cat_matched", may_lack=True))
    hdu: int | str | None = None
    """Number or name of the table's HDU; None: ``LDAC_OBJECTS``, ``RESULTS``, or the first table."""
    ra: str | None = None
    """Column of right ascensions, degrees; None: as an earlier match had it, else found by name. Declinations alike."""
    dec: str | None = None
    keep_unmatched: bool = False
    """Whether rows without a match are kept, with their statuses."""
    every: bool = False
    """Whether all pairs within the radius are written, or the nearest alone."""
    overwrite: bool = False
    """Whether files that exist are written anew."""
    cache_bytes: int | None = None
    """Memory in which partitions of the catalogue may be kept; None is 1 GiB, or a quarter of what there is."""


def match_tables(
    paths: Sequence[Path],
    target: CatalogTarget | Path | str,
    job: MatchJob,
    *,
    on_table: Callable[[int], None] = lambda _: None,
) -> list[MatchedFile]:
    """Match tables with a catalogue, each into a file of its own.

    Parameters
    ----------
    paths : sequence of Path
        FITS files: SExtractor's FITS_LDAC, plain binary tables, final catalogues of a pipeline.
    target : CatalogTarget, Path or str
        The catalogue, with its radius and columns.
    job : MatchJob
    on_table : callable
        Told how many tables are done.

    Returns
    -------
    list of MatchedFile
        One for each table, in order; those that could not be matched are among them.

    Raises
    ------
    UsageError
        Two tables lead to the same name, a file would replace its own table, or the radius cannot be searched.
    TableError
        The only table cannot be read, or has no positions.
    CatalogNotFoundError, CatalogError
        The copy does not exist, is damaged, or lacks a column.
    PartitionReadError
        A partition of it cannot be read: nothing is called unmatched for that.
    OutputError
        A file cannot be written.
    """
    names = _file_names(paths, job)
    told: list[MatchedFile] = []
    with (
        scratch_folder(job.out) as scratch,
        Crossmatcher(
            [target], n_neighbors=None if job.every else 1, workers=0, cache_bytes=job.cache_bytes
        ) as matcher,
    ):  # fmt: skip
        for done, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
            if (job.out / name).exists() and not job.overwrite:
                told.append(MatchedFile(str(path), name, TableOutcome.KEPT))
            else:
                try:
                    told.append(_match_table(path, job.out / name, matcher, job, scratch))
                except TableError as error:
                    if len(paths) == 1:
                        raise
                    told.append(MatchedFile(str(path), "", TableOutcome.FAILED, reason=str(error)))
            on_table(done)
    return told


def _file_names(paths: Sequence[Path], job: MatchJob) -> list[str]:
    numbers = job.naming.numbers(paths, "match them apart, or tell where the number is: --number")
    names = [f"{job.naming.prefix}{number}.fits" for number in numbers]
    for path, name in zip(paths, names, strict=True):
        if is_same_file(path, job.out / name):
            raise UsageError("its file would replace it", place=path, hint="choose another --out or --prefix")
    return names


def _match_table(path: Path, target: Path, matcher: Crossmatcher, job: MatchJob, scratch: Path) -> MatchedFile:
    table = open_stored(path, job.hdu)
    ra, dec = _coordinates(table, job)
    catalog = matcher.targets[0]
    most = CHUNK_ROWS_ALL if job.every else CHUNK_ROWS
    step = max(1, min(most, CHUNK_BYTES // max(1, table.row_bytes)))
    answers = Answers(
        catalog, table.names, target, keep_unmatched=job.keep_unmatched, is_ranked=job.every, scratch=scratch
    )
    with answers:
        try:
            for start in range(0, table.rows, step):
                records = table.records(start, start + step)
                positions = table.floats(ra, records), table.floats(dec, records)
                answers.add(start, matcher.match(*positions)[catalog.name])
        except OSError as error:
            raise unwritable(target, error) from error
        facts = _facts(answers, matcher, job, (ra, dec), len(table.names))
        with written_whole(target, scratch) as file:
            write_matched(file, table, answers, facts, _words(matcher, job), target)
    counts = {"in": table.rows} | {status.key: int(answers.counts[status]) for status in MatchStatus}
    return MatchedFile(str(path), target.name, TableOutcome.WRITTEN, answers.rows, counts)


def _coordinates(table: StoredTable, job: MatchJob) -> tuple[str, str]:
    try:
        given = _spelled(table, job.ra), _spelled(table, job.dec)
        return find_coordinates(table.schema, *given, told=table.positions)
    except TableError as error:
        place = f"{table.path}[{table.number}]"
        raise TableError(error.message, place=place, hint=error.hint, value=error.value) from error


def _spelled(table: StoredTable, name: str | None) -> str | None:
    """A column's name as the table has it: to FITS upper and lower case are the same."""
    if name is None or name in table.columns:
        return name
    found = [own for own in table.columns if own.upper() == name.upper()]
    return found[0] if len(found) == 1 else name


def _facts(
    answers: Answers, matcher: Crossmatcher, job: MatchJob, position: tuple[str, str], columns: int
) -> list[tuple[str, str | float | int, str]]:
    """What the header tells of the match."""
    catalog = matcher.targets[0]
    counts = answers.counts
    facts: list[tuple[str, str | float | int, str]] = [
        ("XMCATLOG", catalog.name, "catalogue that was matched with"),
        ("XMRADIUS", catalog.rule.radius_arcsec, "[arcsec] search radius"),
        ("XMPAIRS", "all" if job.every else "nearest", "within the radius"),
        ("XMCOVER", _coverage(catalog.copy), "by what it is known where it was searched"),
        ("XMROWS", int(counts.sum()), "rows of the table that was matched"),
        ("XMMATCH", int(counts[MatchStatus.MATCHED]), "of these matched"),
        ("XMUNMAT", int(counts[MatchStatus.UNMATCHED]), "without a match, wholly searched"),
        ("XMOUTSID", int(counts[MatchStatus.OUTSIDE_COVERAGE]), "outside the coverage: not known"),
        ("XMREJECT", int(counts[MatchStatus.REJECTED]), "without a position"),
        (POSITION_KEYS[0], position[0], "column of right ascensions that were matched"),
        (POSITION_KEYS[1], position[1], "column of declinations that were matched"),
    ]
    titles = answers.titles
    facts.append(("XMFIRST", columns + 1, "number of the first column of the catalogue"))
    for key, name in (("XMCATRA", catalog.copy.ra_column), ("XMCATDEC", catalog.copy.dec_column)):
        facts.append((key, titles.get(name, ""), "the same of the catalogue, if it is here"))
    for key, kind in (("XMDIST", "distance"), ("XMSTATUS", "status"), ("XMRANK", "rank")):
        facts.append((key, answers.finals.get(kind, ""), f"column of the {kind}, if there is one"))
    return facts


def _coverage(copy: LocalCopy) -> str:
    """In a word or two; a copy of somebody else's has an estimate alone."""
    if copy.manifest is None:
        return "not recorded, estimated"
    return f"{copy.coverage.kind}{', estimated' if copy.coverage.estimated else ''}"


def _words(matcher: Crossmatcher, job: MatchJob) -> str:
    catalog = matcher.targets[0]
    pairs = "all rows" if job.every else "the nearest row"
    rest = "rows without a match are kept" if job.keep_unmatched else "rows without a match are left out"
    return f"xmatch-hats: {pairs} of {catalog.name} within {catalog.rule.radius_arcsec:g} arcsec; {rest}"


def __dir__() -> list[str]:
    return sorted(__all__)
