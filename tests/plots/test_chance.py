"""What chance would give: against brute force on random skies, and against the closed formula."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest

from tests.copies import make_copy, patch_table, sky_table
from tests.oracle import brute_force
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.errors import CatalogError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.plots.chance import SQUARE_DEG, Density, expected_pairs, local_density
from xmatch_hats.plots.tallies import CellCounts


def counted(ra, dec, status=MatchStatus.UNMATCHED):
    sky = CellCounts(3)
    sky.add(cells_of(ra, dec), np.full(len(ra), status))
    return sky


@pytest.fixture(scope="module")
def patch(tmp_path_factory):
    """20,000 rows in a cone of two degrees, denser in its south, and a copy of them."""
    even = patch_table(10_000, 10.0, 40.0, 2.0, seed=1)
    more = patch_table(40_000, 10.0, 40.0, 2.0, seed=2)
    south = more.filter(pa.array(more["dec"].to_numpy() < 40.0)).slice(0, 10_000)
    table = pa.concat_tables([even, south]).drop_columns(["source_id"])
    table = table.append_column("source_id", pa.array(np.arange(20_000)))
    copy = make_copy(table, tmp_path_factory.mktemp("patch") / "patch", coverage=Cone(10.0, 40.0, 2.0).coverage())
    return table, copy


@pytest.mark.parametrize(("n_neighbors", "k"), [(None, None), (1, 1), (3, 3)])
def test_random_positions_find_as_many_as_expected(patch, n_neighbors, k):
    table, copy = patch
    inputs = patch_table(3000, 10.0, 40.0, 1.8, seed=7)
    edges = np.array([0.0, 10.0, 20.0, 30.0, 60.0])
    found = brute_force(inputs["ra"], inputs["dec"], table["ra"], table["dec"], 60.0, k=k)
    pairs, _ = np.histogram(found.sep_arcsec, edges)
    expected = expected_pairs(local_density(copy), counted(inputs["ra"], inputs["dec"]), edges, n_neighbors)
    assert (np.abs(pairs - expected) < 5 * np.sqrt(expected) + 0.02 * expected).all()
    assert (expected > 100).sum() >= 2


def test_of_an_even_sky_it_is_the_formula():
    density = Density(2, np.full(12 << 4, 1e-4), "")
    sky = counted(*(sky_table(500)[name] for name in ("ra", "dec")))
    edges = np.linspace(0.0, 5.0, 11)
    exact = 500 * np.diff(np.pi * 1e-4 * edges**2)
    # Cells of nearly the same density are taken together.
    assert np.allclose(expected_pairs(density, sky, edges, None), exact, rtol=1e-3)
    middles = (edges[1:] + edges[:-1]) / 2
    assert np.allclose(exact, 500 * 2 * np.pi * 1e-4 * middles * 0.5)
    nearest = 500 * np.diff(-np.expm1(-np.pi * 1e-4 * edges**2))
    assert np.allclose(expected_pairs(density, sky, edges, 1), nearest, rtol=1e-3)


def test_inputs_outside_of_the_coverage_expect_nobody():
    density = Density(0, np.full(12, 1e-4), "")
    sky = counted(np.zeros(5), np.zeros(5), MatchStatus.OUTSIDE_COVERAGE)
    assert expected_pairs(density, sky, np.array([0.0, 5.0]), 1).tolist() == [0.0]


def test_the_density_is_local_also_on_the_border(patch):
    _, copy = patch
    density = local_density(copy)
    assert density.order <= 8
    per_deg2 = density.per_square_arcsec * 3600**2
    for dec, expected in ((39.0, (10_000 + 20_000) / 12.56), (41.0, 10_000 / 12.56), (41.95, 10_000 / 12.56)):
        cell = cells_of([10.0], [dec], density.order)
        assert per_deg2[cell[0]] == pytest.approx(expected, rel=0.4)
    assert "rows of patch" in density.source
    assert f"order {density.order}" in density.source


def test_sparse_catalogues_have_large_cells(tmp_path):
    copy = make_copy(sky_table(2000), tmp_path / "few", coverage="all-sky")
    density = local_density(copy)
    assert density.order == 0
    assert density.per_square_arcsec.mean() * 3600**2 == pytest.approx(2000 / SQUARE_DEG, rel=1e-6)


def test_the_occupancy_map_tells_what_the_rows_do(patch, tmp_path):
    """A map that is fine enough is taken; one of other rows is not."""
    from hats.io.skymap import write_skymap

    _, copy = patch
    counted_rows = local_density(copy)
    moved = tmp_path / "moved"
    shutil.copytree(copy.path, moved)
    other = type(copy).open(moved)
    image = np.zeros(12 << 18, np.int64)
    for index in copy.read_healpix():
        np.add.at(image, index >> 40, 1)
    write_skymap(image, other.main_path)
    by_map = local_density(other)
    assert (by_map.per_square_arcsec == counted_rows.per_square_arcsec).all()
    assert "skymap.fits" in by_map.source
    assert "skymap.fits" not in counted_rows.source
    write_skymap(image * 2, other.main_path)
    assert (local_density(other).per_square_arcsec == counted_rows.per_square_arcsec).all()
    (other.main_path / "skymap.fits").write_bytes(b"nonsense")
    with pytest.raises(CatalogError, match=r"skymap.fits: cannot be read"):
        local_density(other)


def test_no_rows_no_density(tmp_path):
    copy = make_copy(sky_table(10), tmp_path / "ten", coverage=Coverage("moc", np.empty((0, 2)), 5))
    assert (local_density(copy).per_square_arcsec == 0.0).all()
