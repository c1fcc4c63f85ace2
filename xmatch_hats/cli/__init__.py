"""The command line. Each verb lives in a module of its own, imported only when it is called."""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``xmatch-hats`` and exit."""
    from xmatch_hats.cli.app import run

    sys.exit(run())
