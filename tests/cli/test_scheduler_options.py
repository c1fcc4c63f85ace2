"""What ``--scheduler``, ``--workers`` and ``--tls`` make together."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from xmatch_hats.cli.options import NumericArgs, TlsOption, begin_workers, make_scheduler
from xmatch_hats.errors import ConfigError, UsageError
from xmatch_hats.matching import forks

app = typer.Typer()


@app.command(cls=NumericArgs)
def files(tls: TlsOption = None, number: Annotated[int, typer.Option("-n")] = 0) -> None:
    typer.echo(" ".join(map(str, [*(tls or ()), number])))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "0"), (["--tls", "a", "b", "c", "-n", "-2"], "a b c -2")],
)
def test_three_files_are_one_option(arguments, said):
    result = CliRunner().invoke(app, arguments)
    assert result.output.strip() == said


def test_schedulers():
    with make_scheduler(None, 0, None) as scheduler:
        assert scheduler.place == "threads of this process"
    with make_scheduler("tcp://far:8786", None, None) as scheduler:
        assert scheduler.place == "tcp://far:8786"
    with pytest.raises(UsageError, match="TLS files are for a scheduler"):
        make_scheduler("tcp://far:8786", None, ("ca", "cert", "key"))
    with pytest.raises(ConfigError, match="ca: cannot be read"):
        make_scheduler("tls://far:8786", None, ("ca", "cert", "key"))


@pytest.mark.parametrize(
    ("address", "workers", "begins"),
    [(None, None, True), (None, 2, True), (None, 0, False), ("tcp://far:8786", None, False)],
)
def test_workers_begin_early_where_there_will_be_any(monkeypatch, address, workers, begins):
    begun = []
    monkeypatch.setattr(forks, "start_fork_server", lambda: begun.append(True))
    begin_workers(address, workers)
    assert bool(begun) is begins
