"""Margins: complete and sound.

A search finds every neighbour exactly if every row of the main table is held by each pixel that comes within the margin
threshold of it. The pixels are the partitions *and the empty sky between them*: a position in an empty pixel meets the
rows of a partition beside it only through a margin file of the empty pixel. The sphere is therefore tiled with the
partitions, the pixels that only the margin has, and the largest pixels that fill the rest.

The margin files are read first and shrunk to *claims*: per row the cell, the pixel that holds it, and a digest of all
its columns. That is 32 bytes a margin row, twice that while sorting: the only memory that grows with the copy, of which
a margin is a hundredth or so. Then each partition is read once: its border rows are routed to the pixels near them and
compared with the claims on the partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import HIVE_COLUMNS, Partition
from xmatch_hats.catalogs.verify.digest import Words, mix, row_digests
from xmatch_hats.catalogs.verify.findings import Findings, Tally
from xmatch_hats.catalogs.verify.positions import FileChecker, position_columns, read_positions
from xmatch_hats.catalogs.verify.report import Place
from xmatch_hats.catalogs.verify.subject import Table, label
from xmatch_hats.catalogs.verify.tiling import Floats, Ints, Tiling
from xmatch_hats.healpix import MAX_ORDER

BATCH_ROWS = 1 << 16
"""Rows decoded at once; with the row group Arrow decodes them from, the bound on memory of full columns."""

_TILE_WEIGHT = np.uint64(0xD1B54A32D192ED03)


@dataclass(frozen=True)
class Claims:
    """Rows of a margin cache, sorted by cell: what each pixel says it holds of the main table."""

    cells: Ints
    digests: Words
    tiles: NDArray[np.int32]
    """Pixel whose margin file has the row, as its number in the tiling."""
    files: NDArray[np.int32]
    """Number in the margin's list of files."""
    rows: Ints
    """Row number in the file."""

    @classmethod
    def gather(cls, parts: list[Claims]) -> Claims:
        """Merge and sort the claims of all files."""
        columns = [
            np.concatenate([getattr(part, name) for part in parts]) if parts else np.empty(0, kind)
            for name, kind in (("cells", "i8"), ("digests", "u8"), ("tiles", "i4"), ("files", "i4"), ("rows", "i8"))
        ]
        order = np.argsort(columns[0], kind="stable")
        return cls(*(column[order] for column in columns))

    def of(self, partition: Partition) -> Claims:
        """The claims on rows of one partition."""
        order, pixel = partition
        shift = 2 * (MAX_ORDER - order)
        part = slice(*np.searchsorted(self.cells, (pixel << shift, (pixel + 1) << shift)))
        return Claims(self.cells[part], self.digests[part], self.tiles[part], self.files[part], self.rows[part])


