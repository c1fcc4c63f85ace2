"""The order of the house: who may know whom, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LONGEST, TESTS

PACKAGE = Path(__file__).resolve().parents[1] / "xmatch_hats"
FLOORS = [
    {"errors"},
    {"config", "display", "machine_code", "quiet", "sphere", "healpix", "whole"},
    {"tables"},
    {"catalogs"},
    {"matching"},
    {"alerts", "store"},
    {"plots"},
    {"step", "bulk", "images"},
    {"demo", "doctor"},
    {"cli"},
]
"""From the ground up; a module may import from its own floor and those below."""
FILES = sorted(PACKAGE.rglob("*.py"))


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def rooms_imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("xmatch_hats.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_knows_what_lies_above_it(path):
    inside = path.relative_to(PACKAGE).parts
    room = inside[0].removesuffix(".py")
    if room == "__init__":
        return
    above = {other for other in rooms_imported(path) if floor_of(other) > floor_of(room)}
    assert not above


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_longest_files_of_tests_are_there():
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []


def test_the_command_line_starts_without_the_heavy_imports():
    code = (
        "import sys; from xmatch_hats.cli.app import run; run(['--help']); "
        "heavy = {'lsdb', 'hats', 'dask', 'pyarrow', 'pandas', 'astropy', 'numpy', 'fastavro', 'pydantic'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
