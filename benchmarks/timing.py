"""Timing in turn: every way runs once a round, in the same order, on the same input, so that noise meets all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """Runs in a turn, each on an input of its own: more for what is quick.

    All answers of the first way are compared. A way with fewer repeats than the first runs once more for it, outside
    the clock, on the other inputs together: they must be batches of coordinates then.
    """
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
    back: bool = False,
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
    back : bool, optional
        Whether to run there and back (A B B A ...), where one of the ways slows the one that comes next.
    """
    turns = Turns({way.name: Timing(way.name) for way in ways}, [])
    most = max(way.repeats for way in ways)
    for number in range(-warm_ups, rounds):
        inputs = [make_input((number + warm_ups) * most + repeat) for repeat in range(most)]
        order = ways[::-1] if back and (number + warm_ups) % 2 else ways
        answers = {way.name: _run(turns.timings[way.name], way, inputs, is_timed=number >= 0) for way in order}
        if number >= 0:
            _compare(turns, [(way, answers[way.name]) for way in ways], inputs, radius_arcsec)
        say(f"  round {number}: " + ", ".join(_last(turns.timings[way.name]) for way in ways))
    for way in ways if watched else ():
        with Watch() as watch:
            way.run(make_input((rounds + warm_ups) * most))
        turns.timings[way.name].peak_mib = watch.peak_mib
    return turns


def _run(timing: Timing, way: Way, inputs: Sequence[Any], *, is_timed: bool) -> list[Answer]:
    """Run all repeats of a turn; what each answered, brought into form between the clock's times."""
    answers = []
    for repeat in range(way.repeats):
        gc.collect()
        began = time.perf_counter()
        raw = way.run(inputs[repeat])
        took = time.perf_counter() - began
        if is_timed:
            timing.seconds.append(took)
        if way.answer is not None:
            answers.append(way.answer(raw))
        del raw
    return answers


def _compare(
    turns: Turns, answers: Sequence[tuple[Way, list[Answer]]], inputs: Sequence[Any], radius_arcsec: float
) -> None:
    """Compare every repeat of the first way with the other ways'."""
    answers = [(way, given) for way, given in answers if given]
    for way, given in answers[1:]:
        first, reference = answers[0]
        tolerance = max(way.tolerance_arcsec, first.tolerance_arcsec)
        pairs = list(zip(reference, given, strict=False))
        if len(given) < len(reference):
            pairs.append(_rest(way, reference[len(given) :], inputs[len(given) : len(reference)]))
        for one, other in pairs:
            wrong = difference(one, other, radius_arcsec, tolerance)
            if wrong and len(turns.differences) < 10:
                turns.differences.append(f"{way.name} against {first.name}: {wrong}")
    if len(answers) > 1:
        turns.compared += sum(len(answer.left) for answer in answers[0][1])


def _rest(way: Way, reference: Sequence[Answer], batches: Sequence[Any]) -> tuple[Answer, Answer]:
    """Run a slow way once on all batches together that it was not timed on; the reference and what it answered."""
    assert way.answer is not None
    together = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    rows = [len(batch[0]) for batch in batches]
    return Answer.of_batches(reference, rows), way.answer(way.run(together))


def _last(timing: Timing) -> str:
    return f"{timing.name} {timing.seconds[-1]:.4f} s" if timing.seconds else f"{timing.name} (warm-up)"
