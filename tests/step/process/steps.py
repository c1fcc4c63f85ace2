"""Step processes from outside: started, watched by what they write, sent signals, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0
"""Seconds after which what a test waits for has failed."""
_LOOK = 0.01


class StepError(AssertionError):
    """A step that did not do what was waited for, with the end of its log."""


@dataclass(frozen=True)
class Mark:
    """A moment in the life of a step."""

    boundary: str
    """As `xmatch_hats.step.flight.Watcher` names them."""
    batch: int
    """Number of the batch that crosses it, from 1."""
    stays: bool = True
    """Whether the step stands still there, for ever."""


class Zygote:
    """Forks step processes; see `tests.step.process.stepper`.

    Parameters
    ----------
    folder : Path
        Where their outputs go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._steps: list[Step] = []
        # One thread: those of the linear algebra library would not survive a fork.
        environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.step.process.stepper"],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._unread = 1

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs, without any setting of a step that somebody may have in the environment."""
        names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
        return {name: os.environ[name] for name in names if name in os.environ}

    def warm(self, copy: Path) -> None:
        """Have compiled, before any fork, what a first batch with a copy compiles; nobody waits for it here."""
        self._send({"warm": str(copy)})

    def start(self, environ: Mapping[str, str], arguments: Sequence[str] = ("run",), mark: Mark | None = None) -> Step:
        """Start a step.

        Parameters
        ----------
        environ : Mapping
            Its settings.
        arguments : sequence of str, optional
            Of the command line.
        mark : Mark, optional
            Where it tells that it is there; the command line is ``run`` then.
        """
        self._started += 1
        out, log = (self._folder / f"{self._started}.{kind}" for kind in ("out", "log"))
        order = {
            "environ": {**self.environ, **environ},
            "arguments": list(arguments),
            "mark": mark and asdict(mark),
            "out": str(out),
            "log": str(log),
        }
        step = Step(self, self._ask({"start": order})["pid"], out, log)
        self._steps.append(step)
        return step

    def poll(self, pid: int) -> int | None:
        """Exit code of an ended step, to be asked for until it comes."""
        code: int | None = self._ask({"poll": pid})["code"]
        return code

    def kill_all(self) -> None:
        """Kill what still runs."""
        for step in self._steps:
            if step.running:
                step.send(signal.SIGKILL)
                step.wait()
        self._steps.clear()

    def close(self) -> None:
        """Kill what still runs, and end."""
        self._process.communicate(timeout=PATIENCE)

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        self._unread += 1

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self._send(order)
        assert self._process.stdout is not None
        while self._unread:
            line = self._process.stdout.readline()
            if not line:
                raise StepError("the program that forks steps has ended")
            self._unread -= 1
        answer: dict[str, Any] = json.loads(line)
        return answer


class Step:
    """One step process."""

    def __init__(self, zygote: Zygote, pid: int, out: Path, log: Path) -> None:
        self.pid = pid
        self.code: int | None = None
        """What it exited with; negative for the signal that killed it."""
        self._zygote = zygote
        self._out = out
        self._log = log

    @property
    def running(self) -> bool:
        if self.code is None:
            self.code = self._zygote.poll(self.pid)
        return self.code is None

    @property
    def out(self) -> str:
        return self._out.read_text() if self._out.exists() else ""

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def batches(self) -> int:
        """How many batches it has committed."""
        return self.log.count('"batch done"')

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, self.log[-4000:]

    def terminate(self, number: int = signal.SIGTERM, timeout_s: float = PATIENCE) -> tuple[int, float]:
        """Tell it to end; gives its exit code and the seconds that it took."""
        started = time.monotonic()
        self.send(number)
        return self.wait(timeout_s), time.monotonic() - started

    def wait(self, timeout_s: float = PATIENCE) -> int:
        """Wait for its end, and give the exit code."""
        self.until(lambda: not self.running, "its end", timeout_s, alive=False)
        assert self.code is not None
        return self.code

    def arrives(self, timeout_s: float = PATIENCE) -> None:
        """Wait until it is at its mark."""
        self.until(lambda: self.out.startswith("at ") and "\n" in self.out, "its mark", timeout_s)

    def says(self, text: str, timeout_s: float = PATIENCE) -> None:
        """Wait until its log has a text."""
        self.until(lambda: text in self.log, repr(text), timeout_s)

    def until(self, seen: Callable[[], bool], what: str, timeout_s: float = PATIENCE, *, alive: bool = True) -> None:
        """Wait until something is true, while it is alive."""
        deadline = time.monotonic() + timeout_s
        while not seen():
            if alive and not self.running:
                raise StepError(f"ended with {self.code} before {what}:\n{self.log[-4000:]}")
            if time.monotonic() > deadline:
                raise StepError(f"{what} did not come in {timeout_s:g} s:\n{self.log[-4000:]}")
            time.sleep(_LOOK)
