"""Numbers and pictures of the selected rows of tables, as the selection step of an image pipeline gives them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from xmatch_hats.errors import TableError
from xmatch_hats.images.fits_images import Naming
from xmatch_hats.images.moments import Mode, Moments
from xmatch_hats.images.quantities import Quantities
from xmatch_hats.images.scratch import scratch_folder
from xmatch_hats.tables.fits_stored import open_stored
from xmatch_hats.whole import written_whole

__all__ = ["Statistics", "StatisticsJob", "StatisticsOutcome", "write_statistics"]

CHUNK_BYTES = 64 << 20
"""Of a table, that are mapped into memory at once."""


class StatisticsOutcome(StrEnum):
    """What became of a table."""

    WRITTEN = "written"
    KEPT = "kept"
    FAILED = "not read"


@dataclass(frozen=True)
class Statistics:
    """What is known of the selected rows of one table."""

    table: str
    file: str
    """Name of the file of numbers; empty where there is none."""
    outcome: StatisticsOutcome
    rows: int = 0
    """Of the table."""
    selected: int = 0
    matched: int = 0
    """Of the selected rows."""
    pictures: tuple[str, ...] = ()
    """Names of their files."""
    numbers: dict[str, dict[str, float]] = field(default_factory=dict)
    """By quantity: ``number``, ``mean``, ``mode``, ``deviation``, ``low`` and ``high``."""
    reason: str = ""


@dataclass(frozen=True)
class StatisticsJob:
    """What of tables is told, and where."""

    out: Path
    """Folder, made if need be."""
    naming: Naming = field(default_factory=lambda: Naming("stat", may_lack=True))
    select: str | None = None
    """A pandas query on the table's columns; None: all rows."""
    magnitude: str | None = None
    """Column; None: ``MAG_AUTO``, else the table's first in magnitudes."""
    colour: tuple[str, str] | None = None
    """Columns, the second taken from the first; None: the magnitude less the catalogue's first one."""
    columns: tuple[str, ...] = ()
    """Further ones that are told of."""
    hdu: int | str | None = None
    """Number or name of the table's HDU; None: ``LDAC_OBJECTS``, ``RESULTS``, or the first table."""
    pictures: bool = True
    overwrite: bool = False
    """Whether files that exist are written anew."""


def write_statistics(
    paths: Sequence[Path], job: StatisticsJob, *, on_table: Callable[[int], None] = lambda _: None
) -> list[Statistics]:
    """Write the statistics of the selected rows of tables, and draw them; each table is read twice, in pieces.

    Parameters
    ----------
    paths : sequence of Path
        FITS files, such as `match_tables` writes.
    job : StatisticsJob
    on_table : callable
        Told how many tables are done.

    Returns
    -------
    list of Statistics
        One for each table, in order; those that could not be read are among them.

    Raises
    ------
    UsageError
        Two tables lead to the same name, the query cannot be one of a table, or Matplotlib is not installed.
    TableError
        The only table cannot be read, or lacks a column.
    OutputError
        A file cannot be written.
    """
    if job.pictures:
        from xmatch_hats.plots.extra import require_matplotlib

        require_matplotlib("or ask for numbers alone: --no-pictures")
    numbers = job.naming.numbers(paths, "give them apart, or tell where the number is: --number")
    names = [f"{job.naming.prefix}{number}.txt" for number in numbers]
    told: list[Statistics] = []
    with scratch_folder(job.out) as scratch:
        for done, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
            if (job.out / name).exists() and not job.overwrite:
                told.append(Statistics(str(path), name, StatisticsOutcome.KEPT))
            else:
                try:
                    told.append(_of_table(path, name, job, scratch))
                except TableError as error:
                    if len(paths) == 1:
                        raise
                    told.append(Statistics(str(path), "", StatisticsOutcome.FAILED, reason=str(error)))
            on_table(done)
    return told


