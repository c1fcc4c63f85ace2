"""The command line. Each verb lives in a module of its own, imported only when it is called."""

from __future__ import annotations

import signal
import sys
from types import FrameType

PROGRAM = "xmatch-hats"


def main() -> None:
    """Run ``xmatch-hats`` and exit, with 130 if it was interrupted, at its imports already, and 143 if terminated."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from xmatch_hats.cli.app import run
        from xmatch_hats.cli.messages import set_up_messages

        set_up_messages()
        code = run()
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted\n")
        code = 130
    sys.exit(code)


def _terminate(number: int, _: FrameType | None) -> None:
    # As an exception, so that half-written outputs and worker processes are cleared away as they are for Ctrl-C.
    raise SystemExit(128 + number)
