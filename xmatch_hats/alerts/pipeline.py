"""Packets of files through the step: one loop, an output folder or archive, and a folder of rejects."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.alerts.packet import Packet
from xmatch_hats.alerts.rejects import Rejects
from xmatch_hats.alerts.sinks import Sink, open_sink
from xmatch_hats.alerts.sources import PacketSources, RawPacket
from xmatch_hats.alerts.splice import InputOutput, Output, lone_record
from xmatch_hats.alerts.step import AlertStep, Matcher, Outcome
from xmatch_hats.errors import PacketError, UsageError
from xmatch_hats.matching.status import MatchStatus

logger = logging.getLogger(__name__)

DEFAULT_BATCH = 5_000
"""Alerts in a batch: some exposures. Each pays the engine's fixed cost once, and waits in memory until it is full."""
BATCH_BYTES = 256 << 20
"""Bytes of packets, as they came and decompressed, that wait for a batch. Memory is bounded by them, one more packet
(`Limits.file_bytes`, and the same again decompressed), one packet's output, and the engine's part."""
OUTPUT_SCHEMAS: Final = ("input", "ztf-3.3")


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

    @property
    def alerts(self) -> int:
        """Number of alerts."""
        return int(self.counts.sum())

    @property
    def rejected(self) -> int:
        """Number of alerts that were set aside."""
        return int(self.counts[MatchStatus.REJECTED])

    def add(self, outcome: Outcome) -> None:
        """Count a packet's alerts."""
        self.counts += np.bincount(outcome.status, minlength=len(MatchStatus))
        for name, status in outcome.by_catalog.items():
            self.by_catalog[name] += np.bincount(status, minlength=len(MatchStatus))

    def add_unreadable(self) -> None:
        """Count a packet that could not be read."""
        for counts in (self.counts, *self.by_catalog.values()):
            counts[MatchStatus.REJECTED] += 1

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
        Called with the number of alerts done since the last call.

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
    out = _named(Path(out))
    sources = PacketSources(paths)
    aside = _named(Path(rejects)) if rejects is not None else out.with_name(f"{out.name}.rejects")
    _require_apart(sources.paths, out, aside)
    step = AlertStep(crossmatcher, make_output(output_schema))
    folder = Rejects(aside)
    sink = open_sink(out)
    with ExitStack() as undo:
        # Whatever stops the run, an interrupt among it: what is there is not all, and must not look so.
        undo.callback(sink.abort)
        undo.callback(folder.abort)
        report = _Run(step, sink, folder, batch, progress or (lambda _: None)).all(sources)
        # The rejects are named first: whoever sees the output then finds what is missing from it. What can still fail
        # for want of space comes before both.
        sink.finish()
        folder.commit()
        sink.commit()
    return report


def make_output(name: str) -> Output:
    """Make the form that packets leave in, by the name of its schema.

    Raises
    ------
    UsageError
        There is no such schema.
    """
    if name == "input":
        return InputOutput()
    if name == "ztf-3.3":
        from xmatch_hats.alerts.ztf33 import Ztf33Output

        return Ztf33Output()
    raise UsageError(f"there is no output schema {name!r}", hint=f"choose from {', '.join(OUTPUT_SCHEMAS)}", value=name)


def _named(path: Path) -> Path:
    """Spell a path so that it ends in a name: ``.`` and ``..`` have none, and what is written aside needs one."""
    path = path if path.name not in ("", "..") else path.resolve()
    if not path.name:
        raise UsageError("cannot be an output", place=path, hint="name a folder or an archive")
    return path


def _require_apart(inputs: list[Path], out: Path, rejects: Path) -> None:
    places = {"output": out.resolve(), "rejects folder": rejects.resolve()}
    if places["output"].is_relative_to(places["rejects folder"]) or rejects.resolve().is_relative_to(out.resolve()):
        raise UsageError("output and rejects lie in one another", place=out, hint="choose another --rejects")
    for source in inputs:
        here = source.resolve()
        for what, place in places.items():
            if place == here or (source.is_dir() and place.is_relative_to(here)):
                raise UsageError(f"the {what} lies in the input {source}", place=place, hint="write elsewhere")


@dataclass
class _Waiting:
    raw: RawPacket
    data: bytes
    packet: Packet


class _Run:
    def __init__(
        self, step: AlertStep, sink: Sink, rejects: Rejects, batch: int, progress: Callable[[int], None]
    ) -> None:
        self._step = step
        self._sink = sink
        self._rejects = rejects
        self._batch = batch
        self._progress = progress
        self._report = AlertsReport(step.names)
        self._waiting: list[_Waiting] = []

    def all(self, sources: PacketSources) -> AlertsReport:
        started = time.monotonic()
        report = self._report
        alerts = size = 0
        for raw in sources:
            report.packets += 1
            taken = self._take(raw)
            if taken is None:
                continue
            self._waiting.append(taken)
            alerts += sum(map(len, taken.packet.blocks))
            size += taken.packet.size
            if alerts >= self._batch or size >= BATCH_BYTES:
                self._flush()
                alerts = size = 0
        self._flush()
        report.skipped = sources.skipped
        report.nulled = self._step.nulled
        report.dropped = self._step.output.dropped
        report.seconds = time.monotonic() - started
        report.rejects = self._rejects.folder if self._rejects.packets else None
        return report

    def _take(self, raw: RawPacket) -> _Waiting | None:
        data = None
        try:
            data = raw.read()
            return _Waiting(raw, data, self._step.decode(data))
        except PacketError as error:
            self._set_aside(raw, data, error)
            self._report.add_unreadable()
            self._progress(1)
            return None

    def _flush(self) -> None:
        outcomes = self._step.process([waiting.packet for waiting in self._waiting], self._batch)
        for waiting, outcome in zip(self._waiting, outcomes, strict=True):
            self._finish(waiting, outcome)
        self._waiting.clear()

    def _finish(self, waiting: _Waiting, outcome: Outcome) -> None:
        raw, packet = waiting.raw, waiting.packet
        if outcome.data is not None:
            self._sink.write(raw.name, outcome.data, raw.modified)
        if outcome.data is None and len(set(map(id, outcome.rejects.values()))) == 1:
            # One reason for all of it: the packet is kept as it came.
            self._set_aside(raw, waiting.data, outcome.rejects[0])
        else:
            for number, error in outcome.rejects.items():
                self._set_aside(raw, lone_record(packet, packet.alerts[number]), error, number)
        self._report.add(outcome)
        self._progress(len(outcome.status))

    def _set_aside(self, raw: RawPacket, data: bytes | None, error: PacketError, record: int | None = None) -> None:
        logger.warning("rejected %s%s: %s", raw.source, "" if record is None else f" record {record}", error)
        self._rejects.add(raw.name, data, error, source=raw.source, modified=raw.modified, record=record)
