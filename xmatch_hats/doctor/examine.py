"""All looks together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xmatch_hats.doctor.copies import SILENT, look_at_root, looks_at_copies
from xmatch_hats.doctor.machine import look_at_disk, look_at_memory
from xmatch_hats.doctor.report import Look, Report, Symptom, look_at
from xmatch_hats.doctor.services import looks_at_services
from xmatch_hats.doctor.software import look_at_software, versions

SECONDS = 25.0
"""For each of the two rounds; what is asked of a service has bounds of ten seconds of its own."""


def examine(catalogs: Sequence[str] = (), config: Path | None = None, *, seconds: float = SECONDS) -> Report:
    """Look at software, catalogues, disk, memory, and the services that the step's settings name.

    Parameters
    ----------
    catalogs : sequence of str, optional
        Copies to look at beside the named ones: folders or ``NAME@VERSION``.
    config : Path, optional
        Settings of the step in TOML; those of the environment count in any case.
    seconds : float, optional
        Longest time for finding out what there is to look at, and again for looking at it.

    Returns
    -------
    Report
        Every fault is a line of it; none is raised.
    """
    looks: dict[str, list[Look]] = {"catalogues": [], "step": []}

    def find(key: str, call: Callable[[], list[Look]]) -> Callable[[], list[Symptom]]:
        def found() -> list[Symptom]:
            looks[key] = call()
            return []

        return found

    # What cannot be listed is told by the look at it.
    first, hangs = look_at(
        [
            Look("software", look_at_software),
            Look("catalogues", look_at_root, SILENT),
            Look("disk", look_at_disk, SILENT),
            Look("memory", look_at_memory),
            Look("step", find("step", lambda: looks_at_services(config)), "give --config FILE, or mend the settings"),
            Look("catalogues", find("catalogues", lambda: looks_at_copies(tuple(catalogs))), SILENT),
        ],
        seconds,
    )
    second, hang = look_at([*looks["catalogues"], *looks["step"]], seconds)
    symptoms = dict.fromkeys([*first, *second])
    return Report(tuple(symptoms), versions(), hangs or hang)
