"""Results of one machine lie over those of others, and never take one away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from benchmarks.case import Bench, CaseResult

OLD, NEW = "2026-01-02 03:04", "2026-01-02 03:04:05"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of what is kept; the cache beside it is empty."""
    kept = tmp_path / "kept"
    (kept / "profiles").mkdir(parents=True)
    monkeypatch.setattr(results, "FOLDER", kept)
    monkeypatch.setattr(results, "RESULTS", kept / "results.json")
    monkeypatch.setenv("XMATCH_HATS_BENCH", str(tmp_path / "cache"))
    return kept


def found(case: str, when: str, **more: Any) -> dict[str, Any]:
    return {"case": case, "title": f"the case {case}", "when": when, "figures": {}} | more


def keep(folder: Path, **sizes: Any) -> None:
    (folder / "results.json").write_text(json.dumps({"machine": {"cores": 64}} | sizes))


def cached(bench: Bench, **result: Any) -> None:
    path = results.place(bench, result["case"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


@pytest.mark.parametrize("full", [False, True])
def test_an_empty_cache_takes_nothing_away(folder: Path, full: bool) -> None:
    sizes = {"tenth": {"one": found("one", OLD)}, "full": {"bulk": found("bulk", OLD), "one": found("one", NEW)}}
    keep(folder, **sizes)
    results.gather(Bench(full))
    kept = results.read()
    assert {size: {name: case["when"] for name, case in kept[size].items()} for size in ("tenth", "full")} == {
        "tenth": {"one": OLD},
        "full": {"bulk": OLD, "one": NEW},
    }


def test_the_newer_result_wins_with_its_profile(folder: Path) -> None:
    keep(folder, full={"one": found("one", OLD), "bulk": found("bulk", NEW), "cold": found("cold", OLD)})
    (folder / "profiles" / "cold.full.txt").write_text("of the old one")
    cached(Bench(True), **found("one", NEW, profile="where the time went"))
    cached(Bench(True), **found("bulk", OLD, profile="older than what is kept"))
    cached(Bench(True), **found("cold", NEW, profile=""))
    cached(Bench(True), **found("packets", OLD, profile=""))
    results.gather(Bench(True))
    kept = results.read()["full"]
    assert {name: case["when"] for name, case in kept.items()} == {
        "one": NEW, "bulk": NEW, "cold": NEW, "packets": OLD,
    }  # fmt: skip
    assert "profile" not in kept["one"]
    assert [path.name for path in (folder / "profiles").iterdir()] == ["one.full.txt"]
    assert (folder / "profiles" / "one.full.txt").read_text() == "the case one\n\nwhere the time went\n"


def test_each_case_keeps_the_machine_that_it_was_measured_on(folder: Path) -> None:
    keep(folder, full={"one": found("one", OLD), "bulk": found("bulk", OLD)}, tenth={"one": found("one", OLD)})
    cached(Bench(True), **found("bulk", NEW, profile="", machine={"cores": 2}))
    results.gather(Bench(True))
    kept = json.loads((folder / "results.json").read_text())
    assert list(kept) == ["tenth", "full"]
    assert {case: result["machine"] for case, result in kept["full"].items()} == {
        "one": {"cores": 64},
        "bulk": {"cores": 2},
    }
    assert kept["tenth"]["one"]["machine"] == {"cores": 64}


def test_the_first_result_of_all_is_kept(folder: Path) -> None:
    results.save(Bench(False), "one", CaseResult("one alert"), 1.0, 0.5)
    results.gather(Bench(False))
    assert results.read()["tenth"]["one"]["machine"] == results.machine()
