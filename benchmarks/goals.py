"""What must be reached, line by line: the least, and the aim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """One figure of a line, and where it should be."""

    figure: str
    """Name that a case gives it."""
    text: str
    """With ``{}`` for a number."""
    at_least: float
    aim: float | None
    less_is_better: bool = False

    def reaches(self, value: float, bound: float | None) -> bool:
        """Whether a value is as good as a bound."""
        return bound is not None and (value <= bound if self.less_is_better else value >= bound)


@dataclass(frozen=True)
class Goal:
    """A line of the table."""

    case: str
    """Case that measures it."""
    title: str
    bounds: tuple[Bound, ...]
    obstacle: str = ""
    """What stands in the way at full size, as profiles showed; told where the line is not reached."""

    def verdict(self, figures: Mapping[str, float]) -> str:
        """Say in a word how far it was reached."""
        values = [figures.get(bound.figure) for bound in self.bounds]
        if any(value is None for value in values):
            return "not measured"
        seen = [(bound, value) for bound, value in zip(self.bounds, values, strict=True) if value is not None]
        if all(bound.reaches(value, bound.aim) for bound, value in seen):
            return "aim reached"
        return "reached" if all(bound.reaches(value, bound.at_least) for bound, value in seen) else "NOT REACHED"


def _times(figure: str, at_least: float, aim: float, what: str = "") -> Bound:
    return Bound(figure, f"{{}} x faster{what}", at_least, aim)


GOALS = (
    Goal(
        "batch",
        "1,000 alerts over 47 square degrees, warm, 17 columns out, against plain LSDB",
        (_times("ratio", 20, 100), Bound("milliseconds", "{} ms", 60, 15, less_is_better=True)),
    ),
    Goal(
        "cold",
        "the same, nothing of ours cached: new workers, no side copy",
        (_times("ratio", 5, 15),),
        "Each new worker decodes whole row groups for the few rows that are asked of them, which takes most of its "
        "time; the rest is the opening of files, and positions.",
    ),
    Goal(
        "start",
        "a process with two workers, ready for its first batch; that batch against those after it",
        (
            Bound("ready_seconds", "{} s", 15, 8, less_is_better=True),
            Bound("first_ratio", "{} x a warm one", 2, 2, less_is_better=True),
        ),
        "The first batch maps and checks the side copy's files of some twenty partitions, half a millisecond or more "
        "for each; those after it find them open.",
    ),
    Goal("batch10k", "10,000 alerts, warm", (_times("ratio", 15, 60),)),
    Goal("one", "one alert, warm", (Bound("milliseconds", "{} ms", 20, 5, less_is_better=True),)),
    Goal(
        "partitions",
        "the warm batch on 12,288 partitions against 400",
        (Bound("ratio", "{} x slower", 1.3, 1.0, less_is_better=True),),
    ),
    Goal(
        "bulk",
        "5 M x 20 M rows, nearest, 7 columns, HATS written, against plain LSDB `write_catalog`",
        (_times("ratio_lsdb", 3, 5), Bound("bytes_ratio", "{} x the bytes", 1.1, 1.1, less_is_better=True)),
    ),
    Goal("bulk", "the same against ACID's in-memory answer", (_times("ratio_acid", 1.5, 3),)),
    Goal(
        "tables",
        "1 M x 4 M table match",
        (_times("ratio_stilts", 3, 10, " than STILTS"), _times("ratio_astropy", 3, 10, " than astropy")),
        "Reading and writing both tables is a third of our time. The peers pay the same for theirs.",
    ),
    Goal(
        "packets",
        "packets file to file, two cores",
        (Bound("rate", "{} /s", 3000, 8000),),
        "One process, whose Python lock is the bound: reading the files, or the archive's headers, and walking the "
        "records take about half each. Matching and writing are all that is left for a second core.",
    ),
    Goal("kafka", "packets Kafka to Kafka, broker on the same cores", (Bound("rate", "{} /s", 1000, 2500),)),
    Goal(
        "memory",
        "a worker at all this, over one that has only imported lsdb and the set bound",
        (Bound("over_mib", "{} MiB more", 300, 300, less_is_better=True),),
    ),
)
