"""Which messages of a run reach its user: this package's warnings, one line each, and no other library's chatter."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import typer

from xmatch_hats.cli import PROGRAM


class _OneLine(logging.Handler):
    """Shows a record as one line on the error output of the moment, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"{PROGRAM}: {' '.join(record.getMessage().split())}", err=True)


def set_up_messages() -> None:
    """Set the logging and warnings of this process, and of the worker processes that it starts.

    Python's own switches (``-W``, ``PYTHONWARNINGS``) bring warnings of libraries back.
    """
    own = logging.getLogger("xmatch_hats")
    own.addHandler(_OneLine(logging.WARNING))
    own.propagate = False
    # Without a handler Python prints what libraries log on its own.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"
    # Distributed sets handlers up when it is imported; it reports errors as exceptions, too.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
