"""The whole path on made-up data: a sky, a copy of it, an exposure of alerts, their matches, and a check of them."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from xmatch_hats.catalogs.copy import LocalCopy
    from xmatch_hats.demo.exposure import Exposure
    from xmatch_hats.demo.packets import WrittenPackets

MARKER = ".xmatch-hats-demo.json"
"""File by which a folder is known as the demo's own; no other folder is ever replaced."""
RADIUS_ARCSEC = 1.0
CATALOG = "allwise"
NIGHT = "ztf_public_20231017.tar.gz"
"""The exposure as the archive of a night, called as ZTF's are."""
_SKY = (355.6, 2.9, 17.0, 24.0)
_FIELD = (356.6, 4.0, 16.9, 23.6)
"""A camera's field of 47 square degrees that crosses RA 0, and reaches beyond the catalogue in the east and south."""
_LONGEST_DIAGONAL_DEG = 117.0
"""Of a HEALPix cell at order 0, generously; it halves with every order."""


@dataclass(frozen=True)
class DemoSettings:
    """What a demo makes, and where."""

    folder: Path
    seed: int = 1
    rows: int = 200_000
    """Sources of the catalogue."""
    alerts: int = 1_500
    """Alerts of the exposure."""


@dataclass
class DemoReport:
    """What a demo did and found."""

    counts: dict[str, Any] = field(default_factory=dict)
    """``in``, ``matched``, ``unmatched``, ``outside_coverage``, ``rejected``."""
    match_seconds: float = 0.0
    checked: int = 0
    """Packets whose answer was compared with brute force."""
    problems: list[str] = field(default_factory=list)
    """Disagreements with brute force; none is as it should be."""
    rejects: dict[str, str] = field(default_factory=dict)
    """Why packets were rejected, by file name."""
    sample: dict[str, Any] = field(default_factory=dict)
    """One matched alert: objectId, candid, ra, dec and xmatches."""
    next_commands: list[list[str]] = field(default_factory=list)


class Watcher(Protocol):
    """Somebody who watches a demo."""

    def begin(self, title: str) -> None:
        """A step begins."""

    def end(self, result: str, seconds: float) -> None:
        """The step is done."""


def run_demo(settings: DemoSettings, watcher: Watcher) -> DemoReport:
    """Make a sky, import and verify it, match an exposure of alerts with it, and check the answers.

    The folder keeps everything, so that the next commands find it.

    Parameters
    ----------
    settings : DemoSettings
        The folder is one that `prepare_folder` made.
    watcher : Watcher

    Returns
    -------
    DemoReport

    Raises
    ------
    XmatchError
        A step failed.
    """
    return _Tour(settings, watcher).run()


def check_sizes(settings: DemoSettings) -> None:
    """Refuse sizes that make no demo.

    Raises
    ------
    UsageError
        Fewer than 1,000 or more than 5,000,000 rows, fewer than 100 or more than 100,000 alerts, a negative seed.
    """
    if not 1_000 <= settings.rows <= 5_000_000:
        raise UsageError("a demo has 1,000 to 5,000,000 sources", place="--rows", value=settings.rows)
    if not 100 <= settings.alerts <= 100_000:
        raise UsageError("a demo has 100 to 100,000 alerts", place="--alerts", value=settings.alerts)
    if settings.seed < 0:
        raise UsageError("a seed is not negative", place="--seed", value=settings.seed)


