"""Archives of alert packets against catalogues: whole nights, resumable, provably complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xmatch_hats.bulk.alerts.archives import Archive
from xmatch_hats.bulk.alerts.columns import check_columns
from xmatch_hats.bulk.alerts.finish import FORMATS, Finisher
from xmatch_hats.bulk.alerts.packet_archive import PACKETS, is_noted
from xmatch_hats.bulk.alerts.plan import CatalogPlan, SlicePlan, plan_catalogs
from xmatch_hats.bulk.alerts.published import (
    LOG,
    STAGED,
    SUMMARY,
    WORK,
    damage,
    is_output,
    read_json,
    read_notes,
    staged,
)
from xmatch_hats.bulk.alerts.slice_book import SliceBook
from xmatch_hats.bulk.alerts.slices import SLICE_BYTES, SLICE_MEMBERS, read_slices
from xmatch_hats.bulk.alerts.work import match_slice
from xmatch_hats.bulk.runs.dispatch import ATTEMPTS, run_tasks
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.provenance import PROVENANCE_NAME, file_input, provenance
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.bulk.runs.task import Failure, Outcome, Task
from xmatch_hats.bulk.runs.watch import Listener, Watch
from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.catalogs.staging import Staging, refuse_existing
from xmatch_hats.display import as_html, from_here
from xmatch_hats.errors import AccountError, CatalogError, OutputError, SystemFailure, UsageError
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.targets import CatalogTarget


@dataclass(frozen=True)
class AlertsSettings:
    """What is made of archives."""

    columns: Sequence[str] | None = None
    """Fields of `candidate` beside the usual ones."""
    kind: str = FORMATS[0]
    """``hats`` collections or ``parquet`` datasets."""
    dedup: bool = False
    """Whether alerts of a number that an earlier member has are left out."""
    packets: Path | None = None
    """Folder for archives of the packets with ``xmatches``."""
    redo: bool = False
    """Whether to do again what is done."""
    attempts: int = ATTEMPTS
    """How often a slice is tried."""


@dataclass(frozen=True)
class ArchiveReport:
    """What became of one archive."""

    archive: str
    night: str
    path: Path
    summary: dict[str, Any] | None
    """None where slices failed: there is no output then."""
    was_done: bool = False
    """Whether an earlier run had finished it."""
    skipped: tuple[str, ...] = ()
    """Slices that earlier runs had done."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """Slices that were set aside."""

    def __repr__(self) -> str:
        told = f"{self.summary['rows']:,} rows" if self.summary else f"{len(self.failed):,} slices failed, no output"
        return f"<ArchiveReport {self.archive}, night {self.night}: {told}, {from_here(self.path)}>"

    def _repr_html_(self) -> str:
        counts = {name: number for name, number in (self.summary or {}).items() if isinstance(number, int)}
        facts = {"night": self.night, "output": self.path, "slices that failed": len(self.failed)}
        return as_html(f"ArchiveReport of {self.archive}", facts | {n.replace("_", " "): v for n, v in counts.items()})

    @property
    def is_whole(self) -> bool:
        """Whether everything in the archive was matched: no slice failed, and nothing was lost by damage."""
        return self.summary is not None and self.summary["damage"] is None

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self) | {"path": str(self.path), "is_whole": self.is_whole}


def crossmatch_alerts(
    archives: Sequence[Archive],
    targets: Sequence[CatalogTarget],
    out: Path | str,
    settings: AlertsSettings | None = None,
    *,
    scheduler: Scheduler | None = None,
    listener: Listener | None = None,
) -> Iterator[ArchiveReport]:
    """Crossmatch the alerts of archives; the same call takes up one that was killed.

    Parameters
    ----------
    archives : sequence of Archive
        As `xmatch_hats.bulk.alerts.archives.open_archives` finds them.
    targets : sequence of CatalogTarget
        The catalogues.
    out : Path or str
        Each archive's output goes to ``night=YYYYMMDD/archive=STEM`` in it, and replaces one of other inputs or
        settings that is there; anything else there is left alone.
    settings : AlertsSettings, optional
    scheduler : Scheduler, optional
        Where to work; default threads of this process.
    listener : Listener, optional
        Told what is worth telling, and how far the archive is that is worked on.

    Yields
    ------
    ArchiveReport
        One for each archive, in order, when it is done.

    Raises
    ------
    UsageError
        Settings that cannot mean anything.
    CatalogError
        A catalogue that cannot be used, an output that is being written by somebody else, or something else in its
        place, or in that of an archive of packets.
    OutputError, RemoteError, SystemFailure
        The output cannot be written, an archive cannot be read, the workers were lost: what is done is kept.

    Notes
    -----
    A worker holds one slice, some 8 MiB of packets, their rows and, where they are asked for, the new packets; or one
    packet that is larger, 256 MiB at most and as much again decompressed. Beside it lie the partitions that its engine
    keeps open: 1 GiB at most, or a quarter of what the worker may use. This process holds slices that are on their
    way, 256 MiB at most.
    """
    settings = settings or AlertsSettings()
    run = _Run(Path(out).expanduser().absolute(), settings, plan_catalogs(targets), listener)
    run.check(archives)
    if scheduler is not None:
        for archive in archives:
            yield run.match(archive, scheduler)
        return
    with Scheduler(workers=0) as own:
        for archive in archives:
            yield run.match(archive, own)


def is_done(archive: Archive, catalogs: tuple[CatalogPlan, ...], out: Path | str, settings: AlertsSettings) -> bool:
    """Whether `crossmatch_alerts` would find an archive done."""
    run = _Run(Path(out).expanduser().absolute(), settings, catalogs)
    run.check([archive])
    return run.finished(archive) is not None


class _Run:
    """One call."""

    def __init__(
        self,
        out: Path,
        settings: AlertsSettings,
        catalogs: tuple[CatalogPlan, ...],
        listener: Listener | None = None,
    ) -> None:
        if settings.kind not in FORMATS:
            raise UsageError(f"there is no format {settings.kind!r}", hint=f"choose from {', '.join(FORMATS)}")
        self._out, self._settings, self._catalogs = out, settings, catalogs
        self._listener = listener or Listener()
        self._say = self._listener.say
        self._columns = check_columns(settings.columns)

    def check(self, archives: Sequence[Archive]) -> None:
        """Refuse outputs that would take the place of inputs, lie in a catalogue, or replace what is no such output."""
        for archive in archives:
            out, target = self._path(archive), self._packets_of(archive)
            if not is_output(out):
                refuse_existing(out)
            refuse_inside_catalog(out)
            if target is None:
                continue
            refuse_inside_catalog(target)
            if [self._packets_of(other) for other in archives].count(target) > 1:
                raise UsageError("two archives would have this one of packets", place=target, hint="rename one of them")
            if not target.exists():
                continue
            if target.resolve() == Path(archive.place).resolve():
                raise UsageError(
                    "would be written over the archive itself", place=target, hint="choose other --packets"
                )
            notes = [read_notes(out, PACKETS), read_json(staged(out) / PACKETS)]
            if not any(is_noted(target, note) for note in notes):
                raise CatalogError(
                    f"exists already, and is not what was written with {out}",
                    place=target,
                    hint="choose other --packets, or remove it first",
                )

    def match(self, archive: Archive, scheduler: Scheduler) -> ArchiveReport:
        """Work off one archive."""
        out = self._path(archive)
        facts = self._facts(archive)
        packets = self._packets_of(archive)
        if (summary := self.finished(archive)) is not None:
            self._say(f"{archive.stem}: is done already, with the same settings")
            _sweep(out)
            return ArchiveReport(archive.stem, archive.night, out, summary, was_done=True)
        with Staging(out, facts, self._say, work=STAGED, replaces=is_output(out)) as staging:
            plan = SlicePlan(
                archive.place, archive.stem, self._catalogs, self._columns, packets is not None, staging.own("slices")
            )
            book = SliceBook(staging.path("book"))
            shared = Shared.write(plan, staging.own("plan.pickle"))
            outcome = self._work_off(archive, shared, book, staging, scheduler)
            if outcome.failed:
                return ArchiveReport(
                    archive.stem, archive.night, out, None, skipped=outcome.skipped, failed=outcome.failed
                )
            archive.require_unchanged()
            if book.end is None:
                raise AccountError("its end was not met", place=archive.place)
            finisher = Finisher(
                archive, shared, staging.folder, [piece.name for piece in book.slices], outcome.done, book.end,
                self._settings.dedup, self._settings.kind, packets, facts, self._say,
            )  # fmt: skip
            built, summary = finisher.build()
            staging.publish(built)
        return ArchiveReport(archive.stem, archive.night, out, summary, skipped=outcome.skipped)

    def finished(self, archive: Archive) -> dict[str, Any] | None:
        """Summary of an archive's output, if it is there, of the same inputs and settings, and whole."""
        out, packets = self._path(archive), self._packets_of(archive)
        if self._settings.redo or read_notes(out, PROVENANCE_NAME) != self._facts(archive):
            return None
        fault = damage(out)
        if fault is None and packets is not None and not is_noted(packets, read_notes(out, PACKETS)):
            fault = CatalogError("is not there as it was written", place=packets)
        if fault is not None:
            self._say(f"{archive.stem}: was done, but {fault.place}: {fault.message}; it is done again")
            return None
        return read_notes(out, SUMMARY)

    def _path(self, archive: Archive) -> Path:
        return self._out / f"night={archive.night}" / f"archive={archive.stem}"

    def _work_off(
        self,
        archive: Archive,
        shared: Shared[SlicePlan],
        book: SliceBook,
        staging: Staging,
        scheduler: Scheduler,
    ) -> Outcome:
        ledger = Ledger(staging.own("ledger"))
        show = partial(self._listener.show, archive.stem)
        watch = Watch(staging.path(LOG), size=archive.size, settings=self._facts(archive), show=show)
        outcome = run_tasks(
            _tasks(archive, book, shared, ledger, self._say),
            ledger,
            scheduler,
            attempts=self._settings.attempts,
            watch=watch,
            stop_on=STOPS,
        )
        if outcome.skipped:
            self._say(f"{archive.stem}: {len(outcome.skipped)} of {len(book.slices)} slices were done already")
        return outcome

    def _packets_of(self, archive: Archive) -> Path | None:
        folder = self._settings.packets
        return None if folder is None else folder.expanduser().absolute() / f"{archive.stem}.tar.gz"

    def _facts(self, archive: Archive) -> dict[str, Any]:
        """What determines the output of an archive, and what it was made from."""
        settings = {
            "catalogs": [catalog.to_json() for catalog in self._catalogs],
            "alert_columns": list(self._columns),
            "night": archive.night,
            "format": self._settings.kind,
            "dedup": self._settings.dedup,
            "packets": self._settings.packets is not None,
            "slice_members": SLICE_MEMBERS,
            "slice_bytes": SLICE_BYTES,
        }
        source = file_input(archive.place, archive.size) | {"state": archive.state}
        facts = provenance(WORK, [source, *(catalog.facts for catalog in self._catalogs)], settings)
        return dict(json.loads(json.dumps(facts, default=str)))


STOPS = (AccountError, OutputError, SystemFailure)
"""Errors of a slice that no other slice would be without."""


def _tasks(
    archive: Archive, book: SliceBook, shared: Shared[SlicePlan], ledger: Ledger, say: Callable[[str], None]
) -> Iterator[Task]:
    for piece, data in read_slices(archive, book, ledger.done().keys(), say):
        arguments = () if data is None else (shared, piece.name, piece.first_member, piece.members, data)
        yield Task(piece.name, piece.compressed, match_slice, arguments)


def _sweep(out: Path) -> None:
    """Remove what a run leaves that was killed when its output was published."""
    with suppress(CatalogError), Staging(out, {}, lambda _: None, work=STAGED):
        pass
