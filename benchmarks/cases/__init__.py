"""The cases, by the names that the command knows them by, in the order they run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from benchmarks.case import Bench, CaseResult

_PLACES = {
    "batch": ("batch", "warm"),
    "batch10k": ("batch", "large"),
    "one": ("batch", "one"),
    "plane": ("batch", "plane"),
    "cold": ("cold", "cold"),
    "start": ("start", "start"),
    "partitions": ("partitions", "partitions"),
    "bulk": ("bulk", "bulk"),
    "scale": ("scale", "scale"),
    "tables": ("tables", "tables"),
    "kafka": ("kafka", "kafka"),
    "memory": ("memory", "memory"),
    "curves": ("curves", "curves"),
    # Last: disks are busy for a while with the removal of its hundred thousand files.
    "packets": ("packets", "packets"),
}
NAMES = tuple(_PLACES)
FULL_ONLY = ("scale",)
"""What a tenth of the size tells nothing of: run there only if it is named."""


def load(name: str) -> Callable[[Bench], CaseResult]:
    """The function of a case, imported only now: each runs in a process of its own."""
    module, function = _PLACES[name]
    return getattr(import_module(f"benchmarks.cases.{module}"), function)  # type: ignore[no-any-return]
