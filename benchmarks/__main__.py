"""``python -m benchmarks [CASE ...] [--full] [--resume]``: run cases, each in a process of its own.

Results are written after every case: ``results.json``, ``RESULTS.md``, ``profiles/`` and ``charts/`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from benchmarks import cases, results, skies
from benchmarks.case import Bench, CaseResult

CASE_SECONDS = {False: 600, True: 1800}


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmarks."""
    options = _options(words)
    bench = Bench(options.full, options.rounds)
    if options.inside:
        return run_inside(bench, options.cases[0])
    if options.report:
        write_all(bench)
        return 0
    if options.build or not options.cases:
        build(bench)
    if options.build:
        return 0
    failed = []
    for case in options.cases or [name for name in cases.NAMES if bench.full or name not in cases.FULL_ONLY]:
        if options.resume and is_measured(bench, case):
            print(f"{case}: measured already", flush=True)
            continue
        if not run_apart(bench, case):
            failed.append(case)
        write_all(bench)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(cases.NAMES)}; all by default")
    parser.add_argument("--full", action="store_true", help="20 million rows instead of a tenth of it")
    parser.add_argument("--resume", action="store_true", help="leave out what was measured at the same commit")
    parser.add_argument("--build", action="store_true", help="only build the skies")
    parser.add_argument("--report", action="store_true", help="only write the report anew")
    parser.add_argument("--rounds", type=_rounds, metavar="N", help="time no more rounds than this, for a quick look")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if unknown := set(options.cases) - set(cases.NAMES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; the cases are {', '.join(cases.NAMES)}")
    if options.inside and len(options.cases) != 1:
        parser.error("--inside runs one case in this process: name one")
    return options


def _rounds(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of rounds: give 1 or more")
    return int(word)


def build(bench: Bench) -> None:
    """Make all skies and packets that are not there yet; a first run takes much longer for it."""
    from benchmarks.cases import curves, packets, tables

    for copy in (
        skies.sky_copy(bench.size),
        skies.fine_copy(bench.size),
        *(curves.smaller_catalogs() if bench.full else ()),
    ):
        skies.with_side_copy(copy)
    skies.left_copy(bench.size)
    skies.left_cut_fine()
    packets.prepare(bench)
    for rows in curves.table_sizes(bench):
        tables.make_tables(rows // 4, rows)


def run_apart(bench: Bench, case: str) -> bool:
    """Run one case in a process of its own, which leaves nothing behind; whether it went well."""
    print(f"{case} ({bench.size.name})", flush=True)
    words = [sys.executable, "-m", "benchmarks", case, "--inside", *(["--full"] if bench.full else [])]
    if bench.most_rounds is not None:
        words += ["--rounds", str(bench.most_rounds)]
    process = subprocess.Popen(words, start_new_session=True)
    try:
        return process.wait(CASE_SECONDS[bench.full]) == 0
    except subprocess.TimeoutExpired:
        print(f"{case}: took more than {CASE_SECONDS[bench.full]} s", flush=True)
        return False
    finally:
        # Workers, brokers and Java processes of a case that ended badly are in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_inside(bench: Bench, case: str) -> int:
    """Run one case here, and keep what it found."""
    load = os.getloadavg()[0]
    began = time.monotonic()
    try:
        result: CaseResult = cases.load(case)(bench)
    except Exception:  # noqa: BLE001 - whatever it was, the other cases go on
        traceback.print_exc()
        return 1
    seconds = time.monotonic() - began
    results.save(bench, case, result, seconds, load)
    figures = ", ".join(f"{name} {value:.4g}" for name, value in result.figures.items())
    print(f"{case}: {figures or 'done'} ({seconds:.0f} s)", flush=True)
    for sentence in result.differences:
        print(f"{case}: WRONG: {sentence}", flush=True)
    return 1 if result.differences else 0


def is_measured(bench: Bench, case: str) -> bool:
    """Whether there is a result of this very state of the repository."""
    path = results.place(bench, case)
    return path.is_file() and json.loads(path.read_text())["commit"] == results.commit()


def write_all(bench: Bench) -> None:
    """Write results, report and charts from what there is."""
    from benchmarks import charts, report

    results.gather(bench)
    kept = results.read()
    charts.draw(kept)
    report.write(kept)


if __name__ == "__main__":
    sys.exit(main())
