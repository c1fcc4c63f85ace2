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
from tests.shared import full_size
from xmatch_hats.cli.app import run

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


LINES = {
    "match t.csv --catalog sky --radius 1 --out m.csv --json": "",
    "cone 0.01 -0.02 60 --catalog sky": "",
    "catalog verify sky": "",
    "catalog import t.csv --out copy --coverage all-sky": None,
    "alerts packets --catalog sky --out matched": "",
    "bulk catalogs plain sky --radius 1 --out b --json": "",
    "doctor": "",
}
"""What each must write to the standard error, if that is certain."""


def check_quiet(line: str, code: int, out: str, err: str) -> None:
    assert code == 0, err
    assert not DRAWN.search(out + err)
    if LINES[line] is not None:
        assert err == LINES[line]
    if "--json" in line:
        json.loads(out)


@pytest.mark.parametrize("line", LINES)
def test_nothing_is_drawn_into_a_file(folder, monkeypatch, capfd, line):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(folder / "root"))
    monkeypatch.setenv("XMATCH_HATS_CONFIG", os.devnull)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    capfd.readouterr()
    check_quiet(line, run(line.split()), *capfd.readouterr())


# Each is a process that imports all it needs: the campaign has every one.
@pytest.mark.parametrize("line", [next(iter(LINES)), *(full_size(x) for x in [*LINES][1:])])
def test_nothing_is_drawn_in_a_pipe(folder, line):
    result = call(folder, *line.split(), capture_output=True, text=True)
    check_quiet(line, result.returncode, result.stdout, result.stderr)


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
    assert re.search(r"matching.*100/100", seen)
