"""In a pipe there are no bars, no colours and no chatter; on a terminal there is something to look at."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pytest

from tests.alerts.makers import pack, small_alert

HERE = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.cli.program"]
DRAWN = re.compile(r"[\x1b\r\b]|[━█▏▎▍▌▋▊▉⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]")
"""Bars, spinners, and what moves the cursor."""


@pytest.fixture
def folder(made, plain_copy, tmp_path):
    pyarrow.csv.write_csv(made.sky.select(["designation", "ra", "dec"]).slice(0, 100), tmp_path / "t.csv")
    (tmp_path / "packets").mkdir()
    for number in range(5):
        (tmp_path / "packets" / f"{number}.avro").write_bytes(pack([small_alert(number, 0.0, 0.0)]))
    (tmp_path / "sky").symlink_to(made.copy)
    (tmp_path / "plain").symlink_to(plain_copy)
    return tmp_path


def call(folder, *words, **streams):
    here = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "XMATCH_HATS_CATALOGS": str(folder / "root"),
        "XMATCH_HATS_CONFIG": os.devnull,
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    for name in ("FORCE_COLOR", "NO_COLOR"):
        here.pop(name, None)
    return subprocess.run([*PROGRAM, *words], cwd=folder, env=here, check=False, timeout=120, **streams)


@pytest.mark.parametrize(
    ("line", "err"),
    [
        pytest.param("cone 0.01 -0.02 60 --catalog sky", "", marks=pytest.mark.campaign),
        ("match t.csv --catalog sky --radius 1 --out m.csv --json", ""),
        pytest.param("catalog verify sky", "", marks=pytest.mark.campaign),
        ("catalog import t.csv --out copy --coverage all-sky", None),
        pytest.param("alerts packets --catalog sky --out matched", "", marks=pytest.mark.campaign),
        pytest.param("bulk catalogs plain sky --radius 1 --out b --json", "", marks=pytest.mark.campaign),
        ("doctor", ""),
    ],
)
def test_nothing_is_drawn_in_a_pipe(folder, line, err):
    result = call(folder, *line.split(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not DRAWN.search(result.stdout + result.stderr)
    if err is not None:
        assert result.stderr == err
    if "--json" in line:
        json.loads(result.stdout)


def test_a_terminal_sees_bars_while_the_output_stays_data(folder):
    parent, child = pty.openpty()
    try:
        line = "match t.csv --catalog sky --radius 1 --out m.csv --json"
        result = call(folder, *line.split(), stdout=subprocess.PIPE, stderr=child)
        seen = os.read(parent, 1 << 16).decode()
    finally:
        os.close(child)
        os.close(parent)
    assert json.loads(result.stdout)["in"] == 100
    assert "\x1b" in seen
