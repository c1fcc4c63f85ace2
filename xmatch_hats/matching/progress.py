"""How far a long match is, for whoever waits for it at a terminal or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SILENT_SECONDS = 2.0
"""A match that is done by then draws nothing."""

Progress = Callable[[int], None]
"""Given the number of positions that are done since the last call."""


def is_watched() -> bool:
    """Whether somebody looks at stderr: a terminal is, and a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel") or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def progress_bar(total: int, asked: bool | None) -> Iterator[Progress | None]:
    """Draw a bar on stderr while a block runs.

    Parameters
    ----------
    total : int
        Number of positions.
    asked : bool or None
        Whether to draw; None where somebody looks, and only if it takes long.

    Yields
    ------
    callable or None
        Tells the bar what is done; None where there is none.
    """
    if not (is_watched() if asked is None else asked):
        yield None
        return
    # Of several kinds the one that needs nothing of the notebook.
    from tqdm.std import tqdm

    options: dict[str, Any] = {"unit": " positions", "unit_scale": True, "dynamic_ncols": True}
    with tqdm(total=total, desc="matching", delay=SILENT_SECONDS if asked is None else 0.0, **options) as bar:
        yield bar.update
