"""``xmatch-hats bulk``: whole catalogues and whole nights at once."""

from __future__ import annotations

import typer

from xmatch_hats.cli.bulk_alerts import alerts, merge
from xmatch_hats.cli.bulk_catalogs import catalogs
from xmatch_hats.cli.bulk_report import report
from xmatch_hats.cli.options import NumericArgs

bulk = typer.Typer(no_args_is_help=True)


@bulk.callback()
def root() -> None:
    """Match whole catalogues and whole nights of alerts; what was stopped goes on with the same command.

    Example: xmatch-hats bulk report ./nights
    """


bulk.command()(alerts)
bulk.command()(merge)
bulk.command(cls=NumericArgs)(catalogs)
bulk.command()(report)
