"""The occupancy maps that HATS keeps beside a catalogue: ``point_map.fits``, ``skymap.fits``, ``skymap.K.fits``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.subject import Table
from xmatch_hats.catalogs.verify.tiling import Ints
from xmatch_hats.healpix import MAX_ORDER

MAX_NSIDE = 4096
"""Finest maps that are read: 1.6 GB in memory. HATS makes them of order 10 at most."""


def read_map(path: Path) -> NDArray[np.int64]:
    """Read a nested HEALPix map, stored whole or as its occupied cells.

    HATS reads it with a library that ends the process on some damaged files, so this does not.

    Raises
    ------
    ValueError, or what a damaged FITS file makes astropy raise
        The file is not a map; the message says why.
    """
    with warnings.catch_warnings(), fits.open(path, memmap=False) as file:
        # Astropy mends what it can of a damaged header, with a warning; what it cannot is an error.
        warnings.simplefilter("ignore")
        header, data = file[1].header, file[1].data
        nside = int(header["NSIDE"])
        if nside < 1 or nside & (nside - 1) or nside > MAX_NSIDE or header["ORDERING"] != "NESTED":
            raise ValueError(f"is not a nested HEALPix map of order 0 to 12: NSIDE {nside}, {header['ORDERING']}")
        values = np.asarray(data.field(data.columns.names[-1])).ravel().astype(np.int64)
        if str(header.get("INDXSCHM", "IMPLICIT")) != "EXPLICIT":
            if len(values) != 12 * nside**2:
                raise ValueError(f"{len(values)} cells are no HEALPix map of NSIDE {nside}")
            return values
        cells = np.asarray(data.field("PIXEL")).astype(np.int64)
        if len(cells) and not (cells.min() >= 0 and cells.max() < 12 * nside**2 and (np.diff(cells) > 0).all()):
            raise ValueError("its cells are not ascending cells of a HEALPix map")
        image = np.zeros(12 * nside**2, dtype=np.int64)
        image[cells] = values
        return image


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
            return read_map(path)
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, fits.VerifyError) as error:
            self._findings["moc"].fault(self._table.place(path, f"cannot be read: {error}"))
            return None

    def count(self, cells: Ints) -> tuple[Ints, Ints]:
        """Rows in each occupied cell of the finest map's order: cells and counts."""
        return np.unique(cells >> 2 * (MAX_ORDER - self.order), return_counts=True)

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
