"""A report as a whole: from a folder of outputs to its accounting, and to a page with pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmatch_hats.bulk.report.accounting import Accounting, account
from xmatch_hats.bulk.report.outputs import Outputs, Target, find_outputs
from xmatch_hats.bulk.report.scan import MatchTally, Scan, scan
from xmatch_hats.bulk.runs.provenance import copy_input
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.display import as_html, from_here
from xmatch_hats.errors import AccountError, UsageError, XmatchError
from xmatch_hats.plots.chance import Density, expected_pairs, local_density
from xmatch_hats.plots.extra import require_matplotlib
from xmatch_hats.whole import unwritable, written_whole

if TYPE_CHECKING:
    from xmatch_hats.bulk.report.pictures import Picture

PAGE, NUMBERS = "report.html", "report.json"
MADE_BY = "xmatch-hats bulk report"
"""By which `NUMBERS` tell that a folder is a report, and which files are its own."""


@dataclass(frozen=True)
class Report:
    """What became of everything that came in."""

    outputs: Outputs
    accounting: Accounting
    page: Path | None
    """The page that was written."""
    matches: dict[str, dict[str, float | None]]
    """By catalogue: median separation and offsets, arcsec, and pairs that are expected by chance."""

    def __repr__(self) -> str:
        wrong = len(self.accounting.differences)
        told = f"{wrong:,} differences" if wrong else f"{len(self.accounting.checks):,} checks agree"
        return f"<Report of {from_here(self.outputs.folder)}: {self.accounting.total()['in']:,} in, {told}>"

    def _repr_html_(self) -> str:
        total = {name.replace("_", " "): number for name, number in self.accounting.total().items()}
        facts = {"outputs": self.outputs.folder, "page": self.page, **total}
        totals = {name: self.accounting.total_of(name) for name in self.matches}
        keys = next(iter(totals.values()), {})
        names = ("catalogue", *(key.replace("_", " ") for key in keys))
        rows = [(name, *counts.values()) for name, counts in totals.items()]
        return as_html("Report", facts | {"differences": len(self.accounting.differences)}, names, rows)

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        accounting = self.accounting
        return {
            "path": str(self.outputs.folder),
            "work": self.outputs.kind,
            "report": None if self.page is None else str(self.page),
            **accounting.total(),
            "catalogs": {name: accounting.total_of(name) | facts for name, facts in self.matches.items()},
            "outputs": [one.to_json() for one in accounting.accounts],
            "unfinished": list(self.outputs.unfinished),
            "checks": len(accounting.checks),
            "differences": [asdict(check) for check in accounting.differences],
            "unchecked": list(accounting.unchecked),
            "remarks": list(self.outputs.remarks),
        }

    def require_whole(self) -> None:
        """Refuse accounts that do not add up.

        Raises
        ------
        AccountError
            The first difference is named.
        """
        wrong = self.accounting.differences
        if wrong:
            others = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            raise AccountError(f"{wrong[0].words}{others}", place=wrong[0].place)


def make_report(folder: Path | str, out: Path | str | None = None, *, recount: bool = False) -> Report:
    """Account for everything that went into the outputs of a folder, and draw what became of it.

    All rows are read once, a batch at a time: memory does not grow with their number.

    Parameters
    ----------
    folder : Path or str
        The ``--out`` of ``bulk alerts``, the output of one of its archives, or that of ``bulk merge`` or
        ``bulk catalogs``.
    out : Path or str, optional
        Folder for `PAGE`, its pictures and `NUMBERS`, none are drawn without. The files of an earlier report there are
        replaced, and no others.
    recount : bool, optional
        Whether archives of alerts are read again, and their members counted.

    Returns
    -------
    Report
        Whose accounts need not add up: see `Report.require_whole`.

    Raises
    ------
    UsageError
        There is nothing to report on, `out` is something else or lies in a catalogue, or Matplotlib is not installed.
    CatalogError, PartitionReadError
        Outputs that are damaged.
    OutputError
        The report cannot be written.
    RemoteError
        An archive cannot be read again.
    """
    target = None if out is None else Path(out).expanduser().absolute()
    outputs = find_outputs(folder)
    if target is not None:
        _check_target(target)
    scanned = scan(outputs)
    accounting = account(outputs, scanned, recount=recount)
    densities = {target.name: _density(target) for target in outputs.targets}
    facts = {name: _facts(tally, densities[name][0]) for name, tally in scanned.matches.items()}
    report = Report(outputs, accounting, None if target is None else target / PAGE, facts)
    if target is not None:
        _write(target, report, _drawn(report, scanned, densities))
    return report


def default_target(folder: Path | str) -> Path:
    """Where a report goes if nothing is said: beside the outputs, and never into a tree of them."""
    folder = Path(folder).expanduser().absolute()
    if folder.parent.name.startswith("night=") and folder.name.startswith("archive="):
        top, name = folder.parent.parent, folder.name.removeprefix("archive=")
    elif any(folder.parent.glob("night=*")):
        top, name = folder.parent, folder.name
    else:
        return folder.with_name(f"{folder.name}_report")
    return top.with_name(f"{top.name}_{name}_report")


def _check_target(target: Path) -> None:
    require_matplotlib("or give --json alone")
    is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not is_free and _own_files(target) is None:
        raise UsageError("exists, and is no report", place=target, hint="give another --out, or remove it first")
    refuse_inside_catalog(target)


def _own_files(target: Path) -> set[str] | None:
    """Names of a report's files; None where a folder is none."""
    try:
        told = json.loads((target / NUMBERS).read_bytes())
        return {Path(name).name for name in told["files"]} if told["made_by"] == MADE_BY else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _density(target: Target) -> tuple[Density | None, str]:
    """Density of a catalogue, or None, and why it is not known."""
    if target.path is None:
        return None, "which version of the catalogue was matched with is not known"
    try:
        copy = LocalCopy.open(target.path)
        if copy_input(copy)["sha256"] != target.facts["sha256"]:
            return None, f"the catalogue in {target.path} is not the one that was matched with any more"
        return local_density(copy), ""
    except XmatchError as error:
        return None, f"the catalogue cannot be read ({error})"


