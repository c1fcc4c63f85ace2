"""Margins: complete by brute force everywhere, also around pixels where the catalogue has no partition."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.copies import make_copy, patch_table, sky_table
from tests.oracle import brute_force, xyz
from xmatch_hats.catalogs import margins
from xmatch_hats.catalogs.convert import margin_order
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import UsageError
from xmatch_hats.healpix import cells_of

ARCSEC = 180.0 * 3600.0 / np.pi


def tile_of(copy: LocalCopy) -> tuple[margins.Tiles, callable]:
    tiles = margins.Tiles.around(copy.partitions)
    return tiles, lambda ra, dec: tiles.of_cells(cells_of(ra, dec), 29)


def check_complete(copy: LocalCopy, table: pa.Table, rng: np.random.Generator) -> int:
    """Every row within the margin of any position of a tile is in the tile's main file or margin file."""
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    tiles, tile = tile_of(copy)
    # Positions around the rows, nearly a margin away, in all directions: many of them in other tiles.
    angle = rng.uniform(0, 2 * np.pi, len(ra))
    step = copy.margin_arcsec / ARCSEC * rng.uniform(0.5, 0.9999, len(ra))
    vector = xyz(ra, dec)
    north = np.stack((np.zeros(len(ra)), np.zeros(len(ra)), np.ones(len(ra))), axis=-1)
    u = np.cross(north, vector)
    u[np.linalg.norm(u, axis=1) < 1e-9] = [1.0, 0.0, 0.0]
    u /= np.linalg.norm(u, axis=1)[:, None]
    v = np.cross(vector, u)
    moved = (
        vector * np.cos(step)[:, None]
        + (u * np.cos(angle)[:, None] + v * np.sin(angle)[:, None]) * np.sin(step)[:, None]
    )
    at_ra = np.degrees(np.arctan2(moved[:, 1], moved[:, 0])) % 360.0
    at_dec = np.degrees(np.arcsin(np.clip(moved[:, 2], -1, 1)))
    home, row_home = tile(at_ra, at_dec), tile(ra, dec)
    crossing = np.flatnonzero(home != row_home)
    held: dict[int, set[int]] = {}
    for index in np.unique(home[crossing]):
        path = copy.margin_file(tiles[int(index)])
        held[int(index)] = (
            set(pq.read_table(path, columns=["_row"], partitioning=None)["_row"].to_pylist()) if path else set()
        )
    missing = [int(row) for row in crossing if int(row) not in held[int(home[row])]]
    assert missing == []
    return len(crossing)


