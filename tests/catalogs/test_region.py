"""Regions against plain geometry: inner cells are inside, outer ones hold everything, masks lose no row."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Latitude, Longitude
from cdshealpix import vertices
from hypothesis import given
from hypothesis import strategies as st

from tests.catalogs.geometry import offset, points_near
from tests.oracle import xyz
from xmatch_hats import healpix
from xmatch_hats.catalogs.moc_files import moc_of
from xmatch_hats.catalogs.region import Box, Cone, MocRegion
from xmatch_hats.errors import CoverageError, UsageError

CONES = [
    Cone(10, 20, 1),
    Cone(0, 0, 10),
    Cone(77, 90, 3),
    Cone(200, -89.9, 0.5),
    Cone(45, 41.81, 0.01),
    Cone(-10, 5, 40),
    Cone(300, 60, 95),
    Cone(120, -3, 178),
]
BOXES = [
    Box(10, 12, 20, 21),
    Box(350, 10, -5, 5),
    Box(0, 360, 80, 90),
    Box(0, 90, 60, 90),
    Box(100, 99, -90, -88),
    Box(5, 355, -1, 1),
    Box(-10, 10, -90, 90),
    Box(40, 50, 41.8, 41.82),
    Box(0, 360, -90, 90),
]


def in_box(box, ra, dec, slack=0.0):
    east = (np.asarray(ra) - box.ra_min) % 360
    in_ra = (east <= box.width_deg + slack) | (east >= 360 - slack) | (np.abs(dec) > 90 - 1e-7)
    return in_ra & (dec >= box.dec_min - slack) & (dec <= box.dec_max + slack)


def distance_deg(region, ra, dec):
    d = np.linalg.norm(xyz(ra, dec) - xyz(region.ra, region.dec), axis=-1)
    return np.degrees(2 * np.arcsin(np.minimum(d / 2, 1)))


def within(region, ra, dec):
    if isinstance(region, Box):
        return in_box(region, ra, dec, 1e-12)
    return distance_deg(region, ra, dec) <= region.radius_deg + 1e-12


@pytest.mark.parametrize("region", CONES + BOXES, ids=str)
def test_every_inner_cell_lies_wholly_inside(region):
    coverage = region.coverage()
    assert coverage.kind == "region"
    assert coverage.order >= 10
    if isinstance(region, Cone) and region.radius_deg <= 10:
        assert coverage.order >= 12
    if coverage.sky_fraction == 1.0:
        return
    rng = np.random.default_rng(1)
    # Cells inside the map that touch its border are the only ones that may stick out.
    inner = moc_of(coverage.ranges, coverage.order)
    outside = moc_of(coverage.ranges, coverage.order).add_neighbours().difference(inner)
    rim = outside.add_neighbours().intersection(inner)
    members = rim.flatten()
    members = members if len(members) < 4000 else rng.choice(members, 4000, replace=False)
    lon, lat = vertices(members, coverage.order, step=20)
    assert within(region, lon.deg.ravel(), lat.deg.ravel()).all()


@pytest.mark.parametrize("region", CONES + BOXES, ids=str)
def test_the_inner_map_loses_less_than_a_cell_at_the_border(region):
    rng = np.random.default_rng(2)
    coverage = region.coverage()
    diagonal = np.degrees(2 * healpix.cell_radius_rad(coverage.order))
    if isinstance(region, Cone):
        room = region.radius_deg - diagonal
        ra, dec = offset(region.ra, region.dec, room * np.sqrt(rng.random(5000)), rng.uniform(0, 2 * np.pi, 5000))
    else:
        dec = rng.uniform(region.dec_min, region.dec_max, 20000)
        ra = region.ra_min + rng.uniform(0, region.width_deg, 20000)
        scale = np.maximum(np.cos(np.radians(dec)), 1e-9)
        to_side = np.minimum(ra - region.ra_min, region.ra_min + region.width_deg - ra) * scale
        deep = (to_side > 1.2 * diagonal) | (region.width_deg == 360)
        for edge in (region.dec_min, region.dec_max):
            deep &= (np.abs(dec - edge) > diagonal) | (abs(edge) == 90)
        ra, dec = ra[deep], dec[deep]
    assert len(ra) > 100
    assert healpix.in_ranges(healpix.cells_of(ra % 360, dec), coverage.ranges).all()


@pytest.mark.parametrize("margin_arcsec", [0.0, 10.0, 600.0])
@pytest.mark.parametrize("region", CONES + BOXES, ids=str)
def test_mask_and_outer_cells_hold_all_within_the_margin(region, margin_arcsec):
    rng = np.random.default_rng(3)
    edge_ra, edge_dec = edge_points(region, 400, rng)
    # Positions just within the margin of a point of the edge, on whichever side.
    share = np.sqrt(rng.random(400)) * (1 - 1e-9)
    ra, dec = np.array(
        [
            offset(a, d, margin_arcsec / 3600 * s, t)
            for a, d, s, t in zip(edge_ra, edge_dec, share, rng.uniform(0, 6.28, 400), strict=True)
        ]
    ).T
    assert region.row_mask(ra, dec, margin_arcsec).all()
    assert healpix.in_ranges(healpix.cells_of(ra, dec), region.outer_ranges(margin_arcsec)).all()


def edge_points(region, n, rng):
    if isinstance(region, Cone):
        return offset(region.ra, region.dec, np.full(n, region.radius_deg * (1 - 1e-13)), rng.uniform(0, 2 * np.pi, n))
    ra = region.ra_min + rng.uniform(0, region.width_deg, n)
    dec = rng.uniform(region.dec_min, region.dec_max, n)
    side = rng.integers(0, 4, n)
    ra = np.where(side == 0, region.ra_min, np.where(side == 1, region.ra_min + region.width_deg, ra)) % 360
    return ra, np.where(side == 2, region.dec_min, np.where(side == 3, region.dec_max, dec))


@pytest.mark.parametrize("region", CONES[:4], ids=str)
def test_mask_of_a_cone_is_exact(region):
    rng = np.random.default_rng(4)
    ra, dec = points_near(region.ra, region.dec, region.radius_deg * 1.2, 20000, rng)
    expected = distance_deg(region, ra, dec) <= region.radius_deg + 30 / 3600
    np.testing.assert_array_equal(region.row_mask(ra, dec, 30.0), expected)


@pytest.mark.parametrize("region", CONES[:4] + BOXES[:5], ids=str)
def test_outer_cells_are_not_much_more_than_the_region(region):
    outer = region.outer_ranges(10.0)
    assert healpix.sky_fraction(outer) <= 1.2 * region.coverage().sky_fraction


@given(
    ra=st.one_of(st.floats(-360, 720), st.sampled_from([0.0, 45.0, 90.0, 360.0])),
    dec=st.one_of(st.floats(-90, 90), st.sampled_from([90.0, -90.0, 41.8103, 0.0])),
    radius=st.one_of(st.floats(1e-3, 180), st.sampled_from([90.0, 179.999, 180.0])),
)
def test_cones_anywhere(ra, dec, radius):
    cone = Cone(ra, dec, radius)
    rng = np.random.default_rng(5)
    inner, outer = cone.coverage().ranges, cone.outer_ranges(10.0)
    distance = np.r_[radius * (1 + 0.02 * rng.normal(size=500)), rng.uniform(0, 180, 500), 180, 0]
    distance = np.clip(distance, 0, 180)
    ra, dec = offset(ra, dec, distance, rng.uniform(0, 2 * np.pi, len(distance)))
    where = healpix.cells_of(ra, dec)
    true = distance_deg(cone, ra, dec)
    assert (true[healpix.in_ranges(where, inner)] <= radius + 1e-9).all()
    assert healpix.in_ranges(where, outer)[true <= radius].all()
    assert cone.row_mask(ra, dec)[true <= radius].all()


def test_bulge_of_edges_is_within_the_pad():
    """Cells of all kinds: how far do their edges reach beyond the sixteen points that stand for them?"""
    rng = np.random.default_rng(6)
    for order in (10, 12):
        base = 4**order
        members = np.r_[
            0, base - 1, base // 3, 4 * base, 11 * base + base - 1, 8 * base, rng.integers(0, 12 * base, 300)
        ]
        members = np.r_[members, base - 1 - np.arange(40)].astype(np.uint64)
        centre_ra, centre_dec = healpix.centres_of(members, order)
        for angle in np.linspace(0, 2 * np.pi, 7):
            ra, dec = np.array([offset(a, d, 3.0, angle) for a, d in zip(centre_ra, centre_dec, strict=True)]).T
            coarse, dense = (reach(members, order, step, ra, dec) for step in (4, 64))
            assert ((dense - coarse) / healpix.cell_radius_rad(order)).max() < 0.01


def reach(members, order, step, ra, dec):
    lon, lat = vertices(members, order, step=step)
    d = np.linalg.norm(xyz(lon.deg, lat.deg) - xyz(ra, dec)[:, None], axis=-1)
    return (2 * np.arcsin(d / 2)).max(axis=1)


def test_maps_as_regions(tmp_path):
    source = Cone(0, 89, 2).coverage()
    source.moc.save(str(tmp_path / "m.fits"), format="fits")
    region = MocRegion.from_file(tmp_path / "m.fits")
    coverage = region.coverage()
    assert (coverage.kind, coverage.order) == ("region", source.order)
    np.testing.assert_array_equal(coverage.ranges, source.ranges)
    rng = np.random.default_rng(7)
    ra, dec = points_near(0, 89, 2.3, 5000, rng)
    mask = region.row_mask(ra, dec, 10.0)
    inside = source.moc.contains_lonlat(Longitude(ra * u.deg), Latitude(dec * u.deg))
    assert mask[inside].all()
    assert not mask[distance_deg(Cone(0, 89, 2), ra, dec) > 2.02].any()
    # Within the margin of a covered position.
    near_ra, near_dec = np.array(
        [offset(a, d, 9.99 / 3600, t) for a, d, t in zip(ra[inside], dec[inside], ra, strict=False)]
    ).T
    assert region.row_mask(near_ra, near_dec, 10.0).all()
    assert healpix.in_ranges(healpix.cells_of(near_ra, near_dec), region.outer_ranges(10.0)).all()
    assert not region.row_mask([np.nan, 0], [0, np.inf]).any()


def test_maps_that_are_no_region(tmp_path):
    (tmp_path / "empty").write_text("5/")
    with pytest.raises(UsageError, match="no part of the sky"):
        MocRegion.from_file(tmp_path / "empty")
    with pytest.raises(CoverageError):
        MocRegion.from_file(tmp_path / "none")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Cone(np.nan, 0, 1), "right ascension nan"),
        (lambda: Cone(0, 91, 1), "declination 91"),
        (lambda: Cone(0, 0, 0), "above 0 and at most 180"),
        (lambda: Cone(0, 0, 181), "above 0 and at most 180"),
        (lambda: Cone(0, 0, np.inf), "above 0 and at most 180"),
        (lambda: Box(800, 10, 0, 1), "right ascension 800"),
        (lambda: Box(0, 10, 0, np.nan), "declination nan"),
        (lambda: Box(0, 10, 5, 5), "second declination"),
        (lambda: Box(0, 10, 5, 4), "second declination"),
        (lambda: Box(10, 10, 0, 1), "must differ"),
        (lambda: Box(-10, 360, 0, 1), "one turn at most"),
        (lambda: Box(720, 0, 0, 1), "must differ"),
    ],
)
def test_numbers_that_mean_nothing(make, reason):
    with pytest.raises(UsageError, match=reason):
        make()
