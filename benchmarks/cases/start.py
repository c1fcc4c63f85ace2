"""From the start of a process until its first batch is answered, workers of its own included."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import skies
from benchmarks.answers import Answer, difference
from benchmarks.case import RADIUS_ARCSEC, WORKERS, Bench, CaseResult, profiled, xmatch_columns
from benchmarks.peers import ours
from benchmarks.timing import Timing
from xmatch_hats.catalogs.copy import LocalCopy

READY, FIRST, WARM = "until ready", "first batch", "the batches after it"
ALERTS = 1000
PROFILED = "profiled"
Batch = tuple[np.ndarray, np.ndarray]
"""Coordinates, degrees."""
BATCHES = 6
"""Of each process; the first is the first."""


def start(bench: Bench) -> CaseResult:
    """Start a process anew in each round, as a program's user does."""
    copy = skies.with_side_copy(skies.sky_copy(bench.size))
    make = skies.AlertMaker(bench.size, ALERTS)
    timings = {name: Timing(name) for name in (READY, FIRST, WARM)}
    result = CaseResult(
        "a process from its start to its first batch of 1,000 alerts over 47 square degrees",
        compared_what="matches, with those of threads of one process; LSDB answers in other cases",
    )
    with (
        TemporaryDirectory(prefix="start-", dir=skies.cache()) as name,
        ours.matcher(copy, xmatch_columns(), RADIUS_ARCSEC, workers=0) as engine,
    ):
        for number in range(bench.rounds(7, 2) + 1):
            batches = [make(number * BATCHES + place) for place in range(BATCHES)]
            seen, answers = _in_a_process(Path(name), copy, batches)
            for batch, answer in zip(batches, answers, strict=True):
                wrong = difference(ours.batch_answer(engine.match(*batch)), answer, RADIUS_ARCSEC, 1e-9)
                if wrong:
                    result.differences.append(f"process {number} against threads of this one: {wrong}")
                result.compared += len(answer.left)
            if number:
                timings[READY].seconds.append(seen["ready"])
                timings[FIRST].seconds.append(seen["batches"][0])
                timings[WARM].seconds += seen["batches"][1:]
            print(f"  round {number}: ready {seen['ready']:.2f} s, batches {seen['batches']}", flush=True)
        if bench.full:
            result.profile = _in_a_process(Path(name), copy, [make(0)], PROFILED)[0]["profile"]
    result.ways = {name: timing.to_json() for name, timing in timings.items()}
    result.figures = {
        "ready_seconds": timings[READY].median,
        "first_ratio": timings[FIRST].median / timings[WARM].median,
    }
    result.facts.append(
        f"A Python process with {WORKERS} workers, new in each round; it is ready when the catalogue is open and every "
        "worker has what it needs. Each batch is of other alerts of the same exposure. A process of an untimed round "
        "came before, so that compiled code and files may be cached."
    )
    return result


def _in_a_process(folder: Path, copy: LocalCopy, batches: list[Batch], *more: str) -> tuple[dict, list]:
    """Have a new process match some batches; what it took, and its answers."""
    asked, told = folder / "asked.npz", folder / "told.npz"
    np.savez(asked, *(part for batch in batches for part in batch))
    words = [sys.executable, "-m", "benchmarks.cases.start", str(copy.path), str(asked), str(told), *more]
    # The clock of all processes of a machine.
    began = time.monotonic()
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    seen = json.loads(run.stdout)
    with np.load(told) as parts:
        answers = [Answer(parts[f"left{place}"], parts[f"separation{place}"]) for place in range(len(batches))]
    return seen | {"ready": seen["ready_at"] - began}, answers


def _main(path: str, asked: str, told: str, how: str = "") -> None:
    with np.load(asked) as parts:
        columns = list(parts.values())
    batches = list(zip(columns[::2], columns[1::2], strict=True))
    seen: dict[str, Any] = {}
    if how == PROFILED:
        profile = profiled(lambda: seen.update(_ready_and_match(path, batches, told)))
        seen["profile"] = f"Until the first batch is answered, after imports; this process's own thread:\n{profile}"
    else:
        seen = _ready_and_match(path, batches, told)
    print(json.dumps(seen))


def _ready_and_match(path: str, batches: list[Batch], told: str) -> dict[str, Any]:
    kept: dict[str, np.ndarray] = {}
    took = []
    with ours.matcher(Path(path), xmatch_columns(), RADIUS_ARCSEC, workers=WORKERS) as engine:
        engine.open()
        engine.connect()
        ready_at = time.monotonic()
        for place, batch in enumerate(batches):
            began = time.perf_counter()
            found = engine.match(*batch)
            took.append(time.perf_counter() - began)
            answer = ours.batch_answer(found)
            kept[f"left{place}"], kept[f"separation{place}"] = answer.left, answer.separation_arcsec
    np.savez(told, **kept)
    return {"ready_at": ready_at, "batches": took}


if __name__ == "__main__":
    _main(*sys.argv[1:])