CASES = {
    "north pole": (patch_table(4000, 0.0, 90.0, 0.5, 1), 300.0),
    "south pole": (patch_table(4000, 180.0, -90.0, 0.5, 2), 300.0),
    "ra zero": (patch_table(4000, 0.0, 0.0, 0.5, 3), 300.0),
    "transition latitude": (patch_table(4000, 45.0, 41.8103, 0.5, 4), 300.0),
    "base pixel corner": (patch_table(4000, 90.0, 41.8103, 0.5, 5), 300.0),
    "whole sky, wide": (sky_table(6000, 6).select(["ra", "dec", "source_id"]), 3600.0),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes the copy of a case, once."""

    @cache
    def made(case: str) -> LocalCopy:
        table, margin = CASES[case]
        return make_copy(table, tmp_path_factory.mktemp("margins") / "c", margin_arcsec=margin, partition_rows=700)

    return made


@pytest.mark.parametrize("case", CASES)
def test_margins_are_complete(made, case):
    assert check_complete(made(case), CASES[case][0], np.random.default_rng(0)) > 5


def test_margin_rows_are_sorted_and_outside_their_tile(made):
    for path in made("whole sky, wide").margin_path.rglob("Npix=*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        order, pixel = (int(part.split("=")[1]) for part in (path.parts[-3], path.stem))
        index = rows["_healpix_29"].to_numpy()
        assert (np.diff(index) >= 0).all()
        assert (index >> 2 * (29 - order) != pixel).all()
        assert len(set(rows["_row"].to_pylist())) == len(rows)


@pytest.mark.parametrize("margin", [1.0, 10.0, 16.0, 16.2, 30.0, 3600.0])
def test_ring_cells_are_wider_than_the_margin(margin):
    """The narrowest way through a cell, from the vertices of cells all over the sphere and in the polar caps."""
    from cdshealpix.nested import vertices

    order = margin_order(margin)
    rng = np.random.default_rng(0)
    count = 12 * 4**order
    top = np.arange(max(0, 4**order - 20_000), 4**order)
    cells = np.unique(np.concatenate([rng.integers(0, count, 50_000), top])).astype(np.uint64)
    lon, lat = vertices(cells, np.uint8(order))
    corners = xyz(np.degrees(lon.to_value("rad")), np.degrees(lat.to_value("rad")))
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 3]), axis=1)
    sides = [np.linalg.norm(corners[:, i] - corners[:, (i + 1) % 4], axis=1) for i in range(4)]
    assert (area / np.max(sides, axis=0) * ARCSEC).min() > margin


def test_margins_that_cannot_be_are_refused():
    for margin in (0.0, -1.0, float("inf"), 2e4):
        with pytest.raises(UsageError):
            margin_order(margin)


@given(st.data())
def test_the_tiles_cover_the_sky_once(data):
    partitions, nodes = [], [(0, base) for base in range(12)]
    while nodes:
        order, pixel = nodes.pop()
        choice = data.draw(st.sampled_from(["keep", "drop", "split"] if order < 4 else ["keep", "drop"]))
        if choice == "keep":
            partitions.append((order, pixel))
        elif choice == "split" and len(nodes) < 60:
            nodes += [(order + 1, 4 * pixel + child) for child in range(4)]
    rest = list(margins.rest_of_sky(partitions))
    spans = sorted((p << 2 * (29 - o), (p + 1) << 2 * (29 - o)) for o, p in [*partitions, *rest])
    assert spans[0][0] == 0
    assert spans[-1][1] == 12 << 58
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    # The fewest: no four of the rest are the children of one pixel.
    parents = [(o, p >> 2) for o, p in rest if o > 0]
    assert all(parents.count(parent) < 4 for parent in set(parents))


def test_lsdb_finds_neighbours_from_pixels_without_partition(tmp_path):
    """Positions in empty pixels beside the only occupied one: LSDB must look into the margins of nothing."""
    import dask
    import lsdb
    import pandas as pd

    rng = np.random.default_rng(4)
    # A strip that ends exactly at a border of base pixels, at ra = 90.
    ra, dec = 90.0 - rng.uniform(0.0001, 0.5, 3000), rng.uniform(30.0, 40.0, 3000)
    ra[:50] = 90.0 - rng.uniform(0.0, 4.0, 50) / 3600.0
    table = pa.table({"ra": ra, "dec": dec})
    copy = make_copy(table, tmp_path / "c")
    at_ra, at_dec = ra + rng.uniform(0.0, 6.0, 3000) / 3600.0, dec
    left = lsdb.from_dataframe(
        pd.DataFrame({"ra": at_ra, "dec": at_dec, "n": np.arange(3000)}), margin_threshold=None, lowest_order=3
    )
    with dask.config.set(scheduler="threads"):
        found = left.crossmatch(
            copy.open_lsdb(), radius_arcsec=5.0, suffixes=("_a", "_b"), suffix_method="overlapping_columns"
        ).compute()
    expected = brute_force(at_ra, at_dec, ra, dec, 5.0, k=1)
    assert (at_ra >= 90.0)[expected.left].sum() > 20
    assert dict(zip(found["n"].astype(int), found["_row"].astype(int), strict=True)) == dict(
        zip(expected.left.tolist(), expected.right.tolist(), strict=True)
    )


def test_an_empty_margin_can_be_opened(tmp_path):
    import dask

    copy = make_copy(patch_table(40, 20.0, 10.0, 0.001), tmp_path / "c")
    assert list(copy.margin_path.rglob("Npix=*")) == []
    catalog = copy.open_lsdb()
    assert catalog.margin is not None
    with dask.config.set(scheduler="threads"):
        assert len(catalog.compute()) == 40
