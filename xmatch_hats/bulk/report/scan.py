"""One pass through the rows of all outputs: a batch at a time is in memory, and what is counted of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.bulk.report.columns import MatchColumns, match_columns
from xmatch_hats.bulk.report.outputs import Outputs, Part, Target
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.errors import PartitionReadError, XmatchError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.status import STATUS_LABELS, MatchStatus
from xmatch_hats.plots.tallies import CellCounts, Cloud, Histogram
from xmatch_hats.sphere import offsets_arcsec

BATCH_ROWS = 65_536
SEPARATION_BINS = 1_200
OFFSET_BINS = 400
MAGNITUDES = (-10.0, 40.0, 1_000)
"""Lowest and highest that are counted, and bins; the rest stand for "no value" in some catalogues."""
COLOUR_BINS = 500
COLOURS = (-10.0, 15.0)
PLACED = (MatchStatus.MATCHED, MatchStatus.UNMATCHED, MatchStatus.OUTSIDE_COVERAGE)
"""Statuses of what lies on the sky; maps count by them, and their values are the numbers of the kinds."""


@dataclass
class MatchTally:
    """What is counted of the match with one catalogue."""

    target: Target
    separation: Histogram
    """Arcsec."""
    sky: CellCounts = field(default_factory=lambda: CellCounts(len(PLACED)))
    """By cell and status, see `PLACED`."""
    offsets: Cloud | None = None
    """Catalogue less input, arcsec: along right ascension, times cos(dec), and along declination."""
    magnitudes: dict[str, Histogram] = field(default_factory=dict)
    """Of matches, by column."""
    colour: tuple[str, str] | None = None
    diagram: Cloud | None = None
    """First magnitude of `colour` over the colour."""
    colour_limits: int = 0
    """Matches without a place in the diagram, as one of its magnitudes is an upper limit of brightness, or missing."""


@dataclass
class Scan:
    """What a pass through the rows has counted."""

    matches: dict[str, MatchTally]
    rows: dict[Path, int] = field(default_factory=dict)
    """Rows that were read, by folder of the part."""
    footers: dict[Path, int] = field(default_factory=dict)
    """Rows that the files say they hold, likewise."""
    statuses: dict[tuple[Path, str], NDArray[np.int64]] = field(default_factory=dict)
    """Inputs by status, by folder and catalogue; a row that has no status and no match counts as unmatched."""
    pairs: dict[tuple[Path, str], int] = field(default_factory=dict)
    """Rows with a match, likewise."""


def scan(outputs: Outputs) -> Scan:
    """Read all rows once.

    Parameters
    ----------
    outputs : Outputs

    Raises
    ------
    PartitionReadError
        A file cannot be read.
    """
    tallies = {target.name: MatchTally(target, _separations(target, outputs.parts)) for target in outputs.targets}
    found = Scan(tallies)
    for part in outputs.parts:
        _scan_part(part, outputs.targets, found)
    return found


def _separations(target: Target, parts: Sequence[Part]) -> Histogram:
    radius = target.radius_arcsec
    return Histogram(0.0, _largest_distance(target, parts) if radius is None else radius, SEPARATION_BINS)


def _largest_distance(target: Target, parts: Sequence[Part]) -> float:
    """Largest separation, by the statistics of the files; 1 arcsec if these tell nothing."""
    largest = 0.0
    for path in (path for part in parts for path in part.files):
        with _readable(path), pq.ParquetFile(path) as file:
            name = match_columns(file.schema_arrow, target, (), ("ra", "dec")).distance
            at = file.schema_arrow.names.index(name)
            for group in range(file.num_row_groups):
                told = file.metadata.row_group(group).column(at).statistics
                if told is not None and told.has_min_max:
                    largest = max(largest, float(told.max))
    return largest or 1.0


def _scan_part(part: Part, targets: Sequence[Target], found: Scan) -> None:
    found.rows[part.folder] = found.footers[part.folder] = 0
    schema, columns = pa.schema([]), dict[str, MatchColumns]()
    for path in part.files:
        with _readable(path), pq.ParquetFile(path) as file:
            found.footers[part.folder] += file.metadata.num_rows
            if not columns or not file.schema_arrow.equals(schema):
                schema = file.schema_arrow
                columns = _columns(part, schema, targets)
            wanted = {HEALPIX_COLUMN, part.ra_column, part.dec_column}
            wanted |= {name for found_columns in columns.values() for name in found_columns.all}
            names = [name for name in schema.names if name in wanted]
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                found.rows[part.folder] += len(batch)
                rows = _Rows(batch, part)
                for name, own in columns.items():
                    _count(rows, own, found, name)
    if part.sky is not None:
        for tally in found.matches.values():
            tally.sky = _read_sky(part.sky, part.sky_order)


def _columns(part: Part, schema: pa.Schema, targets: Sequence[Target]) -> dict[str, MatchColumns]:
    known = part.summary.get("catalogs")
    mine = [target for target in targets if known is None or target.name in known]
    position = (part.ra_column, part.dec_column)
    return {
        target.name: match_columns(schema, target, [other for other in mine if other is not target], position)
        for target in mine
    }


class _Rows:
    """A batch of rows."""

    def __init__(self, batch: pa.RecordBatch, part: Part) -> None:
        self._batch, self._part = batch, part
        self.folder = part.folder

    def values(self, name: str) -> NDArray[np.float64]:
        """A column as float64, missing values as NaN."""
        return np.asarray(pc.cast(self._batch[name], pa.float64()).to_numpy(zero_copy_only=False))

    def labels(self, name: str) -> NDArray[np.int64]:
        """Statuses; -1 for a word that is none."""
        at = pc.fill_null(pc.index_in(self._batch[name], value_set=pa.array(STATUS_LABELS)), -1)
        return np.asarray(at.to_numpy(zero_copy_only=False)).astype(np.int64)

    def position(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right ascensions and declinations, degrees."""
        return self.values(self._part.ra_column), self.values(self._part.dec_column)

    def index(self) -> NDArray[np.int64]:
        """Cells of order 29."""
        if HEALPIX_COLUMN in self._batch.schema.names:
            return np.asarray(self._batch[HEALPIX_COLUMN].to_numpy(zero_copy_only=False)).astype(np.int64)
        return cells_of(*self.position())


