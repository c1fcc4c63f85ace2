"""A report as a whole: from a folder of outputs to its accounting, and to a page with pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from xmatch_hats.bulk.report.accounting import Accounting, account
from xmatch_hats.bulk.report.outputs import Outputs, Target, find_outputs
from xmatch_hats.bulk.report.scan import MatchTally, Scan, scan
from xmatch_hats.bulk.runs.provenance import copy_input
from xmatch_hats.bulk.runs.whole import unwritable
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.display import as_html
from xmatch_hats.errors import AccountError, UsageError, XmatchError
from xmatch_hats.plots.chance import Density, expected_pairs, local_density
from xmatch_hats.plots.extra import require_matplotlib

if TYPE_CHECKING:
    from xmatch_hats.bulk.report.pictures import Picture

PAGE = "report.html"


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
        return f"<Report of {self.outputs.folder}: {self.accounting.total()['in']:,} in, {told}>"

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
        Folder for `PAGE` and its pictures, none are drawn without; an earlier report there is replaced.
    recount : bool, optional
        Whether archives of alerts are read again, and their members counted.

    Returns
    -------
    Report
        Whose accounts need not add up: see `Report.require_whole`.

    Raises
    ------
    UsageError
        There is nothing to report on, `out` is something else, or Matplotlib is not installed.
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
    page = None
    if target is not None:
        page = _write(target, outputs, accounting, scanned, densities)
    return Report(outputs, accounting, page, facts)


def _check_target(target: Path) -> None:
    require_matplotlib("or give --json alone")
    if target.exists() and not (target / PAGE).is_file() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError("exists, and is no report", place=target, hint="give another --out")


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


def _write(
    target: Path,
    outputs: Outputs,
    accounting: Accounting,
    scanned: Scan,
    densities: dict[str, tuple[Density | None, str]],
) -> Path:
    from xmatch_hats.bulk.report.page import write_page
    from xmatch_hats.bulk.report.pictures import draw_pictures

    drawn: list[tuple[str, list[Picture]]] = []
    for name, tally in scanned.matches.items():
        drawn.append((name, list(draw_pictures(tally, *densities[name]))))
    with _replacing(target) as folder:
        for _, pictures in drawn:
            for picture in pictures:
                (folder / f"{picture.name}.png").write_bytes(picture.data)
        (folder / PAGE).write_text(write_page(outputs, accounting, drawn), encoding="utf-8")
    return target / PAGE


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Make a folder beside the target, and put it in its place when it is whole."""
    folder = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield folder
        folder.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
