"""The program of step processes: imports everything once, then forks a process for each step that is asked for.

``python -m tests.step.process.stepper`` takes orders from its standard input, one JSON object a line, and answers each
with one. It has one thread and has connected to nothing, so that a fork of it is like a process that has just
started.

A step is the command line itself. Where a boundary is named, it is the same run with somebody who watches: at that
boundary it tells so on its standard output, and stands still for ever, to be killed, or goes on.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

HEAVY = (
    "xmatch_hats.cli.app",
    "xmatch_hats.cli.alerts",
    "xmatch_hats.cli.run",
    "xmatch_hats.step.monitoring.logs",
    "xmatch_hats.step.run",
    "xmatch_hats.step.settings",
    "distributed",
    "lsdb",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
)


def main() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    _answer({"ready": os.getpid()})
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "warm" in order:
            _warm(order["warm"])
            _answer({})
        elif "start" in order:
            # What is here stays: no child need look through it, at its end least of all.
            gc.freeze()
            pid = os.fork()
            if pid == 0:
                # Out of this loop and this function first: the step ends as a program does, not as a call.
                _run(order["start"])
                return
            children.add(pid)
            _answer({"pid": pid})
        else:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            children.discard(pid)
            _answer({"code": os.waitstatus_to_exitcode(status) if pid else None})
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _warm(copy: str) -> None:
    """Have compiled what a first batch compiles, which takes a process seconds; nothing runs, so no thread starts."""
    from xmatch_hats.matching.crossmatcher import Crossmatcher
    from xmatch_hats.matching.scheduling import Scheduler
    from xmatch_hats.matching.targets import CatalogTarget

    class Planned(Exception):
        pass

    class PlansOnly(Scheduler):
        def ask(self, *_: Any) -> Any:
            raise Planned

    with contextlib.suppress(Planned):
        Crossmatcher([CatalogTarget(copy)], scheduler=PlansOnly(workers=0)).match([0.0], [0.0])


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def _run(order: dict[str, Any]) -> None:
    """Become a step: with its own session, streams and environment, and its own command line."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, order["out"]), (2, order["log"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = ["xmatch-hats", *order["arguments"]]
    if order["mark"] is None:
        from xmatch_hats.cli import main as command_line

        command_line()
    else:
        _run_watched(_marker(**order["mark"]))


def _run_watched(watch: Callable[[str, int], None]) -> None:
    from xmatch_hats.cli.run import read_settings, stopping
    from xmatch_hats.step.run import run_stream

    settings = read_settings(None)
    settings.require_complete()
    with stopping() as stop:
        run_stream(settings, stop, watch=watch)


def _marker(boundary: str, batch: int, stays: bool) -> Callable[[str, int], None]:
    def watch(crossed: str, number: int) -> None:
        if (crossed, number) == (boundary, batch):
            sys.stdout.write(f"at {boundary} {batch}\n")
            sys.stdout.flush()
            if stays:
                threading.Event().wait()

    return watch


if __name__ == "__main__":
    main()
