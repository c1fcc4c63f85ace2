"""Tasks to workers and back: each done once, what fails tried again, what fails for good set aside."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.perform import Performed, pack, perform
from xmatch_hats.bulk.runs.task import Failure, Outcome, Task
from xmatch_hats.bulk.runs.watch import Watch
from xmatch_hats.errors import OutputError, SystemFailure, UsageError
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.streaming import Ended, Stream

ATTEMPTS = 3
"""How often a task is tried."""
AHEAD = 2
"""Messages under way for each worker: one that it works on, and one that waits there, so that it is never idle."""
MESSAGE_SECONDS = 0.25
"""Small tasks go together in messages of about so much work: Dask takes some milliseconds for each."""
MESSAGE_TASKS = 64
"""No message has more tasks than this, nor many before some were timed: what comes may take longer than what was."""
MESSAGE_BYTES = 4 << 20
"""A message of more than one task takes no more arguments than this; Dask warns of 10 MB."""
BYTES_UNDER_WAY = 256 << 20
"""Arguments of all messages under way; this process and the scheduler hold each of them once."""


def run_tasks(
    tasks: Iterable[Task],
    ledger: Ledger,
    scheduler: Scheduler,
    *,
    attempts: int = ATTEMPTS,
    watch: Watch | None = None,
    stop_on: tuple[type[Exception], ...] = (),
    bytes_under_way: int = BYTES_UNDER_WAY,
) -> Outcome:
    """Do all tasks that are not done.

    Tasks are drawn as workers take them, and handed out in their order. A task that raises is tried again, and set
    aside when it has failed as often as it may; the others go on. A worker that dies costs the tasks that it had, and
    another one does them. Tasks that were under way when workers died again and again are tried once more at the end,
    one at a time and with nothing beside them: the one that kills its worker even then is set aside.

    Parameters
    ----------
    tasks : iterable of Task
    ledger : Ledger
        What is done in it is not done again.
    scheduler : Scheduler
    attempts : int, optional
        How often a task is tried before it is set aside.
    watch : Watch, optional
    stop_on : tuple of exception types, optional
        Further errors of tasks that end the run, besides those that stand below; nothing is set aside for them.
    bytes_under_way : int, optional
        Bound of the arguments of tasks that are handed out, and not done. One task is handed out however large.

    Returns
    -------
    Outcome

    Raises
    ------
    OutputError
        The disk is full, or the output cannot be written. As every error from here, it leaves what is done in the
        ledger: the same call goes on from there.
    SystemFailure
        The scheduler, or all workers, were lost; or something is missing that all tasks need.
    UsageError
        Two tasks have the same name.
    """
    watch = watch or Watch()
    ledger.begin()
    # Now rather than with the first task, so that the log can tell the dashboard's address.
    scheduler.connect()
    watch.begin(scheduler.place, scheduler.dashboard)
    try:
        run = _Run(ledger, watch, attempts, stop_on, bytes_under_way)
        with scheduler.stream("xmatch-bulk") as stream:
            run.work_off(tasks, stream)
        outcome = run.outcome()
    except SystemFailure as failure:
        watch.end(None, failure)
        failure.hint = failure.hint or "run the same command again: what is done is kept"
        raise
    except BaseException as error:
        watch.end(None, error)
        raise
    watch.end(outcome)
    return outcome


@dataclass
class _Entry:
    """A task that is not done, as it is sent."""

    name: str
    size: int
    blob: bytes
    failures: int = 0


class _Run:
    """The state of one run."""

    def __init__(
        self,
        ledger: Ledger,
        watch: Watch,
        attempts: int,
        stop_on: tuple[type[Exception], ...],
        bytes_under_way: int,
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._attempts = attempts
        self._stop_on: tuple[type[Exception], ...] = (OutputError, SystemFailure, *stop_on)
        self._bytes_allowed = bytes_under_way
        self._records = ledger.done()
        self._names: dict[str, None] = {}
        self._skipped: list[str] = []
        self._failed: dict[str, Failure] = {}
        self._again: deque[_Entry] = deque()
        """Failed; they come before new ones, so that no more than what is under way is ever held."""
        self._suspects: deque[_Entry] = deque()
        """Under way when workers died."""
        self._messages: dict[int, list[_Entry]] = {}
        """Under way, by the number of their call."""
        self._bytes = 0
        self._slots = 0
        self._timed, self._size_timed, self._seconds = 0, 0, 0.0

    def work_off(self, tasks: Iterable[Task], stream: Stream) -> None:
        """Do all that is not done."""
        fresh = self._fresh(tasks)
        drawn: deque[_Entry] = deque()
        while True:
            while self._has_room(stream) and (message := self._next_message(fresh, drawn)):
                self._send(message, stream)
            if not self._messages:
                break
            for ended in stream.wait():
                self._take(ended, may_kill=True)
        while self._suspects:
            self._send([self._suspects.popleft()], stream)
            for ended in stream.wait():
                self._take(ended, may_kill=False)
            # Whatever it failed of may be tried again here as well as elsewhere.
            self._suspects.extendleft(self._again)
            self._again.clear()

    def outcome(self) -> Outcome:
        """What came of it, in the order of the tasks."""
        done = {name: self._records[name] for name in self._names if name in self._records}
        failed = {name: self._failed[name] for name in self._names if name in self._failed}
        return Outcome(done, tuple(self._skipped), failed)

    def _fresh(self, tasks: Iterable[Task]) -> Iterator[_Entry]:
        """Tasks that are not done; the others are noted in passing."""
        found: dict[str, int] = {}
        for task in tasks:
            if task.name in self._names:
                raise UsageError(f"two tasks are named {task.name}", value=task.name)
            self._names[task.name] = None
            if task.name in self._records:
                self._skipped.append(task.name)
                found[task.name] = task.size
                continue
            if found:
                self._watch.skipped(found)
                found = {}
            yield _Entry(task.name, task.size, pack(task))
        if found:
            self._watch.skipped(found)

    def _has_room(self, stream: Stream) -> bool:
        slots = stream.slots()
        if slots != self._slots:
            self._watch.workers(slots)
            self._slots = slots
        return not self._messages or (len(self._messages) < AHEAD * max(slots, 1) and self._bytes < self._bytes_allowed)

    def _next_message(self, fresh: Iterator[_Entry], drawn: deque[_Entry]) -> list[_Entry]:
        """Tasks for one message: neighbours, so that what one of them reads the next may find in memory."""
        if self._again:
            return [self._again.popleft()]
        # Until it is known how long they take, tasks go alone.
        share = MESSAGE_SECONDS * self._size_timed / self._seconds if self._seconds else 0.0
        most = min(MESSAGE_TASKS, 1 + self._timed // (AHEAD * max(self._slots, 1)))
        message: list[_Entry] = []
        size = sent = 0
        while len(message) < most and (entry := drawn.popleft() if drawn else next(fresh, None)):
            size += entry.size
            sent += len(entry.blob)
            if message and (size > share or sent > MESSAGE_BYTES):
                drawn.append(entry)
                break
            message.append(entry)
        return message

    def _send(self, message: list[_Entry], stream: Stream) -> None:
        number = stream.submit(perform, [entry.blob for entry in message], self._ledger.folder)
        self._messages[number] = message
        self._bytes += sum(len(entry.blob) for entry in message)

    def _take(self, ended: Ended, *, may_kill: bool) -> None:
        """Note what came of a message."""
        message = self._messages.pop(ended.number)
        self._bytes -= sum(len(entry.blob) for entry in message)
        if ended.killed:
            for entry in message:
                self._note_killed(entry, str(ended.error), may_kill=may_kill)
        elif ended.error is not None:
            raise ended.error
        else:
            # Fewer where the last of them ends the run.
            for entry, performed in zip(message, ended.value, strict=False):
                self._note(entry, performed)

    def _note(self, entry: _Entry, performed: Performed) -> None:
        error = performed.error
        if performed.record is not None:
            self._records[entry.name] = performed.record
            self._timed += 1
            self._size_timed += entry.size
            self._seconds += performed.seconds
            self._watch.done(entry.name, entry.size, performed.seconds, performed.worker)
        elif error is not None:
            if isinstance(error, self._stop_on):
                raise error
            entry.failures += 1
            if entry.failures < self._attempts:
                self._again.append(entry)
                self._watch.retried(entry.name, entry.failures, str(error), performed.worker)
            else:
                self._set_aside(entry, Failure(str(error), entry.failures, performed.trace))

    def _note_killed(self, entry: _Entry, text: str, *, may_kill: bool) -> None:
        entry.failures += 1
        if may_kill:
            self._suspects.append(entry)
            self._watch.retried(entry.name, entry.failures, text)
            return
        reason = "workers died of it, most likely for want of memory (give them more memory)"
        self._set_aside(entry, Failure(reason, entry.failures, text))

    def _set_aside(self, entry: _Entry, failure: Failure) -> None:
        self._failed[entry.name] = failure
        self._ledger.write_failure(entry.name, failure)
        self._watch.failed(entry.name, entry.size, failure)
