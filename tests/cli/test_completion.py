"""What a shell is offered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xmatch_hats.cli.app import run
from xmatch_hats.cli.completion import complete_catalog

HERE = Path(__file__).parents[2]


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """Two names, one of them with two versions, and a home of the configuration file."""
    for place in ("allwise/v1", "allwise/v2", "gaia/v1"):
        (tmp_path / "root" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / place).symlink_to(made.copy)
    (tmp_path / "config.toml").write_text(f'[catalogs]\nstars = "{made.copy}"\n')
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(monkeypatch, capsys, line: str) -> list[str]:
    """What bash is offered for the last word of a line, which may be empty."""
    monkeypatch.setenv("_XMATCH_HATS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as stop:
        run([])
    assert stop.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("xmatch-hats d", ["demo", "doctor", "db", "dead-letters"]),
        ("xmatch-hats catalog v", ["verify"]),
        ("xmatch-hats bulk catalogs --left-w", ["--left-where"]),
        ("xmatch-hats match t.csv --join ", ["left", "inner"]),
        ("xmatch-hats catalog info ", ["allwise", "gaia", "stars"]),
        ("xmatch-hats catalog verify al", ["allwise"]),
        ("xmatch-hats catalog info allwise@", ["allwise@v1", "allwise@v2"]),
        ("xmatch-hats catalog side-copy g", ["gaia"]),
        ("xmatch-hats catalog use ", ["allwise", "gaia"]),
        ("xmatch-hats catalog use allwise ", ["v1", "v2"]),
        ("xmatch-hats catalog use stars ", []),
        ("xmatch-hats cone 1 -2 3 --catalog ", ["allwise", "gaia", "stars"]),
        ("xmatch-hats match t.csv --catalog st", ["stars"]),
        ("xmatch-hats alerts p --catalog ga", ["gaia"]),
        ("xmatch-hats bulk alerts a.tar --catalog ga", ["gaia"]),
        ("xmatch-hats bulk catalogs ga", ["gaia"]),
        ("xmatch-hats bulk catalogs gaia al", ["allwise"]),
        ("xmatch-hats doctor --catalog al", ["allwise"]),
        ("xmatch-hats cone 1 -2 3 --catalog ./ro", ["./root"]),
        ("xmatch-hats cone 1 -2 3 --catalog root/al", ["root/allwise"]),
        ("xmatch-hats cone 1 -2 3 --catalog ro", ["root"]),
    ],
)
def test_what_bash_is_offered(root, monkeypatch, capsys, line, expected):
    assert offered(monkeypatch, capsys, line) == expected


def test_nothing_is_told_of_what_is_wrong(root, monkeypatch, capsys):
    (root / "config.toml").write_text("x = ")
    assert offered(monkeypatch, capsys, "xmatch-hats catalog info al") == []
    assert complete_catalog("/nowhere/x") == []
    assert complete_catalog("~nobody-of-this-name/x") == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell, monkeypatch, capsys):
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    with pytest.raises(SystemExit) as stop:
        run(["--show-completion"])
    assert stop.value.code == 0
    assert "_XMATCH_HATS_COMPLETE" in capsys.readouterr().out


def test_bash_itself_completes(root):
    """The script is read by a real bash, and called as a press of the key would call it."""
    program = root / "xmatch-hats"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.cli.program "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(xmatch-hats --show-completion)"\n'
        "COMP_WORDS=(xmatch-hats catalog info al); COMP_CWORD=3\n"
        "_xmatch_hats_completion xmatch-hats\n"
        'echo "${COMPREPLY[@]}"'
    )
    here = {"PATH": f"{root}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=os.environ | here)
    assert (result.stdout, result.stderr) == ("allwise\n", "")
