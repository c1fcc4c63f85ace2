"""The first stage of an import: each source is read once, checked, and laid down as parquet in canonical columns.

Reading text is by far the slowest part of an import, and the conversion passes over its input twice; so the sources are
read once, here, and the passes run over parquet, which also splits one large source between workers. It costs disk
space for one more compressed copy while the import runs. Memory is bounded by one part (`PART_ROWS` rows) a worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.encodings import Sample
from xmatch_hats.catalogs.layout import ROW_COLUMN
from xmatch_hats.catalogs.manifest import sha256_file
from xmatch_hats.catalogs.sources import ImportPlan
from xmatch_hats.errors import TableError
from xmatch_hats.healpix import MAX_ORDER, cells_of
from xmatch_hats.sphere import PositionFault, position_faults

PART_ROWS = 500_000
"""Rows of one part: 200 MB in memory for ALLWISE at its full width, and few enough shards in the conversion."""

COUNT_ORDER = 9
"""Order of the cells in which rows are counted; at ALLWISE's densest a cell holds about 2,500 rows."""

REJECTED_FILE = "rejected.parquet"
"""Rows without a position, of a source and of a copy."""
DROPPED_SHARE = 0.001
PLACES_KEPT = 10


@dataclass(frozen=True)
class Intake:
    """What was taken in of one source."""

    path: str
    bytes: int
    sha256: str
    rows: int
    """Rows of the source."""
    parts: tuple[str, ...]
    """Parquet files, by name in the source's folder."""
    dropped: int
    """Rows without a position on the sphere."""
    places: tuple[str, ...]
    """The first of them."""
    self_check: dict[str, Any] | None
    left_out: tuple[str, ...] = ()
    """Columns that only this source has, and not the first."""
    wrapped: int = 0
    """Rows whose right ascension was brought into 0...360 degrees."""


def take_in(path: Path, folder: Path, plan: ImportPlan) -> Intake:
    """Read, check and lay down one source; what an earlier, interrupted call finished is taken over.

    Parameters
    ----------
    path : Path
        The source.
    folder : Path
        Where its parts go.
    plan : ImportPlan

    Raises
    ------
    TableError
        The source cannot be read, or more than one row in a thousand has no position.
    SelfCheckError, DefinitionError
        Its values contradict the definition.
    """
    record = folder / "intake.json"
    if record.exists():
        return _load(record)
    folder.mkdir(parents=True, exist_ok=True)
    state = path.stat()
    with pq.ParquetWriter(folder / REJECTED_FILE, plan.schema) as rejected:
        reader = _Reader(path, plan, rejected)
        parts = _write_parts(reader.tables(), folder, plan.schema)
    if not plan.keeps_rejects:
        _refuse_dropped(path, reader)
    report = reader.finish()
    np.savez(folder / "counts.npz", cells=reader.counted_cells, counts=reader.counts)
    pq.write_table(reader.sample.rows, folder / "sample.parquet")
    intake = Intake(
        path=str(path),
        bytes=state.st_size,
        sha256=sha256_file(path),
        rows=reader.rows,
        parts=tuple(parts),
        dropped=reader.dropped,
        places=tuple(reader.places),
        self_check=report,
        left_out=tuple(reader.left_out),
        wrapped=reader.wrapped,
    )
    temporary = record.with_suffix(".new")
    temporary.write_text(json.dumps(intake.__dict__), encoding="utf-8")
    temporary.replace(record)
    return intake


