"""Run every full-size test, many random examples, and the whole path on real data, and write what they saw.

``python -m tests.campaign [pytest arguments]`` writes ``campaign/REPORT.md``.

Figures come from the tests themselves, by pytest's ``record_property``.
"""

from __future__ import annotations

import platform
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

FOLDER = Path("campaign")
PACKAGES = ("xmatch-hats", "lsdb", "hats", "hats-import", "dask", "pyarrow", "numpy", "astropy", "fastavro")


def main(arguments: list[str]) -> int:
    FOLDER.mkdir(exist_ok=True)
    results = FOLDER / "results.xml"
    chosen = ["-m", "campaign or whole_path or examples", "--hypothesis-profile=campaign", "--timeout=3600"]
    code = pytest.main([*chosen, f"--junit-xml={results}", *arguments])
    (FOLDER / "REPORT.md").write_text(report(results))
    return int(code)


def report(results: Path) -> str:
    lines = [
        "# Campaign",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {platform.machine()}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "",
        "| test | outcome | seconds | figures |",
        "|---|---|---|---|",
    ]
    for case in ET.parse(results).getroot().iter("testcase"):
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        figures = "; ".join(f"{item.get('name')} {item.get('value')}" for item in case.iter("property"))
        name = f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}"
        lines.append(f"| {name} | {outcome} | {float(case.get('time', 0)):.1f} | {figures} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
