"""The occupancy maps that HATS keeps beside a catalogue: ``point_map.fits``, ``skymap.fits``, ``skymap.K.fits``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hats.io.file_io import read_fits_image
from numpy.typing import NDArray

from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.subject import Table
from xmatch_hats.catalogs.verify.tiling import DEEPEST, Ints


class OccupancyMaps:
    """Counts the rows of each cell and compares them with the maps.

    Memory: two whole-sky maps of 64-bit counts for each file, as HATS itself reads them: 200 MB at order 10.
    """

    def __init__(self, table: Table, findings: Findings) -> None:
        self._table, self._findings = table, findings
        self._maps: list[tuple[Path, int, NDArray[np.int64], NDArray[np.int64]]] = []
        for path in sorted(table.path.glob("*map*.fits")):
            image = self._read(path)
            if image is not None:
                order = (len(image) // 12).bit_length() // 2
                self._maps.append((path, order, image, np.zeros(len(image), dtype=np.int64)))
        self.order = max((order for _, order, _, _ in self._maps), default=0)
        if not self._maps and not findings["moc"].faults:
            findings["moc"].skip(f"{table.path.name} has no occupancy map")

    def _read(self, path: Path) -> NDArray[np.int64] | None:
        try:
            image = np.asarray(read_fits_image(path))
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            self._findings["moc"].fault(self._table.place(path, f"cannot be read: {error}"))
            return None
        order = max((len(image) // 12).bit_length() // 2, 0)
        if len(image) != 12 << 2 * order:
            self._findings["moc"].fault(self._table.place(path, f"{len(image)} cells are no HEALPix map"))
            return None
        return image.astype(np.int64)

    def count(self, cells: Ints) -> tuple[Ints, Ints]:
        """Rows in each occupied cell of the finest map's order: cells and counts."""
        return np.unique(cells >> 2 * (DEEPEST - self.order), return_counts=True)

    def add(self, cells: Ints, counts: Ints) -> None:
        """Add what `count` gave."""
        for _, order, _, found in self._maps:
            np.add.at(found, cells >> 2 * (self.order - order), counts)

    def finish(self) -> None:
        """Record the cells in which maps and rows disagree."""
        for path, order, image, found in self._maps:
            self._findings["moc"].looked_at += int(np.count_nonzero((image != 0) | (found != 0)))
            # What HATS reads from a point map is where it is not zero; not every builder keeps counts in it.
            occupancy_only = path.name == "point_map.fits"
            wrong = ((image != 0) != (found != 0)) if occupancy_only else image != found
            for cell in np.flatnonzero(wrong):
                text = f"cell {cell} of order {order} has {found[cell]} rows, the map says {image[cell]}"
                self._findings["moc"].fault(self._table.place(path, text))
