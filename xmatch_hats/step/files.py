"""The loop with files at both ends: folders and archives in, a folder or an archive out, and a folder of rejects."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.alerts.enrich import Enricher, Matcher
from xmatch_hats.alerts.outputs import make_output
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.rejects import Rejects
from xmatch_hats.alerts.sinks import open_sink
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.alerts.splice import Output
from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.errors import UsageError, XmatchError
from xmatch_hats.matching.status import STATUS_LABELS, MatchStatus
from xmatch_hats.step.decoding import Decoder
from xmatch_hats.step.file_ends import FileSink, FileSource
from xmatch_hats.step.flight import ErrorPolicy
from xmatch_hats.step.garbage import rare_collections
from xmatch_hats.step.loop import BatchLimits, Loop
from xmatch_hats.step.pipeline import Pipeline
from xmatch_hats.step.report import BatchReport
from xmatch_hats.step.waiting import Stop, Waiter
from xmatch_hats.step.worker import ThreadWorker

__all__ = [
    "BATCH_BYTES",
    "DEFAULT_BATCH",
    "AlertsReport",
    "FileEnds",
    "FileLoop",
    "StoppedError",
    "match_files",
    "run_alerts",
]

DEFAULT_BATCH = 5_000
"""Alerts in a batch: some exposures. Each pays the engine's fixed cost once, and waits in memory until it is full."""
BATCH_BYTES = 64 << 20
"""Bytes of packets, as they came and decompressed, that wait for a batch: a thousand real ones. While a batch is
matched and written, the next one is read. Memory is bounded by the two, one more packet (`Limits.file_bytes`, and the
same again decompressed), what is encoded or compressed anew of a batch, and the engine's part."""
_GIVE_UP_SECONDS = 5.0
"""How long a run that has failed waits for the batch on its way, before it removes what has been written."""


@dataclass
class AlertsReport:
    """What became of all alerts of a run: ``alerts`` is the sum of the statuses.

    A packet that cannot be read counts as one alert, whatever it may have held.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(MatchStatus), dtype=np.int64))
    """Alerts by `MatchStatus` over all catalogues."""
    by_catalog: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    nulled: dict[str, int] = field(default_factory=dict)
    """By catalogue, values that became null because a 32-bit float cannot hold them."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Source fields that the output schema cannot hold, by the number of alerts that had them."""
    packets: int = 0
    skipped: int = 0
    """Hidden files, links and devices that were passed over."""
    seconds: float = 0.0
    rejects: Path | None = None
    """Folder of the rejects, if there are any."""

    def __post_init__(self) -> None:
        self.by_catalog = {name: np.zeros_like(self.counts) for name in self.names}

    def __repr__(self) -> str:
        told = ", ".join(f"{self.counts[status]:,} {status.label}" for status in MatchStatus)
        return f"<AlertsReport of {self.packets:,} packets, {self.alerts:,} alerts: {told}>"

    @property
    def alerts(self) -> int:
        """Number of alerts."""
        return int(self.counts.sum())

    @property
    def rejected(self) -> int:
        """Number of alerts that were set aside."""
        return int(self.counts[MatchStatus.REJECTED])

    def add(self, batch: BatchReport) -> None:
        """Count a batch's alerts."""
        self.packets += batch.total.received
        self.counts += _by_status(batch.statuses)
        for name, statuses in batch.by_catalog.items():
            self.by_catalog[name] += _by_status(statuses)

    def to_json(self) -> dict[str, Any]:
        """Give the figures as one JSON object."""
        catalogs = {
            name: _json_counts(counts) | {"nulled": self.nulled.get(name, 0)}
            for name, counts in self.by_catalog.items()
        }
        return _json_counts(self.counts) | {
            "packets": self.packets,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "rejects": None if self.rejects is None else str(self.rejects),
            "dropped": dict(sorted(self.dropped.items())),
            "catalogs": catalogs,
        }


def _json_counts(counts: NDArray[np.int64]) -> dict[str, Any]:
    return {"in": int(counts.sum())} | {status.key: int(counts[status]) for status in MatchStatus}


def _by_status(statuses: Mapping[str, int]) -> NDArray[np.int64]:
    return np.array([statuses[label] for label in STATUS_LABELS], dtype=np.int64)


def run_alerts(
    paths: Iterable[Path | str],
    crossmatcher: Matcher,
    out: Path | str,
    rejects: Path | str | None = None,
    output_schema: str = "input",
    *,
    batch: int = DEFAULT_BATCH,
    progress: Callable[[int], None] | None = None,
) -> AlertsReport:
    """Crossmatch the alert packets of files, folders and tar archives.

    Parameters
    ----------
    paths : iterable of Path or str
    crossmatcher : Crossmatcher
    out : Path or str
        A folder, or a file ending in ``.tar``, ``.tar.gz`` or ``.tgz``. It appears when the run is done; relative names
        are kept.
    rejects : Path or str, optional
        Folder for packets that cannot be used; default `out` with ``.rejects`` appended.
    output_schema : {"input", "ztf-3.3"}
        The packets' own schemas plus ``xmatches``, or version 3.3 for all.
    batch : int, optional
        Alerts to match at once.
    progress : callable, optional
        Called with the number of alerts done since the last call, from a thread of its own.

    Returns
    -------
    AlertsReport

    Raises
    ------
    UsageError
        A path that does not exist, an output that does, or one inside of an input.
    PartitionReadError
        A partition that is needed cannot be read; no output appears.
    XmatchError
        The output cannot be written; none appears.
    """
    if batch < 1:
        raise UsageError("a batch holds at least one alert", value=batch)
    enricher = Enricher(crossmatcher, make_output(output_schema))
    stop = Stop()
    # A catalogue that cannot be read fails the run: its user is here, and waits for an answer.
    waiter = Waiter(stop, patience=0)
    ends = FileEnds(PacketSources(paths), out, rejects)
    loop = FileLoop(Decoder(PacketReader().read, waiter, ahead=False), stop, batch)
    return match_files(
        ends,
        loop,
        enricher,
        lambda sink: Pipeline(lambda: enricher, sink, waiter, max_positions=batch),
        progress=progress,
    )