def _facts(tally: MatchTally, density: Density | None) -> dict[str, float | None]:
    expected = None
    if density is not None and tally.sky.settled().at(0)[1].sum():
        pairs = expected_pairs(density, tally.sky, tally.separation.edges[[0, -1]], tally.target.n_neighbors)
        expected = float(pairs.sum())
    offsets = tally.offsets
    return {
        "median_separation_arcsec": tally.separation.median(),
        "median_dra_cosdec_arcsec": None if offsets is None else offsets.x.median(),
        "median_ddec_arcsec": None if offsets is None else offsets.y.median(),
        "expected_by_chance": expected,
    }


def _drawn(report: Report, scanned: Scan, densities: Mapping[str, tuple[Density | None, str]]) -> dict[str, bytes]:
    """The page and its pictures, by name."""
    from xmatch_hats.bulk.report.page import write_page
    from xmatch_hats.bulk.report.pictures import draw_pictures

    drawn: list[tuple[str, list[Picture]]] = []
    for name, tally in scanned.matches.items():
        drawn.append((name, list(draw_pictures(tally, *densities[name]))))
    files = {f"{picture.name}.png": picture.data for _, pictures in drawn for picture in pictures}
    return files | {PAGE: write_page(report.outputs, report.accounting, drawn).encode()}


def _write(target: Path, report: Report, files: Mapping[str, bytes]) -> None:
    earlier = _own_files(target) or set()
    strange = [name for name in (*files, NUMBERS) if name not in earlier and (target / name).exists()]
    if strange:
        raise UsageError("is no file of the report there", place=target / strange[0], hint="give another --out")
    scratch = target / ".unfinished"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error

    def put(name: str, data: bytes) -> None:
        with written_whole(target / name, scratch) as file:
            file.write(data)

    def put_numbers(names: set[str]) -> None:
        # No word of where it lies: a report may be moved.
        told = {"made_by": MADE_BY, "files": sorted(names | {NUMBERS}), **report.to_json(), "report": PAGE}
        put(NUMBERS, f"{json.dumps(told, indent=1)}\n".encode())

    # First, so that whatever stops this, the next report knows what is its own.
    put_numbers(earlier | set(files))
    for name, data in files.items():
        put(name, data)
    try:
        for name in earlier - set(files) - {NUMBERS}:
            (target / name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
    put_numbers(set(files))
    shutil.rmtree(scratch, ignore_errors=True)