def read_counts(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Occupied cells of order `COUNT_ORDER` of one source, ascending, and the rows in each."""
    with np.load(folder / "counts.npz") as file:
        return file["cells"], file["counts"]


def gather_rejects(folders: Sequence[Path], path: Path) -> None:
    """Put the rows without a position of all sources into one file, if there are any."""
    path.unlink(missing_ok=True)
    files = [pq.ParquetFile(folder / REJECTED_FILE) for folder in folders]
    if not any(file.metadata.num_rows for file in files):
        return
    with pq.ParquetWriter(path, files[0].schema_arrow, compression="zstd") as writer:
        for file in files:
            for batch in file.iter_batches():
                writer.write_batch(batch)


def tell(intakes: Sequence[Intake], *, keeps_rejects: bool) -> Iterator[str]:
    """Sentences on what was not as it should be and was taken in all the same."""
    from xmatch_hats.catalogs.selfcheck import SelfCheckReport

    for intake in intakes:
        if intake.left_out:
            names = ", ".join(intake.left_out[:10])
            yield f"{intake.path}: has columns that the first source lacks, left out: {names}"
        if intake.self_check is not None:
            for sentence in SelfCheckReport.model_validate(intake.self_check).sentences():
                yield f"{intake.path}: {sentence}; kept, as they are few"
        if intake.wrapped:
            yield f"{intake.path}: {intake.wrapped} right ascensions outside of 0...360 degrees are brought into it"
    if dropped := sum(intake.dropped for intake in intakes):
        places = [place for intake in intakes for place in intake.places]
        fate = "rejected" if keeps_rejects else "left out"
        yield f"{dropped} rows have no position on the sphere and are {fate}: {'; '.join(places[:3])}"


def read_sample(folders: Sequence[Path], plan: ImportPlan) -> pa.Table:
    """Some rows of all sources together, the same in whatever order these and their rows are."""
    sample = Sample(plan.schema)
    for folder in folders:
        rows = pq.read_table(folder / "sample.parquet", schema=plan.schema, partitioning=None)
        sample.add(rows, cells_of(rows[plan.ra_column].to_numpy(), rows[plan.dec_column].to_numpy()))
    return sample.rows


class _Reader:
    """One pass over a source, with its counters."""

    def __init__(self, path: Path, plan: ImportPlan, rejected: pq.ParquetWriter) -> None:
        self.path = path
        self.plan = plan
        self._rejected = rejected
        self.rows = 0
        self.dropped = 0
        self.wrapped = 0
        self.places: list[str] = []
        self.left_out: list[str] = []
        self.counted_cells = np.empty(0, np.int64)
        self.counts = np.empty(0, np.int64)
        self.sample = Sample(plan.schema)
        self._checker = _checker(plan)

    def tables(self) -> Iterator[pa.RecordBatch]:
        """Checked batches in the copy's columns, positions on the sphere only."""
        source = self.plan.open(self.path)
        names = self.plan.source_columns(source)
        self.left_out = self.plan.columns_left_out(source)
        for batch in source.batches(columns=names):
            if batch.num_rows == 0:
                continue
            first_row = self.rows
            self.rows += batch.num_rows
            yield self._placed(self._canonical(batch), first_row)

    def finish(self) -> dict[str, Any] | None:
        """Self-checks of the whole source, as JSON."""
        if self._checker is None:
            return None
        report: dict[str, Any] = self._checker.finish(self.path).model_dump(mode="json")
        return report

    def _canonical(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        definition = self.plan.definition
        if definition is not None:
            batch = definition.canonicalise(batch, self.path)
        if self._checker is not None:
            self._checker.check(batch)
        return batch

    def _placed(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        """Drop what has no position, wrap right ascensions, number the rows, take the copy's columns."""
        ra = self._coordinate(batch, self.plan.ra_column)
        dec = self._coordinate(batch, self.plan.dec_column)
        faults = position_faults(ra, dec)
        keep = faults == PositionFault.NONE
        if not keep.all():
            self._note_dropped(faults, first_row)
        # In-range values stay as they are to the last bit; others are the same position under the usual name.
        outside = ((ra < 0.0) | (ra >= 360.0)) & keep
        self.wrapped += int(np.count_nonzero(outside))
        ra = np.where(outside, np.mod(ra, 360.0), ra)
        arrays = []
        for column in self.plan.schema:
            if column.name == ROW_COLUMN and self.plan.keeps_rows:
                arrays.append(pa.array(np.arange(first_row, first_row + batch.num_rows, dtype=np.int64)))
            elif column.name == self.plan.ra_column:
                arrays.append(pa.array(ra))
            elif column.name == self.plan.dec_column:
                arrays.append(pa.array(dec))
            else:
                arrays.append(self._cast(batch.column(column.name), column))
        placed = pa.RecordBatch.from_arrays(arrays, schema=self.plan.schema)
        if not keep.all():
            if self.plan.keeps_rejects:
                self._rejected.write_batch(placed.filter(pa.array(~keep)))
            placed = placed.filter(pa.array(keep))
        index = cells_of(ra[keep], dec[keep])
        self._count(index)
        self.sample.add(placed, index)
        return placed

    def _coordinate(self, batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
        column = batch.column(name)
        try:
            values = pc.cast(column, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(f"column {name} is not in decimal degrees: {error}", place=self.path) from error
        return values.to_numpy(zero_copy_only=False)

    def _cast(self, values: pa.Array, column: pa.Field) -> pa.Array:
        if values.type == column.type:
            return values
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        try:
            return pc.cast(values, column.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(f"column {column.name} cannot be {column.type}: {error}", place=self.path) from error

    def _note_dropped(self, faults: NDArray[np.uint8], first_row: int) -> None:
        bad = np.flatnonzero(faults)
        self.dropped += len(bad)
        for row in bad[: PLACES_KEPT - len(self.places)]:
            reason = PositionFault(int(faults[row])).reason
            self.places.append(f"{self.path.name}: row {first_row + int(row) + 1}: {reason}")

    def _count(self, index: NDArray[np.int64]) -> None:
        cells, counts = np.unique(index >> 2 * (MAX_ORDER - COUNT_ORDER), return_counts=True)
        self.counted_cells, self.counts = merge_counts([(self.counted_cells, self.counts), (cells, counts)])


def merge_counts(
    counted: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add up counts per cell: ascending cells, and their sums."""
    cells = np.concatenate([cells for cells, _ in counted])
    counts = np.concatenate([counts for _, counts in counted])
    merged, place = np.unique(cells, return_inverse=True)
    sums = np.zeros(len(merged), np.int64)
    np.add.at(sums, place, counts)
    return merged, sums


def _checker(plan: ImportPlan) -> Any:
    if plan.definition is None:
        return None
    from xmatch_hats.catalogs.selfcheck import SelfChecker

    return SelfChecker(plan.definition)


def _write_parts(batches: Iterator[pa.RecordBatch], folder: Path, schema: pa.Schema) -> list[str]:
    """Write batches as parquet files of about `PART_ROWS` rows; the names of those with rows."""
    names: list[str] = []
    writer, rows = None, 0
    try:
        for batch in batches:
            for start in range(0, batch.num_rows, PART_ROWS):
                if writer is None:
                    names.append(f"part-{len(names):06d}.parquet")
                    # The parts live for minutes: speed counts, and lz4 is the fastest that still shrinks.
                    writer, rows = pq.ParquetWriter(folder / names[-1], schema, compression="lz4"), 0
                piece = batch.slice(start, PART_ROWS)
                writer.write_batch(piece)
                rows += piece.num_rows
                if rows >= PART_ROWS:
                    writer.close()
                    writer = None
    except OSError as error:
        raise TableError(f"cannot be taken in: {error}", place=folder) from error
    finally:
        if writer is not None:
            writer.close()
    return names


def _refuse_dropped(path: Path, reader: _Reader) -> None:
    if reader.dropped > DROPPED_SHARE * reader.rows:
        first = "; ".join(reader.places[:3])
        raise TableError(
            f"{reader.dropped} of {reader.rows} rows have no position on the sphere: {first}",
            place=path,
            hint="up to one row in a thousand is left out; are the coordinates in degrees?",
        )


def _load(record: Path) -> Intake:
    values: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Intake(**(values | lists))