@dataclass(frozen=True)
class FileEnds:
    """What is read, and what is written; names are checked before anything else is done.

    Raises
    ------
    UsageError
        An output that cannot be one, or lies in an input.
    """

    sources: PacketSources
    out: Path | str
    rejects: Path | str | None = None
    policy: str = "dlq"
    """What is done with packets that cannot be used."""

    def places(self) -> tuple[Path, Path]:
        """Output and folder of rejects."""
        out = _named(Path(self.out))
        aside = _named(Path(self.rejects)) if self.rejects is not None else out.with_name(f"{out.name}.rejects")
        _require_apart(self.sources.paths, out, aside)
        return out, aside


@dataclass(frozen=True)
class FileLoop:
    """How files are looped over."""

    decoder: Decoder
    stop: Stop
    batch: int = DEFAULT_BATCH
    """Alerts to match at once."""
    on_batch: Callable[[BatchReport], None] = lambda _: None
    on_beat: Callable[[], None] = lambda: None
    """Called with every turn of the loop."""


class Enriches(Protocol):
    """What a report tells of that no batch knows: `Enricher` and `Enrichment` do."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the catalogues."""

    @property
    def nulled(self) -> Mapping[str, int]:
        """By catalogue, values that became null."""

    @property
    def output(self) -> Output:
        """The form that packets leave in."""


def match_files(
    ends: FileEnds,
    settings: FileLoop,
    enriches: Enriches,
    make_pipeline: Callable[[FileSink], Pipeline],
    *,
    progress: Callable[[int], None] | None = None,
) -> AlertsReport:
    """Run the loop with files at both ends; the output appears when all is done.

    Raises
    ------
    StoppedError
        The run was told to stop; no output appears.
    """
    out, aside = ends.places()
    report = AlertsReport(enriches.names)
    folder = Rejects(aside)
    packets = open_sink(out)
    started = time.monotonic()

    def count(batch: BatchReport) -> None:
        report.add(batch)
        settings.on_batch(batch)

    with ExitStack() as undo:
        # Whatever stops the run, an interrupt among it: what is there is not all, and must not look so.
        undo.callback(packets.abort)
        undo.callback(folder.abort)
        pipeline = make_pipeline(FileSink(packets, folder, ErrorPolicy(ends.policy), progress, settings.stop))
        limits = BatchLimits(settings.batch, math.inf, BATCH_BYTES)
        worker = ThreadWorker(pipeline.process)
        undo.callback(worker.wait, _GIVE_UP_SECONDS)
        undo.push(partial(_abandon, settings.stop))
        undo.enter_context(rare_collections())
        Loop(FileSource(ends.sources), settings.decoder, worker, settings.stop, limits, count, settings.on_beat).run()
        if settings.stop.requested.is_set():
            raise StoppedError("told to stop: the output is not written", place=out)
        # The rejects are named first: whoever sees the output then finds what is missing from it. What can still fail
        # for want of space comes before both.
        packets.finish()
        folder.commit()
        packets.commit()
    report.skipped = ends.sources.skipped
    report.nulled = dict(enriches.nulled)
    report.dropped = enriches.output.dropped
    report.seconds = time.monotonic() - started
    report.rejects = folder.folder if folder.packets else None
    return report


class StoppedError(XmatchError):
    """A run over files was told to stop before its end."""

    exit_code = 143


def _abandon(stop: Stop, failure: type[BaseException] | None, *_: object) -> None:
    """Have the batch on its way given up where a run has failed."""
    if failure is not None:
        stop.abandoned.set()


def _named(path: Path) -> Path:
    """Spell a path so that it ends in a name: ``.`` and ``..`` have none, and what is written aside needs one."""
    path = path if path.name not in ("", "..") else path.resolve()
    if not path.name:
        raise UsageError("cannot be an output", place=path, hint="name a folder or an archive")
    return path


def _require_apart(inputs: list[Path], out: Path, rejects: Path) -> None:
    for place in (out, rejects):
        refuse_inside_catalog(place)
    places = {"output": out.resolve(), "rejects folder": rejects.resolve()}
    if places["output"].is_relative_to(places["rejects folder"]) or rejects.resolve().is_relative_to(out.resolve()):
        raise UsageError("output and rejects lie in one another", place=out, hint="choose another --rejects")
    for source in inputs:
        here = source.resolve()
        for what, place in places.items():
            if place == here or (source.is_dir() and place.is_relative_to(here)):
                raise UsageError(f"the {what} lies in the input {source}", place=place, hint="write elsewhere")


def __dir__() -> list[str]:
    return sorted(__all__)