def _of_table(path: Path, name: str, job: StatisticsJob, scratch: Path) -> Statistics:
    quantities = Quantities.of(open_stored(path, job.hdu), job.select, job.magnitude, job.colour, job.columns)
    moments = {quantity: Moments() for quantity in quantities.units}
    selected = matched = 0
    for start, stop in _stretches(quantities):
        rows = quantities.take(start, stop)
        selected += len(rows.is_matched)
        matched += int(rows.is_matched.sum())
        for quantity, counted in moments.items():
            counted.add(rows.values[quantity])
    modes = {quantity: Mode(counted) for quantity, counted in moments.items()}
    drawn = _second_pass(quantities, moments, modes, selected, job, path)
    pictures = []
    for kind, data in drawn:
        stem = f"{job.naming.prefix}_{kind}{job.naming.number(path)}.png"
        with written_whole(job.out / stem, scratch) as file:
            file.write(data)
        pictures.append(stem)
    numbers = {
        quantity: {
            "number": counted.number, "mean": counted.mean, "mode": modes[quantity].value(),
            "deviation": counted.deviation, "low": counted.low, "high": counted.high,
        }
        for quantity, counted in moments.items()
    }  # fmt: skip
    outcome = StatisticsOutcome.WRITTEN
    made = Statistics(str(path), name, outcome, quantities.table.rows, selected, matched, tuple(pictures), numbers)
    # The file of numbers comes last: where it is, the pictures are.
    with written_whole(job.out / name, scratch) as file:
        file.write(_text(made, quantities, job).encode("utf-8"))
    return made


def _stretches(quantities: Quantities) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK_BYTES // max(1, quantities.table.row_bytes))
    for start in range(0, quantities.table.rows, step):
        yield start, min(start + step, quantities.table.rows)


def _second_pass(
    quantities: Quantities, moments: dict[str, Moments], modes: dict[str, Mode], selected: int, job: StatisticsJob,
    path: Path,
) -> Sequence[tuple[str, bytes]]:  # fmt: skip
    """Count what needs the results of the first pass, and give the pictures."""
    pictures = None
    if job.pictures:
        from xmatch_hats.images.selection_plots import Pictures

        title = f"{path.name}: {selected:,} of {quantities.table.rows:,} rows"
        pictures = Pictures(quantities, moments, selected, title)
    for start, stop in _stretches(quantities):
        rows = quantities.take(start, stop)
        for quantity, mode in modes.items():
            mode.add(rows.values[quantity])
        if pictures is not None:
            pictures.add(rows)
    return [] if pictures is None else list(pictures.draw())


_WORDS = {"mean": "Mean", "mode": "Mode", "deviation": "Standard deviation", "low": "Min", "high": "Max"}


def _text(made: Statistics, quantities: Quantities, job: StatisticsJob) -> str:
    """A line for each number, ``what = number``, behind lines of comments."""
    lines = ["# Statistics", f"# {Path(made.table).name}[{quantities.table.number}]"]
    lines.append(f"# selection: {' '.join((job.select or 'all rows').split())}")
    if quantities.facts.get("XMCATLOG"):
        lines.append(f"# matched with {quantities.facts['XMCATLOG']} within {quantities.facts['XMRADIUS']} arcsec")
    lines.append(f"Nb objects full cat = {made.rows}")
    lines.append(f"Nb selected = {made.selected}")
    if quantities.distance is not None:
        lines.append(f"Nb selected matched = {made.matched}")
    for key, words in (("XMROWS", "before matching"), ("XMOUTSID", "outside coverage before selection")):
        if key in quantities.facts:
            lines.append(f"Nb objects {words} = {quantities.facts[key]}")
    units = quantities.units
    for name, numbers in made.numbers.items():
        unit = f" ({units[name]})" if units[name] else ""
        lines.append(f"Nb {name} = {numbers['number']:.0f}")
        lines += [f"{words} {name}{unit} = {_number(numbers[key])}" for key, words in _WORDS.items()]
    return "\n".join([*lines, ""])


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "nan"


def __dir__() -> list[str]:
    return sorted(__all__)
