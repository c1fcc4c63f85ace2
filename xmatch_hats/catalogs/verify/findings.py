"""Collecting what the checks find, while the copy streams by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.catalogs.verify.report import PLACES_KEPT, Check, Place, VerifyReport

CHECKS: dict[str, tuple[str, str]] = {
    "metadata": ("properties, partition lists, parquet metadata and manifest can be read and agree", "files"),
    "files": ("every listed partition has its file, and there are no others", "files"),
    "partition-tree": ("partitions do not overlap; a margin's pixels are partitions or empty sky", "partitions"),
    "parquet": ("every partition file opens and decodes", "files"),
    "schema": ("every file has the common schema; positions are float64", "files"),
    "parquet-metadata": ("_metadata describes the files as they are", "row groups"),
    "counts": ("row counts agree between files, properties, partition list and manifest", "counts"),
    "coordinates": ("every position is finite and on the sphere", "rows"),
    "pixel": ("every row lies in its partition's pixel", "rows"),
    "healpix-index": ("the HEALPix index agrees with ra and dec", "rows"),
    "sorted": ("rows ascend in the HEALPix index within each file", "rows"),
    "ids": ("no two rows of a partition share an id, and none lacks it", "rows"),
    "margin-complete": ("every row within the margin of a pixel is in that pixel's margin file", "rows"),
    "margin-sound": ("each margin row is a row of the main table outside its partition, once", "rows"),
    "moc": ("the occupancy maps hold exactly the cells and counts of the rows", "cells"),
    "side-copy": ("the side copy holds the rows of the main table, sorted", "files"),
    "coverage": ("the recorded coverage can be read and is the one in the manifest", "files"),
    "checksums": ("every file has the size and SHA-256 of the manifest, none is missing or extra", "files"),
}
"""Title and counted unit of each check, by name, in the order of the report."""

CHECK_NAMES = tuple(CHECKS)


@dataclass
class Tally:
    """The state of one check while it runs."""

    looked_at: int = 0
    faults: int = 0
    places: list[Place] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: bool = False

    def fault(self, place: Place, count: int = 1) -> None:
        """Record `count` faults, the first of which lies at `place`."""
        self.faults += count
        if len(self.places) < PLACES_KEPT:
            self.places.append(place)

    def fault_rows(self, rows: NDArray[np.int64], file: str, detail: str, partition: str = "") -> None:
        """Record one fault for each row number of a file."""
        for row in rows[:PLACES_KEPT]:
            self.fault(Place(file, detail, partition, int(row)), 0)
        self.faults += len(rows)

    def note(self, text: str) -> None:
        """Say something beside the numbers, once."""
        if text not in self.notes:
            self.notes.append(text)

    def skip(self, why: str) -> None:
        """Mark the check as not made."""
        self.skipped = True
        self.note(why)

    def merge(self, other: Tally) -> None:
        """Add what another tally of the same check found."""
        self.looked_at += other.looked_at
        self.faults += other.faults
        self.places.extend(other.places[: PLACES_KEPT - len(self.places)])
        for text in other.notes:
            self.note(text)
        self.skipped = self.skipped or other.skipped


class Findings:
    """One tally a check; made on first use, so that workers carry only what they touched."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}

    def __getitem__(self, name: str) -> Tally:
        if name not in CHECKS:
            raise KeyError(name)
        return self._tallies.setdefault(name, Tally())

    def merge(self, other: Findings) -> None:
        """Add what another worker found."""
        for name, tally in other._tallies.items():
            self[name].merge(tally)

    def skip(self, names: tuple[str, ...], why: str) -> None:
        """Mark checks as not made."""
        for name in names:
            self[name].skip(why)

    def report(self, path: Path, seconds: float) -> VerifyReport:
        """Freeze the tallies; a check that nothing touched is skipped."""
        checks = []
        for name, (title, unit) in CHECKS.items():
            tally = self._tallies.get(name, Tally(skipped=True, notes=["not applicable"]))
            checks.append(
                Check(
                    name=name,
                    title=title,
                    looked_at=tally.looked_at,
                    unit=unit,
                    faults=tally.faults,
                    places=tuple(tally.places),
                    # A fault found before the rest was given up is still a fault.
                    skipped=tally.skipped and tally.faults == 0,
                    note="; ".join(tally.notes),
                )
            )
        return VerifyReport(path=path, checks=tuple(checks), seconds=seconds)
