"""What a case is: a function that measures one thing beside its peers, and what it hands back."""

from __future__ import annotations

import cProfile
import io
import pstats
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import skies
from benchmarks.timing import Turns

FOLDER = Path(__file__).parent
RADIUS_ARCSEC = 1.0
WORKERS = 2


@dataclass(frozen=True)
class Bench:
    """How large a run is."""

    full: bool
    most_rounds: int | None = None
    """Upper bound of rounds, for a quick look; None is as many as each case wants."""

    @property
    def size(self) -> skies.Size:
        """Which skies are used."""
        return skies.FULL if self.full else skies.TENTH

    def rounds(self, full: int, tenth: int) -> int:
        """How many rounds to time."""
        wanted = full if self.full else tenth
        return wanted if self.most_rounds is None else min(wanted, self.most_rounds)


@dataclass
class CaseResult:
    """What a case found."""

    title: str
    figures: dict[str, float] = field(default_factory=dict)
    """By name, what `goals` asks for."""
    ways: dict[str, Any] = field(default_factory=dict)
    """By name, what was seen of each way."""
    differences: list[str] = field(default_factory=list)
    """How answers differed; a case with any is wrong, whatever its times."""
    compared: int = 0
    """How many were compared."""
    compared_what: str = "matches"
    """What they are, and of which part of the runs where it is not all."""
    facts: list[str] = field(default_factory=list)
    """Sentences for the reader."""
    profile: str = ""
    """Where the time of the first way went."""

    @classmethod
    def of(cls, title: str, turns: Turns) -> CaseResult:
        """Take over what was timed in turn."""
        ways = {name: timing.to_json() for name, timing in turns.timings.items()}
        return cls(title, ways=ways, differences=list(turns.differences), compared=turns.compared)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return dict(vars(self))


@contextmanager
def cluster(workers: int = WORKERS) -> Iterator[Any]:
    """A Dask client of worker processes, one thread each, for our engine and LSDB alike.

    With Arrow's memory as workers of our own have it.
    """
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ.ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as local,
        Client(local) as client,
    ):
        yield client


def profiled(run: Callable[[], Any], lines: int = 25) -> str:
    """Run once under the profiler, and give its top lines by own time."""
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        run()
    finally:
        profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(lines)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def xmatch_columns() -> list[str]:
    """The seventeen columns that an alert gets."""
    from xmatch_hats.catalogs.definition import load_definition

    return list(load_definition("allwise").xmatch_columns)
