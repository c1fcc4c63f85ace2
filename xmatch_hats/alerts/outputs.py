"""The forms that packets leave in, by the names that users choose them by."""

from __future__ import annotations

from typing import Final

from xmatch_hats.alerts.splice import InputOutput, Output
from xmatch_hats.errors import UsageError

OUTPUT_SCHEMAS: Final = ("input", "ztf-3.3")


def make_output(name: str) -> Output:
    """Make the form that packets leave in, by the name of its schema.

    Raises
    ------
    UsageError
        There is no such schema.
    """
    if name == "input":
        return InputOutput()
    if name == "ztf-3.3":
        from xmatch_hats.alerts.ztf33 import Ztf33Output

        return Ztf33Output()
    raise UsageError(f"there is no output schema {name!r}", hint=f"choose from {', '.join(OUTPUT_SCHEMAS)}", value=name)
