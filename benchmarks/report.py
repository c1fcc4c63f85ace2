"""``RESULTS.md``: what was measured, line by line of what must be reached, then case by case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import cases, scale
from benchmarks.case import FOLDER
from benchmarks.goals import GOALS, Goal

SIZES = {"full": "full size", "tenth": "a tenth of the size"}
PROFILE_LINES = 14

HEAD = """# Benchmarks

`make bench` measures at a tenth of the size, `make bench-full` at full size; `python -m benchmarks CASE [--full]` runs
one case. The skies are made from a seed and kept under `~/.cache/xmatch-hats/bench`; building them is not timed.

Within a case all ways run in turn, round by round, on the same input (A B A B ...; there and back, A B B A ..., of
tables and in bulk, where ACID slows whatever comes next), after warm-ups; what is given are medians, and the lowest and
highest. A ratio is that of medians. Memory is the peak of the process and all of its children in one further run: on a
cluster that ways share, it holds what the others have left there.

Answers are compared outside of the clock, those of each timed round: the set of left rows, each once, and their
separations; of packets the number, the object that was matched and its separation. Which of two equally near sources
was taken is not compared, nor are other columns. Of what is timed more often than its peer is in a round, the peer
answers the rest once more in one batch. How many were compared stands with each case, and of which part where it is
not all; a case whose answers differ is wrong, whatever its times.
"""


def write(kept: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the report of results by size and case."""
    lines = [HEAD]
    machines = [result["machine"] for found in kept.values() for result in found.values()]
    shared = _shared(machines)
    if shared:
        others = "" if all(machine == machines[0] for machine in machines) else "; what differed is told at each case"
        lines += [f"Measured on {', '.join(shared.values())}{others}.", ""]
    for size, words in SIZES.items():
        if size in kept:
            lines += _size(size, words, kept[size], shared)
    (FOLDER / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")


def _told(machine: Mapping[str, Any]) -> dict[str, str]:
    """Words for each thing of a machine that may differ from another's."""
    return {
        "machine": f"{machine['cores']} cores ({machine['processor']})",
        "memory": f"{machine['memory_gib']} GiB",
        "system": machine["system"],
        "python": f"Python {machine['python']}",
        **{name: f"{name} {number}" for name, number in machine["versions"].items()},
        "stilts": f"STILTS {machine['stilts']}",
    }


def _shared(machines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What all cases were measured on and with; empty where there are none."""
    told = [_told(machine) for machine in machines]
    return {
        name: words for name, words in (told[0] if told else {}).items() if all(one.get(name) == words for one in told)
    }


def _size(size: str, words: str, found: Mapping[str, Any], shared: Mapping[str, str]) -> Iterator[str]:
    yield f"## At {words}"
    yield ""
    # A table of nothing but question marks tells nothing.
    goals = GOALS if any(goal.case in found for goal in GOALS) else ()
    if goals:
        yield "| case | at least | aim | measured | |"
        yield "|---|---|---|---|---|"
    missed = []
    for goal in goals:
        result = found.get(goal.case, {})
        figures = result.get("figures", {})
        verdict = "WRONG ANSWERS" if result.get("differences") else goal.verdict(figures)
        if verdict in ("NOT REACHED", "WRONG ANSWERS"):
            missed.append(goal)
        cells = (goal.title, _bounds(goal, "at_least"), _bounds(goal, "aim"), _seen(goal, figures), verdict)
        yield f"| {' | '.join(cells)} |"
    yield ""
    if size == "tenth" and goals:
        yield "The figures asked for are those at full size; they stand here for comparison."
        yield ""
    for name in cases.NAMES:
        if name in found:
            yield from _case(size, found[name], shared)
    yield from _missed(size, missed)
    yield from _charts(size)


def _bounds(goal: Goal, which: str) -> str:
    texts = []
    for bound in goal.bounds:
        value = getattr(bound, which)
        sign = "<= " if bound.less_is_better else ""
        texts.append(sign + bound.text.format(f"{value:,g}"))
    return ", ".join(texts)


def _seen(goal: Goal, figures: Mapping[str, float]) -> str:
    texts = []
    for bound in goal.bounds:
        value = figures.get(bound.figure)
        texts.append("?" if value is None else bound.text.format(_number(value)))
    return ", ".join(texts)


def _case(size: str, result: Mapping[str, Any], shared: Mapping[str, str]) -> Iterator[str]:
    yield f"### {result['title']}"
    yield ""
    if result["case"] == "curves":
        yield from _curves(result["ways"])
    elif result["case"] == "scale":
        yield from scale.tell(result["ways"])
    elif result["ways"]:
        first = next(iter(result["ways"].values()))["median"]
        yield "| way | median | lowest to highest | against the first | peak memory | |"
        yield "|---|---|---|---|---|---|"
        for name, way in result["ways"].items():
            span = f"{_time(way['low'])} to {_time(way['high'])}"
            memory = f"{way['peak_mib']:,} MiB" if way["peak_mib"] else ""
            ratio = f"{_number(way['median'] / first)} x"
            yield f"| {name} | {_time(way['median'])} | {span} | {ratio} | {memory} | {way['note']} |"
    yield ""
    what = result.get("compared_what", "matches")
    answers = (
        "**The answers differ**: " + "; ".join(result["differences"]) + "."
        if result["differences"]
        else f"All answers were the same (compared were {result['compared']:,} {what})." * (result["compared"] > 0)
    )
    told = " ".join([*result["facts"], answers]).strip()
    own = ", ".join(words for name, words in _told(result["machine"]).items() if name not in shared)
    yield (
        f"{told} Measured {result['when'][:16]} UTC at {result['commit']}{own and f' on {own}'}, in "
        f"{result['took_seconds']} s; the load of the machine before it was {result['load_before']}."
    )
    if (FOLDER / "profiles" / f"{result['case']}.{size}.txt").is_file():
        yield f"Profile: [profiles/{result['case']}.{size}.txt](profiles/{result['case']}.{size}.txt)."
    yield ""


def _curves(ways: Mapping[str, Any]) -> Iterator[str]:
    yield "| against | method | median time at each |"
    yield "|---|---|---|"
    for name, curve in ways.items():
        for method, points in curve.items():
            told = ", ".join(f"{_number(x)}: {_time(seconds)}" for x, seconds in points)
            yield f"| {name} | {method} | {told} |"


def _missed(size: str, goals: list[Goal]) -> Iterator[str]:
    """What stands in the way, of each case that missed a line, and the head of its profile."""
    shown = set()
    for goal in goals:
        path = FOLDER / "profiles" / f"{goal.case}.{size}.txt"
        profile = path.read_text().splitlines()[:PROFILE_LINES] if path.is_file() else []
        obstacle = goal.obstacle if size == "full" else ""
        if goal.case in shown or not (profile or obstacle):
            continue
        shown.add(goal.case)
        yield f"### Not reached: {goal.title}"
        yield ""
        if obstacle:
            yield from (obstacle, "")
        if profile:
            yield from ("```", *profile, "```", "")


def _charts(size: str) -> Iterator[str]:
    for path in sorted((FOLDER / "charts").glob(f"*.{size}.svg")):
        yield f"![{path.name.partition('.')[0].replace('-', ' ')}](charts/{path.name})"
    yield ""


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
