"""Results on disk: one file a case while a run goes on, all of them in ``results.json``, and what they were made on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks import skies
from benchmarks.case import FOLDER, Bench, CaseResult

PACKAGES = (
    "xmatch-hats", "lsdb", "hats", "dask", "distributed", "pyarrow", "numpy", "numba", "pandas", "astropy", "pyacid",
    "polars", "fastavro", "confluent-kafka",
)  # fmt: skip
RESULTS = FOLDER / "results.json"


def save(bench: Bench, case: str, result: CaseResult, seconds: float, load: float) -> None:
    """Keep what a case found."""
    found = result.to_json() | {
        "case": case,
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "commit": commit(),
        "took_seconds": round(seconds),
        "load_before": round(load, 2),
        "machine": machine(),
    }
    path = place(bench, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(found, indent=1))
    partial.rename(path)


def place(bench: Bench, case: str) -> Path:
    """Where a case's results lie while a run goes on."""
    return skies.cache() / "results" / bench.size.name / f"{case}.json"


def gather(bench: Bench) -> None:
    """Lay what was measured here over what ``results.json`` has, and profiles beside it; the newer one of a case wins.

    What was measured elsewhere stays: this machine has nothing to say of it.
    """
    kept = read()
    of_size = kept.setdefault(bench.size.name, {})
    for path in sorted(place(bench, "x").parent.glob("*.json")):
        result = json.loads(path.read_text())
        profile = result.pop("profile", "")
        case = result["case"]
        if case in of_size and result["when"] <= of_size[case]["when"]:
            continue
        of_size[case] = result if "machine" in result else result | {"machine": machine()}
        _keep_profile(FOLDER / "profiles" / f"{case}.{bench.size.name}.txt", result["title"], profile)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


def _keep_profile(path: Path, title: str, profile: str) -> None:
    """Write a profile; where there is none, no older one may pass for it."""
    if profile:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{title}\n\n{profile}\n")
    else:
        path.unlink(missing_ok=True)


def read() -> dict[str, dict[str, Any]]:
    """All results that are kept, by size and case, each with the machine that it was measured on."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    # Files were written that had one machine for all cases.
    former = {"machine": kept["machine"]} if "machine" in kept else {}
    return {
        size: {case: result | former | result for case, result in kept[size].items()}
        for size in ("tenth", "full")
        if kept.get(size)
    }


def machine() -> dict[str, Any]:
    """What this process runs on, and with."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "stilts": _stilts_version(),
    }


def commit() -> str:
    """The state of the repository, with a plus where files differ from it."""
    try:
        words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _stilts_version() -> str:
    try:
        run = subprocess.run(["stilts", "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    words = [line.split()[-1] for line in (run.stdout + run.stderr).splitlines() if "STILTS version" in line]
    return words[0] if words else "unknown"
