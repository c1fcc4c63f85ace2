"""What the report tells of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.goals import GOALS

MACHINE = {
    "cores": 2, "processor": "a processor", "memory_gib": 24, "system": "Linux 6", "python": "3.11.7",
    "versions": {"lsdb": "0.11.1", "numpy": "2.4.6"}, "stilts": "3.4.7",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    return tmp_path


def result(case: str, **more: Any) -> dict[str, Any]:
    return {
        "case": case, "title": f"the case {case}", "figures": {}, "ways": {}, "differences": [], "compared": 5,
        "facts": [], "when": "2026-01-02 03:04:05", "commit": "abc", "took_seconds": 7, "load_before": 0.5,
        "machine": MACHINE,
    } | more  # fmt: skip


def written(folder: Path, **cases: Any) -> str:
    report.write({"full": {case: result(case, **more) for case, more in cases.items()}})
    return (folder / "RESULTS.md").read_text()


def test_one_machine_is_told_once(folder: Path) -> None:
    text = written(folder, one={}, cold={})
    assert (
        "Measured on 2 cores (a processor), 24 GiB, Linux 6, Python 3.11.7, lsdb 0.11.1, numpy 2.4.6, STILTS 3.4.7.\n"
        in text
    )
    assert text.count("lsdb 0.11.1") == text.count("2 cores") == 1
    assert text.count("Measured 2026-01-02 03:04 UTC at abc, in 7 s;") == 2


def test_what_differs_is_told_at_each_case(folder: Path) -> None:
    other = MACHINE | {"cores": 64, "versions": {"lsdb": "0.12.0", "numpy": "2.4.6", "scipy": "1.0"}}
    text = written(folder, one={}, cold={"machine": other})
    assert "Measured on 24 GiB, Linux 6, Python 3.11.7, numpy 2.4.6, STILTS 3.4.7; what differed is told" in text
    assert "UTC at abc on 2 cores (a processor), lsdb 0.11.1, in 7 s" in text
    assert "UTC at abc on 64 cores (a processor), lsdb 0.12.0, scipy 1.0, in 7 s" in text


def test_a_missed_line_is_told_with_what_stands_in_its_way(folder: Path) -> None:
    (folder / "profiles").mkdir()
    (folder / "profiles" / "cold.full.txt").write_text("head of the profile\n")
    text = written(folder, cold={"figures": {"ratio": 4.0}}, packets={"figures": {"rate": 2000}})
    obstacles = {goal.case: goal.obstacle for goal in GOALS}
    _, cold, packets = text.split("### Not reached: ")
    assert cold.endswith(f"\n\n{obstacles['cold']}\n\n```\nhead of the profile\n```\n\n")
    assert packets.strip().endswith(f"\n\n{obstacles['packets']}")
    assert "Not reached" not in written(folder, cold={"figures": {"ratio": 5.0}})


def test_what_was_compared_is_told(folder: Path) -> None:
    text = written(folder, packets={"compared_what": "packets: the first 5"}, one={})
    assert "(compared were 5 packets: the first 5)" in text
    assert "(compared were 5 matches)" in text
    assert "were the same" not in written(folder, memory={"compared": 0})


def test_no_results_are_a_report_without_cases(folder: Path) -> None:
    assert written(folder).startswith("# Benchmarks")