def prepare_folder(settings: DemoSettings) -> None:
    """Make the folder and mark it as the demo's own; what an earlier demo left there is removed.

    Raises
    ------
    UsageError
        It holds something else, lies in a catalogue, cannot be made, or the sizes make no demo.
    """
    check_sizes(settings)
    folder = settings.folder
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("is not a folder", place=folder, hint="choose another --dir")
    if folder.is_dir():
        if (folder / MARKER).is_file():
            shutil.rmtree(folder)
        elif any(folder.iterdir()):
            raise UsageError("the folder holds something else than a demo", place=folder, hint="choose another --dir")
    refuse_inside_catalog(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marks = {"seed": settings.seed, "rows": settings.rows, "alerts": settings.alerts}
        (folder / MARKER).write_text(json.dumps(marks) + "\n")
    except OSError as error:
        raise UsageError(f"the folder cannot be made: {error.strerror}", place=folder) from error


def remove_folder(folder: Path) -> None:
    """Remove a demo's folder, and no other."""
    if (folder / MARKER).is_file():
        shutil.rmtree(folder)


class _Tour:
    def __init__(self, settings: DemoSettings, watcher: Watcher) -> None:
        from xmatch_hats.demo.sky import SkyBox

        self.settings = settings
        self.watcher = watcher
        self.folder = settings.folder
        self.report = DemoReport()
        self.sky_box, self.field_box = SkyBox(*_SKY), SkyBox(*_FIELD)
        self._result = ""

    def run(self) -> DemoReport:
        sky = self._make_sky()
        copy = self._import()
        self._verify()
        exposure, written = self._expose(sky)
        self._match(copy, written)
        self._check(sky, copy, exposure, written)
        self.report.next_commands = self._next_commands()
        return self.report

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        self.watcher.begin(title)
        yield
        self.watcher.end(self._result, time.monotonic() - started)

    def _make_sky(self) -> pa.Table:
        from xmatch_hats.demo.sky import make_sky
        from xmatch_hats.tables.write import write_table

        with self._step("making a sky"):
            sky = make_sky(self.settings.rows, seed=self.settings.seed, box=self.sky_box)
            write_table(sky, self.folder / "sky.parquet")
            density = sky.num_rows / self.sky_box.area_deg2
            self._result = f"{sky.num_rows:,} sources, {density:,.0f} per square degree, ALLWISE's columns"
        return sky

    def _import(self) -> LocalCopy:
        from xmatch_hats.catalogs.importer import build_copy
        from xmatch_hats.catalogs.region import Box

        with self._step("importing it as a HATS copy with a margin"):
            coverage = Box(*_SKY).coverage()
            copy = build_copy([self.folder / "sky.parquet"], self.folder / CATALOG, coverage=coverage)
            self._result = f"{len(copy.partitions)} partitions, margin {copy.margin_arcsec:g} arcsec"
        return copy

    def _verify(self) -> None:
        from xmatch_hats.catalogs.verify import verify_copy

        with self._step("verifying the copy"):
            found = verify_copy(self.folder / CATALOG)
            failed = [check.title for check in found.checks if check.faults]
            self.report.problems += [f"verify: {title}" for title in failed]
            self._result = f"{len(found.checks)} checks, {len(failed) or 'none'} failed"

    def _expose(self, sky: pa.Table) -> tuple[Exposure, WrittenPackets]:
        import pyarrow as pa

        from xmatch_hats.demo.exposure import make_exposure
        from xmatch_hats.demo.packets import write_archive, write_packets
        from xmatch_hats.tables.write import write_table

        with self._step("making an exposure of alerts"):
            exposure = make_exposure(sky, self.field_box, alerts=self.settings.alerts, seed=self.settings.seed)
            written = write_packets(exposure, self.folder / "packets")
            write_archive(written, self.folder / NIGHT)
            names = ("candid", "ra", "dec", "magpsf")
            targets = pa.table({name: exposure.columns[name] for name in names})
            write_table(targets, self.folder / "targets.csv")
            size = sum(path.stat().st_size for path in written.paths) / 1e6
            self._result = f"{len(exposure):,} packets of schema 3.3, {size:.0f} MB, {len(written.spoiled)} damaged"
        return exposure, written

    def _match(self, copy: LocalCopy, written: WrittenPackets) -> None:
        from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
        from xmatch_hats.step.files import run_alerts

        columns = copy.definition.xmatch_columns if copy.definition else None
        target = CatalogTarget(copy, name=CATALOG, radius_arcsec=RADIUS_ARCSEC, columns=columns)
        with self._step("matching the alerts with the copy"):
            with Crossmatcher([target], workers=0) as matcher:
                done = run_alerts([self.folder / "packets"], matcher, self.folder / "matched")
            self.report.counts = done.to_json()
            self.report.match_seconds = done.seconds
            self._result = f"{done.alerts / max(done.seconds, 1e-9):,.0f} alerts per second, the first use included"
        for path in written.spoiled:
            reason = self.folder / "matched.rejects" / f"{path.name}.reason.json"
            if reason.is_file():
                self.report.rejects[path.name] = json.loads(reason.read_text())["message"]

    def _check(self, sky: pa.Table, copy: LocalCopy, exposure: Exposure, written: WrittenPackets) -> None:
        import numpy as np

        from xmatch_hats.demo import check

        with self._step("checking every answer by brute force"):
            kept = np.array([path not in written.spoiled for path in written.paths])
            sources = [path for path in written.paths if path not in written.spoiled]
            ra, dec = exposure.columns["ra"][kept], exposure.columns["dec"][kept]
            truth = check.nearest_by_brute_force(sky, ra, dec, RADIUS_ARCSEC)
            found = check.check_packets(sky, sources, self.folder / "matched", truth, self._wire_names(copy))
            cell_deg = _LONGEST_DIAGONAL_DEG / 2**copy.coverage.order
            outside = check.outside_bounds(self.sky_box, ra, dec, truth, RADIUS_ARCSEC, cell_deg)
            check.check_counts(found, self.report.counts, truth, outside, len(written.spoiled))
            self.report.checked = found.packets
            self.report.problems += found.problems
            agreement = "all agree" if not found.problems else "THEY DISAGREE"
            self._result = f"{found.packets:,} answers, {found.matches:,} matches: {agreement}"
        self._sample(sources, truth.row)

    def _wire_names(self, copy: LocalCopy) -> dict[str, str]:
        definition = copy.definition
        return {name: definition.vizier_name(name) for name in definition.xmatch_columns} if definition else {}

    def _sample(self, sources: list[Path], row: Any) -> None:
        """Show the first alert that has a match."""
        import fastavro
        import numpy as np

        matched = np.flatnonzero(row >= 0)
        if len(matched) == 0:
            return
        with (self.folder / "matched" / sources[matched[0]].name).open("rb") as file:
            (alert,) = fastavro.reader(file)
        self.report.sample = {
            "objectId": alert["objectId"],
            "candid": alert["candid"],
            "ra": alert["candidate"]["ra"],
            "dec": alert["candidate"]["dec"],
            "xmatches": alert["xmatches"],
        }

    def _next_commands(self) -> list[list[str]]:
        place, copy = str(self.folder), str(self.folder / CATALOG)
        # Without a slash an argument that is no folder would be a name.
        copy = copy if "/" in copy else f"./{copy}"
        ra, dec = (self.report.sample.get(name, 0.0) for name in ("ra", "dec"))
        # Pictures take a library that a plain installation has not.
        without_pictures = [] if importlib.util.find_spec("matplotlib") else ["--json"]
        return [
            ["catalog", "info", copy],
            ["cone", f"{ra:.5f}", f"{dec:.5f}", "60", "--catalog", copy],
            ["match", f"{place}/targets.csv", "--catalog", copy, "--radius", "2", "--out", f"{place}/matched.fits"],
            [
                "alerts",
                f"{place}/packets",
                "--catalog",
                copy,
                "--output-schema",
                "ztf-3.3",
                "--out",
                f"{place}/3.3.tar.gz",
            ],
            ["bulk", "alerts", f"{place}/{NIGHT}", "--catalog", copy, "--out", f"{place}/nights"],
            ["bulk", "report", f"{place}/nights", *without_pictures],
        ]


def command_line(words: list[str], program: str = "xmatch-hats") -> str:
    """Write a command as a shell takes it."""
    return shlex.join([program, *words])
