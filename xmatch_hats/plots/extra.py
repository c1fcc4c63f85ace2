"""The optional part of the installation that pictures need."""

from __future__ import annotations

import importlib.util

from xmatch_hats.errors import UsageError


def require_matplotlib(otherwise: str = "") -> None:
    """Refuse to draw without Matplotlib.

    Parameters
    ----------
    otherwise : str, optional
        Another way out than to install it.

    Raises
    ------
    UsageError
        It is not installed; the message names the extra that brings it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        hint = "pip install 'xmatch-hats[plots]'"
        raise UsageError("pictures need Matplotlib", hint=f"{hint}; {otherwise}" if otherwise else hint)
