"""What ``--scheduler``, ``--workers`` and ``--tls`` make together."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from xmatch_hats.cli.options import NumericArgs, TlsOption, make_scheduler
from xmatch_hats.errors import ConfigError, UsageError

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
