from __future__ import annotations

import json
import re
import shlex
import sys
import time

import pytest

from xmatch_hats.cli.app import run
from xmatch_hats.demo import check
from xmatch_hats.demo.tour import MARKER

SMALL = ["--rows", "8000", "--alerts", "200", "--seed", "3"]


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    """A small demo, run once; what it printed, and where."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    folder = tmp_path_factory.mktemp("tour") / "my demo"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["demo", "--dir", str(folder), *SMALL])
    return code, out.getvalue(), err.getvalue(), folder


def test_it_agrees_with_brute_force_and_says_so(toured):
    code, out, err, folder = toured
    assert code == 0, out + err
    assert "all agree" in out
    assert re.search(r"200 packets of schema 3\.3, .* 4 damaged", out)
    assert len(re.findall(r"^rejected \d+\.avro: ", out, re.MULTILINE)) == 4
    assert re.search(r"\d+ checks, none failed", out)
    assert "AllWISE J" in out
    assert err == ""
    assert (folder / MARKER).is_file()


def test_the_counts_are_shown(toured):
    row = next(line for line in toured[1].splitlines() if line.startswith("│"))
    total, matched, unmatched, outside, rejected = (int(cell) for cell in row.strip("│ ").split("│"))
    assert total == 200 == matched + unmatched + outside + rejected
    assert min(matched, unmatched, outside) > 0
    assert rejected == 4


def test_the_next_commands_work_as_printed(toured, capsys):
    _, out, _, folder = toured
    commands = [shlex.split(line) for line in out.split("Try next:")[1].splitlines() if line.strip()]
    assert [command[1] for command in commands] == ["catalog", "cone", "match", "alerts", "bulk", "bulk"]
    for command in commands:
        assert command[0] == "xmatch-hats"
        assert run(command[1:]) == 0, command
    assert "designation" in capsys.readouterr().out
    assert (folder / "matched.fits").is_file()
    assert (folder / "3.3.tar.gz").is_file()
    summary = json.loads(next(folder.glob("nights/night=20231017/archive=*/_bulk/summary.json")).read_text())
    assert (summary["in"], summary["rejected"]) == (200, 4)
    assert (folder / "nights_report" / "report.html").is_file()


def test_without_the_library_of_pictures_the_report_is_of_numbers(tmp_path, monkeypatch):
    from xmatch_hats.demo import tour

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    commands = tour._Tour(tour.DemoSettings(tmp_path), None)._next_commands()
    assert commands[-1] == ["bulk", "report", f"{tmp_path}/nights", "--json"]


def test_commands_name_the_program_as_the_shell_finds_it(monkeypatch):
    from xmatch_hats.cli.demo import _program

    monkeypatch.setattr("sys.argv", ["/some/where/xmatch-hats", "demo"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert _program() == "/some/where/xmatch-hats"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert _program() == "xmatch-hats"


def test_a_disagreement_is_exit_code_1_and_shown(tmp_path, monkeypatch, capsys):
    def wrong(*args, **kwargs):
        found = right(*args, **kwargs)
        found.row[found.row >= 0] += 1
        return found

    right = check.nearest_by_brute_force
    monkeypatch.setattr(check, "nearest_by_brute_force", wrong)
    arguments = ["--dir", str(tmp_path / "d"), "--no-keep", "--rows", "1000", "--alerts", "100"]
    assert run(["demo", *arguments]) == 1
    out = capsys.readouterr().out
    assert "Brute force disagrees" in out
    assert "brute force says" in out
    assert "Try next" not in out
    assert not (tmp_path / "d").exists()


def test_a_folder_of_others_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    for keep in ("--keep", "--no-keep"):
        assert run(["demo", "--dir", str(tmp_path), keep]) == 2
        assert "something else than a demo" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "x"


def test_a_refused_demo_leaves_an_earlier_one(tmp_path, capsys):
    (tmp_path / MARKER).write_text("{}")
    assert run(["demo", "--dir", str(tmp_path), "--no-keep", "--rows", "5"]) == 2
    assert "--rows" in capsys.readouterr().err
    assert (tmp_path / MARKER).is_file()


@pytest.mark.campaign
def test_the_demo_at_full_size(tmp_path, capsys, record_property):
    started = time.monotonic()
    assert run(["demo", "--dir", str(tmp_path / "d")]) == 0
    record_property("demo seconds", round(time.monotonic() - started, 1))
    assert "1,496 answers" in capsys.readouterr().out
