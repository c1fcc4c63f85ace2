from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from xmatch_hats import __version__
from xmatch_hats.cli import app as root
from xmatch_hats.errors import CatalogError, UsageError

VERBS = ["demo", "match", "cone", "box", "catalog"]


def test_help_lists_the_verbs(capsys):
    assert root.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize("verb", ["demo", "match", "cone", "box"])
def test_every_verb_has_an_example(verb, capsys):
    assert root.run([verb, "-h"]) == 0
    assert f"Example: xmatch-hats {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["match", "--help"], ["cone", "--help"], ["demo", "--help"]])
def test_help_needs_nothing_heavy(arguments):
    code = (
        f"import sys; from xmatch_hats.cli.app import run; run({arguments!r}); "
        "heavy = {'lsdb', 'hats', 'dask', 'pyarrow', 'pandas', 'astropy', 'numpy', 'fastavro', 'mocpy'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_version(capsys):
    assert root.run(["--version"]) == 0
    assert capsys.readouterr().out == f"xmatch-hats {__version__}\n"


def test_wrong_use_is_exit_code_2(capsys):
    assert root.run(["no-such-verb"]) == 2
    assert root.run(["match"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (
            CatalogError("is damaged", place="c", hint="import it again"),
            1,
            "xmatch-hats: c: is damaged (import it again)",
        ),
        (UsageError("makes no sense"), 2, "xmatch-hats: makes no sense"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_one_line(monkeypatch, capsys, raised, code, told):
    failing = typer.Typer(pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        raise raised

    monkeypatch.setattr(root, "app", failing)
    assert root.run([]) == code
    assert capsys.readouterr().err.strip() == told