class MarginChecker:
    """Checks one margin cache against the main table's partitions; safe to share between threads."""

    def __init__(self, main: Table, margin: Table) -> None:
        self.main, self.margin = main, margin
        self.columns = [name for name in main.schema.names if name not in HIVE_COLUMNS]
        self.tiling = Tiling.of({*main.partitions, *margin.partitions})
        self.tiles = self.tiling.index()
        self.files = [(partition, path) for partition in margin.partitions for path in margin.files(partition)]
        self._main_tiles = np.zeros(len(self.tiling), dtype=bool)
        self._main_tiles[[self.tiles[partition] for partition in main.partitions]] = True
        self._claims = Claims.gather([])

    def read_claims(self, number: int, findings: Findings) -> Claims:
        """Read one margin file: check its positions, shrink its rows to claims.

        Raises
        ------
        ArrowInvalid, OSError
            The file cannot be decoded.
        """
        partition, path = self.files[number]
        checker = FileChecker(self.margin, path, partition, findings)
        tile, row, parts = self.tiles[partition], 0, []
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                positions = read_positions(batch.select(position_columns(self.margin)), self.margin)
                checker.check(positions)
                good = np.flatnonzero(positions.cells >= 0)
                digests = row_digests(batch, self.columns)[good]
                same = np.ones(len(good), dtype=np.int32)
                parts.append(Claims(positions.cells[good], digests, same * tile, same * number, good + row))
                row += batch.num_rows
        findings["margin-sound"].looked_at += row
        return Claims.gather(parts)

    def set_claims(self, parts: list[Claims], findings: Findings) -> None:
        """Take the claims of all files, and refuse those that no partition could honour."""
        self._claims = Claims.gather(parts)
        owners = self.tiling.owners(self._claims.cells)
        own = owners == self._claims.tiles
        self._fault_claims(findings, self._claims, own, "lies inside the pixel whose margin it is in")
        self._fault_claims(findings, self._claims, ~self._main_tiles[owners] & ~own, "lies where no partition is")

    def border(self, partition: Partition, cells: Ints, ra: Floats, dec: Floats) -> tuple[Ints, Ints, Ints]:
        """Route rows of a partition to the pixels within the threshold of them.

        Returns
        -------
        wanted : ndarray of int64
            Row numbers, ascending, whose digests `compare` needs: those near a pixel, and those at a claimed place.
        rows, tiles : ndarray of int64, shape (p,)
            Pairs of row number and pixel that must hold it.
        """
        rows, tiles = self.tiling.near(cells, ra, dec, self.tiles[partition], self.margin.threshold_arcsec)
        claimed = np.flatnonzero(np.isin(cells, self._claims.of(partition).cells))
        return np.union1d(rows, claimed), rows, tiles

    def compare(self, partition: Partition, border: BorderRows, findings: Findings) -> None:
        """Compare the rows of one partition with the claims on it."""
        claims = self._claims.of(partition)
        self._check_sound(claims, border, findings)
        self._check_complete(partition, claims, border, findings)

    def _check_sound(self, claims: Claims, border: BorderRows, findings: Findings) -> None:
        held, counts = np.unique(border.digests, return_counts=True)
        keys, firsts, claimed = np.unique(_keys(claims.digests, claims.tiles), return_index=True, return_counts=True)
        available = _count(claims.digests[firsts], held, counts)
        absent = np.isin(_keys(claims.digests, claims.tiles), keys[available == 0])
        at_known_place = np.isin(claims.cells, border.cells)
        self._fault_claims(
            findings, claims, absent & at_known_place, "differs from the main table's row of this position"
        )
        self._fault_claims(findings, claims, absent & ~at_known_place, "is not a row of the main table")
        for key in np.flatnonzero((available > 0) & (claimed > available)):
            first = int(firsts[key])
            text = f"is here {claimed[key]} times, in the main table {available[key]}"
            findings["margin-sound"].fault(self._place(claims, first, text), int(claimed[key] - available[key]))

    def _check_complete(self, partition: Partition, claims: Claims, border: BorderRows, findings: Findings) -> None:
        tally: Tally = findings["margin-complete"]
        tally.looked_at += len(border.near)
        held, counts = np.unique(_keys(claims.digests, claims.tiles), return_counts=True)
        needed, firsts, times = np.unique(
            _keys(border.digests[border.near], border.tiles), return_index=True, return_counts=True
        )
        missing = times - _count(needed, held, counts)
        for number in np.flatnonzero(missing > 0):
            near, tile = int(border.near[firsts[number]]), int(border.tiles[firsts[number]])
            pixel = self.tiling.partition(tile)
            home = (
                "its margin file" if self.margin.files(pixel) else f"{self.margin.path.name}: it has no file for that"
            )
            text = f"within {self.margin.threshold_arcsec:g} arcsec of {label(pixel)}, and not in {home}"
            path = border.paths[int(border.files[near])]
            tally.fault(self.main.place(path, text, partition, int(border.rows[near])), int(missing[number]))

    def _fault_claims(self, findings: Findings, claims: Claims, wrong: NDArray[np.bool_], detail: str) -> None:
        for number in np.flatnonzero(wrong):
            findings["margin-sound"].fault(self._place(claims, int(number), detail))

    def _place(self, claims: Claims, number: int, detail: str) -> Place:
        partition, path = self.files[int(claims.files[number])]
        return self.margin.place(path, detail, partition, int(claims.rows[number]))


@dataclass(frozen=True)
class BorderRows:
    """Rows of one partition that matter to one margin cache."""

    paths: list[Path]
    """Files of the partition."""
    files: Ints
    """Number in `paths`, for each row."""
    rows: Ints
    """Row number in the file."""
    cells: Ints
    digests: Words
    near: Ints
    """Numbers of rows here that lie near another pixel, one for each such pixel."""
    tiles: Ints
    """Those pixels."""


def _keys(digests: Words, tiles: NDArray[np.integer]) -> Words:
    """One word for a row and the pixel that holds it."""
    return mix(digests + (tiles.astype(np.uint64) + np.uint64(1)) * _TILE_WEIGHT)


def _count(wanted: Words, held: Words, counts: Ints) -> Ints:
    """How often each wanted word is among those held (sorted, each once, with counts)."""
    if not len(held):
        return np.zeros(len(wanted), dtype=np.int64)
    places = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
    return np.where(held[places] == wanted, counts[places], 0)
