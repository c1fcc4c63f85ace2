"""What a verification finds: named checks, counts, and the first places of faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmatch_hats.catalogs.side_copy import REBUILD_HINT
from xmatch_hats.display import as_html
from xmatch_hats.errors import CatalogError

__all__ = ["PLACES_KEPT", "Check", "Place", "Progress", "VerifyReport"]

PLACES_KEPT = 5
"""Places listed of one check: enough to start looking, and a bound on memory when every row is at fault."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the steps of it done, and the steps in all."""


@dataclass(frozen=True)
class Place:
    """Where a fault lies, and what it is."""

    file: str
    """Path relative to the copy's folder."""
    detail: str
    """What is wrong there."""
    partition: str = ""
    """Partition as ``Norder=k,Npix=p``; empty where the fault is not in one."""
    row: int | None = None
    """Row number in the file, from 0; None where the fault is not in a row."""

    def __str__(self) -> str:
        where = ", ".join(
            part for part in (self.file, self.partition, "" if self.row is None else f"row {self.row}") if part
        )
        return f"{where}: {self.detail}"


@dataclass(frozen=True)
class Check:
    """The outcome of one named check."""

    name: str
    """One of `CHECK_NAMES`."""
    title: str
    """What the check states, for people."""
    looked_at: int = 0
    """Things looked at."""
    unit: str = "files"
    """What was counted: files, rows, cells, fields."""
    faults: int = 0
    """Things found at fault; `places` holds only the first of them."""
    places: tuple[Place, ...] = ()
    """The first faults, at most `PLACES_KEPT`."""
    skipped: bool = False
    """The check was not made; `note` says why. A skipped check is not a failed one."""
    note: str = ""
    """Anything worth saying beside the numbers."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found at fault."""
        return self.faults == 0

    @property
    def state(self) -> str:
        """One of ``passed``, ``FAILED``, ``skipped``."""
        if self.skipped:
            return "skipped"
        return "passed" if self.passed else "FAILED"


@dataclass(frozen=True)
class VerifyReport:
    """Every check of one copy, in the order of `CHECK_NAMES`."""

    path: Path
    """Folder of the copy."""
    checks: tuple[Check, ...]
    """The checks made and skipped."""
    seconds: float = 0.0
    """Wall time of the verification."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def __repr__(self) -> str:
        told = "passed" if self.passed else f"FAILED {', '.join(check.name for check in self.failed)}"
        return f"<VerifyReport {self.path}: {told}, {len(self.checks)} checks in {self.seconds:.1f} s>"

    def _repr_html_(self) -> str:
        # What failed is read first.
        checks = sorted(self.checks, key=lambda check: check.passed)
        rows = [(check.name, check.state.lower(), check.faults, check.title) for check in checks]
        facts = {"folder": self.path, "result": "passed" if self.passed else "FAILED"}
        return as_html("verification of a local copy", facts, ("check", "result", "faults", "what"), rows)

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def raise_if_failed(self) -> None:
        """Raise where any check failed.

        Raises
        ------
        CatalogError
            Names the failed checks and the first place of the first.
        """
        if self.passed:
            return
        names = ", ".join(check.name for check in self.failed)
        first = next((str(place) for check in self.failed for place in check.places), "")
        raise CatalogError(
            f"the copy does not verify: {names}" + (f"; first: {first}" if first else ""),
            place=self.path,
            hint=REBUILD_HINT if names == "side-copy" else "import or pull it anew, or restore its files",
            value=tuple(check.name for check in self.failed),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "path": str(self.path),
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "checks": [
                {
                    "name": check.name,
                    "title": check.title,
                    "state": check.state,
                    "looked_at": check.looked_at,
                    "unit": check.unit,
                    "faults": check.faults,
                    "places": [str(place) for place in check.places],
                    "note": check.note,
                }
                for check in self.checks
            ],
        }


def __dir__() -> list[str]:
    return sorted(__all__)
