from __future__ import annotations

import json
import subprocess
import sys

import pytest

from xmatch_hats.cli import doctor as verb
from xmatch_hats.cli.app import run
from xmatch_hats.doctor import Report, State, Symptom


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    return tmp_path


def test_no_problem_is_exit_code_0(home, capsys):
    assert run(["doctor"]) == 0
    told = capsys.readouterr()
    assert "ok       python: 3." in told.out
    assert f"warning  catalogues: none in {home / 'root'} (from XMATCH_HATS_CATALOGS)\n         -> make one" in told.out
    assert told.out.splitlines()[-1].startswith("no problem, 1 warning")
    assert told.err == ""


def test_a_problem_is_exit_code_1(home, made, capsys):
    assert run(["doctor", "--json", "--catalog", str(made.copy), "--catalog", "/nowhere"]) == 1
    told = json.loads(capsys.readouterr().out)
    states = {check["what"]: check["state"] for check in told["checks"]}
    assert states[f"catalogue {made.copy}"] == "ok"
    assert states["catalogue /nowhere"] == "problem"
    assert (told["ok"], told["problems"]) == (False, 1)
    assert told["versions"]["pyarrow"]


def test_a_file_of_settings(home, capsys):
    (home / "step.toml").write_text('ENGINE = "sqlite"\nDB_NAME = "/nowhere/step.db"\n')
    assert run(["doctor", "--config", str(home / "step.toml")]) == 1
    told = capsys.readouterr().out
    assert "problem  step, database: DB_NAME /nowhere: there is no such folder" in told


def test_what_hangs_does_not_hold_the_end_up(monkeypatch, capsys):
    left = []
    report = Report((Symptom("disk", State.PROBLEM, "did not\nanswer", "mend it"),), {}, is_hanging=True)
    monkeypatch.setattr("xmatch_hats.doctor.examine", lambda *_: report)
    monkeypatch.setattr(verb.os, "_exit", left.append)
    run(["doctor"])
    assert left == [1]
    assert "problem  disk: did not answer\n         -> mend it\n1 problem, 0 warnings" in capsys.readouterr().out


def test_it_looks_where_libraries_are_missing(home):
    code = (
        "import sys\n"
        "for name in ('pyarrow', 'lsdb', 'dask', 'confluent_kafka', 'numpy'): sys.modules[name] = None\n"
        "from xmatch_hats.cli.app import run\n"
        "sys.exit(run(['doctor']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "cannot be looked at: import of confluent_kafka halted" in result.stdout
    assert "ok       python" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
