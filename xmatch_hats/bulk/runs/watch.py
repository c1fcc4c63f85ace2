"""What is told of a run: a log with one JSON object a line, and how far it is."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from xmatch_hats import __version__
from xmatch_hats.bulk.runs.task import Failure, Outcome
from xmatch_hats.errors import OutputError
from xmatch_hats.whole import unwritable

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run is; sizes are bytes that are read, about."""

    tasks: int = 0
    """All together; 0 where that is not known."""
    size: int = 0
    """All together; 0 where that is not known."""
    done: int = 0
    """Tasks, those of earlier runs among them."""
    size_done: int = 0
    skipped: int = 0
    """Tasks that earlier runs did."""
    failed: int = 0
    retried: int = 0
    seconds: float = 0.0
    """Since the run began."""
    rate: float = 0.0
    """Bytes per second in this run."""

    @property
    def seconds_left(self) -> float | None:
        """About how long it will take; None where nobody can tell yet."""
        return (self.size - self.size_done) / self.rate if self.rate > 0 and self.size else None


class Listener:
    """Told how a run goes on, for people; by itself it only logs."""

    def say(self, text: str) -> None:
        """Take a sentence that is worth telling."""
        logger.info("%s", text)

    def show(self, stage: str, progress: Progress) -> None:
        """Take how far a stage of the work is."""


class Watch:
    """Told of everything that happens in a run.

    Parameters
    ----------
    log : Path, optional
        Run log, one event a line, appended to; its folder must exist.
    tasks, size : int, optional
        What there is to do all together, where it is known, in tasks and in bytes.
    settings : mapping, optional
        What was asked for, for the log; JSON values.
    show : callable, optional
        Given a `Progress` after every change.

    Raises
    ------
    OutputError
        From every method: the log cannot be written.
    """

    def __init__(
        self,
        log: Path | None = None,
        *,
        tasks: int = 0,
        size: int = 0,
        settings: Mapping[str, Any] | None = None,
        show: Callable[[Progress], None] | None = None,
    ) -> None:
        self.progress = Progress(tasks, size)
        self._path = log
        self._settings = dict(settings or {})
        self._show = show
        self._file: BinaryIO | None = None
        self._begun = monotonic()
        self._size_new = 0

    def begin(self, place: str, dashboard: str | None = None) -> None:
        """A run begins; `place` says where the work is done."""
        self._begun = monotonic()
        self._size_new = 0
        self._open()
        software = {"xmatch-hats": __version__, "python": sys.version.split()[0]}
        self._note(
            "begin",
            tasks=self.progress.tasks,
            size=self.progress.size,
            scheduler=place,
            dashboard=dashboard,
            software=software,
            settings=self._settings,
        )

    def skipped(self, names: Mapping[str, int]) -> None:
        """Tasks were found done, given by name with their sizes."""
        self.progress.skipped += len(names)
        self.progress.done += len(names)
        self.progress.size_done += sum(names.values())
        self._note("skipped", tasks=list(names))
        self._tell()

    def done(self, name: str, size: int, seconds: float, worker: str) -> None:
        """A task is done."""
        self.progress.done += 1
        self.progress.size_done += size
        self._size_new += size
        self._note("done", task=name, size=size, seconds=round(seconds, 6), worker=worker)
        self._tell()

    def retried(self, name: str, attempts: int, reason: str, worker: str = "") -> None:
        """A task failed, and will be tried again."""
        self.progress.retried += 1
        self._note("retried", task=name, attempts=attempts, reason=reason, worker=worker)
        self._tell()

    def failed(self, name: str, size: int, failure: Failure) -> None:
        """A task is set aside."""
        self.progress.failed += 1
        self.progress.size_done += size
        self._note("failed", task=name, **asdict(failure))
        self._tell()

    def workers(self, slots: int) -> None:
        """The number of tasks that can be worked on at the same time has changed."""
        self._note("workers", slots=slots)

    def end(self, outcome: Outcome | None, error: BaseException | None = None) -> None:
        """The run is over, or was broken off by an error."""
        seconds = round(monotonic() - self._begun, 3)
        if outcome is not None:
            counts = {"done": len(outcome.done), "skipped": len(outcome.skipped), "failed": len(outcome.failed)}
            self._note("end", seconds=seconds, **counts)
        else:
            # Where the disk is full, there is an error to tell already.
            with suppress(OutputError):
                self._note("broken off", seconds=seconds, reason=f"{type(error).__name__}: {error}")
        if self._file is not None:
            self._file.close()
            self._file = None

    def _tell(self) -> None:
        self.progress.seconds = monotonic() - self._begun
        self.progress.rate = self._size_new / self.progress.seconds if self.progress.seconds else 0.0
        if self._show is not None:
            self._show(self.progress)

    def _open(self) -> None:
        if self._path is None:
            return
        try:
            # A run that was killed may have left half a line.
            torn = self._path.exists() and self._path.read_bytes()[-1:] not in {b"", b"\n"}
            # Nothing is held back that a full disk would refuse later.
            self._file = self._path.open("ab", buffering=0)
            if torn:
                self._file.write(b"\n")
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _note(self, event: str, **values: Any) -> None:
        if self._file is None or self._path is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            self._file.write(f"{json.dumps({'time': now, 'event': event, **values})}\n".encode())
        except OSError as error:
            raise unwritable(self._path, error) from error


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 1))
        return file.read(1)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Events of a run log; half a line, as a kill leaves it, is none."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
