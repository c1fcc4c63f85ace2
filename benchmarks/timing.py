"""Timing in turn: every way runs once a round, in the same order, on the same input, so that noise meets all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.answers import Answer, difference
from benchmarks.memory import Watch


@dataclass(frozen=True)
class Way:
    """One way of doing what a case is about."""

    name: str
    run: Callable[[Any], Any]
    """Does it; this is what is timed."""
    answer: Callable[[Any], Answer] | None = None
    """Brings what `run` gave into comparable form; not timed. None where the case itself compares."""
    repeats: int = 1
    """Runs in a turn, each on an input of its own: more for what is quick."""
    tolerance_arcsec: float = 1e-9
    """How well its separations are known."""


@dataclass
class Timing:
    """What was seen of one way."""

    name: str
    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    """Memory of the process and all of its children while it ran once more, workers that others share included."""
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "seconds": [round(value, 6) for value in self.seconds],
            "median": round(self.median, 6),
            "low": round(min(self.seconds), 6),
            "high": round(max(self.seconds), 6),
            "peak_mib": round(self.peak_mib),
            "note": self.note,
        }


@dataclass
class Turns:
    """All ways of a case, timed, and whether they agreed."""

    timings: dict[str, Timing]
    differences: list[str]
    """Sentences; empty where all answers were the same."""
    compared: int = 0
    """Pairs that were compared, of the first way."""

    def ratio(self, slow: str, fast: str) -> float:
        """How many times faster one way is, by medians."""
        return self.timings[slow].median / self.timings[fast].median


def in_turn(
    ways: Sequence[Way],
    make_input: Callable[[int], Any],
    *,
    rounds: int,
    warm_ups: int = 2,
    radius_arcsec: float = 1.0,
    watched: bool = True,
    say: Callable[[str], None] = print,
) -> Turns:
    """Run all ways in turn.

    Parameters
    ----------
    ways : sequence of Way
        The first is what the others are compared with.
    make_input : callable
        Input of a run, by its number; made outside the clock.
    rounds : int
        Timed rounds, after `warm_ups` untimed ones.
    radius_arcsec : float
        Pairs at this very separation are not compared.
    watched : bool, optional
        Whether to run each way once more and watch memory.
    """
    turns = Turns({way.name: Timing(way.name) for way in ways}, [])
    most = max(way.repeats for way in ways)
    for number in range(-warm_ups, rounds):
        inputs = [make_input((number + warm_ups) * most + repeat) for repeat in range(most)]
        answers: list[tuple[Way, Answer]] = []
        for way in ways:
            for repeat in range(way.repeats):
                gc.collect()
                began = time.perf_counter()
                raw = way.run(inputs[repeat])
                took = time.perf_counter() - began
                if number >= 0:
                    turns.timings[way.name].seconds.append(took)
                if repeat == 0 and way.answer is not None:
                    answers.append((way, way.answer(raw)))
                del raw
        if number >= 0:
            _compare(turns, answers, radius_arcsec)
        say(f"  round {number}: " + ", ".join(_last(turns.timings[way.name]) for way in ways))
    for way in ways if watched else ():
        with Watch() as watch:
            way.run(make_input((rounds + warm_ups) * most))
        turns.timings[way.name].peak_mib = watch.peak_mib
    return turns


def _compare(turns: Turns, answers: list[tuple[Way, Answer]], radius_arcsec: float) -> None:
    for way, answer in answers[1:]:
        first, reference = answers[0]
        tolerance = max(way.tolerance_arcsec, first.tolerance_arcsec)
        wrong = difference(reference, answer, radius_arcsec, tolerance)
        if wrong and len(turns.differences) < 10:
            turns.differences.append(f"{way.name} against {first.name}: {wrong}")
    if answers:
        turns.compared += len(answers[0][1].left)


def _last(timing: Timing) -> str:
    return f"{timing.name} {timing.seconds[-1]:.4f} s" if timing.seconds else f"{timing.name} (warm-up)"
