from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from xmatch_hats import __version__
from xmatch_hats.cli import app as root
from xmatch_hats.errors import CatalogError, UsageError

VERBS = ["demo", "alerts", "match", "cone", "box", "catalog"]


def test_help_lists_the_verbs(capsys):
    assert root.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize(
    "verb", [*VERBS[:-1], *(f"catalog {verb}" for verb in ("import", "pull", "verify", "info", "list", "use"))]
)
def test_every_verb_has_an_example(verb, capsys):
    assert root.run([*verb.split(), "-h"]) == 0
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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-verb"], "xmatch-hats: No such command 'no-such-verb' (see xmatch-hats -h)"),
        (["cone", "1", "x", "3"], "xmatch-hats cone: Invalid value for 'DEC'"),
        (["cone", "1", "-2"], "xmatch-hats cone: Missing argument 'RADIUS_ARCSEC' (see xmatch-hats cone -h)"),
        (["match", "t.csv", "-x"], "xmatch-hats match: No such option: -x (see xmatch-hats match -h)"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_line(arguments, told, capsys):
    assert root.run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)


@pytest.mark.parametrize("arguments", [[], ["catalog"]])
def test_nothing_asked_shows_the_help(arguments, capsys):
    assert root.run(arguments) == 2
    captured = capsys.readouterr()
    assert "Commands" in captured.out
    assert captured.err == ""


def failing_app(raised: BaseException) -> typer.Typer:
    failing = typer.Typer(pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        raise raised

    return failing


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (
            CatalogError("is damaged", place="c", hint="import it again"),
            1,
            "xmatch-hats: c: is damaged (import it again)",
        ),
        (UsageError("makes no sense"), 2, "xmatch-hats: makes no sense"),
        (OSError(28, "No space left on device", "/full/o.csv"), 1, "xmatch-hats: /full/o.csv: No space left on device"),
        (OSError("odd"), 1, "xmatch-hats: odd"),
        (
            ModuleNotFoundError("No module named 'lsdb'", name="lsdb"),
            1,
            "xmatch-hats: the library lsdb is missing (see `xmatch-hats doctor`)",
        ),
        (typer.Exit(3), 3, ""),
    ],
)
def test_errors_are_one_line(monkeypatch, capsys, raised, code, told):
    monkeypatch.setattr(root, "app", failing_app(raised))
    assert root.run([]) == code
    assert capsys.readouterr().err.strip() == told


SCRIPT = """
import sys, xmatch_hats.cli.app as root
from xmatch_hats.cli import main
import typer
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def verb():
    {body}
root.app = app
sys.argv = ["xmatch-hats"]
main()
"""


def run_process(body: str, reader: str = "cat") -> tuple[int, str, str]:
    """Run a verb of this body as a process of its own, and what reads its output."""
    code = SCRIPT.format(body="\n    ".join(body.splitlines()))
    shell = f'{sys.executable} -c "$CODE" | {reader}; exit ${{PIPESTATUS[0]}}'
    result = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, "CODE": code}, capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("size", ["10", "10_000_000"])
def test_a_reader_that_leaves_is_no_failure_to_tell(size):
    # A small output meets the closed pipe only when it is flushed.
    code, _, err = run_process(f"import time; time.sleep(0.5); typer.echo('x' * {size})", reader="true")
    assert (code, err) == (141, "")


def test_an_interrupt_is_told():
    body = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)"
    assert run_process(body) == (130, "", "xmatch-hats: interrupted\n")


def test_only_our_own_warnings_are_shown():
    body = """
import logging, warnings
warnings.warn("a library is deprecated", FutureWarning)
logging.getLogger("somelibrary").warning("chatter")
logging.getLogger("distributed.nanny").error("chatter")
logging.getLogger("xmatch_hats.part").info("detail")
logging.getLogger("xmatch_hats.part").warning("line %d\\n is odd", 3)
import distributed
logging.getLogger("distributed.worker").warning("chatter")
"""
    assert run_process(body.strip()) == (0, "", "xmatch-hats: line 3 is odd\n")


def test_a_shell_is_told_what_may_come_next(monkeypatch, capsys):
    for name, value in (("COMPLETE", "complete_bash"), ("WORDS", "xmatch-hats ca"), ("CWORD", "1")):
        monkeypatch.setenv(f"_XMATCH_HATS_{name}" if name == "COMPLETE" else f"COMP_{name}", value)
    with pytest.raises(SystemExit) as stop:
        root.run([])
    assert stop.value.code == 0
    assert capsys.readouterr().out.split() == ["catalog"]