def _count(rows: _Rows, columns: MatchColumns, found: Scan, name: str) -> None:
    tally = found.matches[name]
    distance = rows.values(columns.distance)
    is_pair = ~np.isnan(distance)
    key = (rows.folder, name)
    found.pairs[key] = found.pairs.get(key, 0) + int(is_pair.sum())
    if columns.status is None:
        status = np.where(is_pair, MatchStatus.MATCHED, MatchStatus.UNMATCHED).astype(np.int64)
    else:
        status = rows.labels(columns.status)
    # Of an input with several pairs, the nearest stands for it.
    first = np.ones(len(status), bool) if columns.rank is None else ~(rows.values(columns.rank) > 1)
    counts = np.bincount(status[first & (status >= 0)], minlength=len(MatchStatus))
    found.statuses[key] = found.statuses.get(key, np.zeros(len(MatchStatus), np.int64)) + counts
    placed = first & (status >= 0) & (status < len(PLACED))
    tally.sky.add(rows.index()[placed], status[placed])
    tally.separation.add(distance)
    if columns.right is not None:
        _count_offsets(rows, columns.right, is_pair, tally)
    _count_magnitudes(rows, columns, is_pair, tally)


def _count_offsets(rows: _Rows, right: tuple[str, str], is_pair: NDArray[np.bool_], tally: MatchTally) -> None:
    ra, dec = (values[is_pair] for values in rows.position())
    other_ra, other_dec = (rows.values(name)[is_pair] for name in right)
    if tally.offsets is None:
        reach = float(tally.separation.edges[-1])
        tally.offsets = Cloud((-reach, reach), (-reach, reach), OFFSET_BINS)
    tally.offsets.add(*offsets_arcsec(other_ra, other_dec, ra, dec))


def _count_magnitudes(rows: _Rows, columns: MatchColumns, is_pair: NDArray[np.bool_], tally: MatchTally) -> None:
    values = {}
    for name in columns.magnitudes:
        values[name] = rows.values(name)[is_pair]
        if name in columns.errors:
            values[name][np.isnan(rows.values(columns.errors[name])[is_pair])] = np.nan
        tally.magnitudes.setdefault(name, Histogram(*MAGNITUDES)).add(values[name])
    if columns.colour is None or not set(columns.colour) <= values.keys():
        return
    first, second = (values[name] for name in columns.colour)
    if tally.diagram is None:
        low, high, _ = MAGNITUDES
        tally.colour, tally.diagram = columns.colour, Cloud(COLOURS, (low, high), COLOUR_BINS)
    tally.diagram.add(first - second, first)
    tally.colour_limits += int((np.isnan(first) | np.isnan(second)).sum())


def _read_sky(path: Path, order: int) -> CellCounts:
    """Counts of what was matched, as the output keeps them."""
    counts = CellCounts(len(PLACED), order)
    with _readable(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            cells = batch["cell"].to_numpy()
            for kind, status in enumerate(PLACED):
                counts.add_counts(cells, kind, batch[status.key].to_numpy(), order)
    return counts


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise PartitionReadError(f"cannot be read: {first_line}", place=path, hint="make its output again") from error
    except XmatchError as error:
        raise PartitionReadError(error.message, place=path) from error
