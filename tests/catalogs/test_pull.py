"""Pulls from end to end: what arrives is the catalogue, or the region, and nothing is called unmatched wrongly."""

from __future__ import annotations

import itertools
import json
import shutil
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.catalogs.geometry import longest_diagonal_deg, offset, points_near
from tests.catalogs.remote_sky import CONE, FAST, Server, Told, made_rows, now_and_then, rows_of, write_hats
from tests.oracle import brute_force, xyz
from xmatch_hats import healpix
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.pull import pull_catalog
from xmatch_hats.catalogs.region import Box, Cone, MocRegion
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, DefinitionError, RemoteError, SelfCheckError, UsageError


@pytest.fixture(scope="module")
def rows():
    return made_rows(20_000)


@pytest.fixture(scope="module")
def sky(tmp_path_factory, rows):
    return write_hats(tmp_path_factory.mktemp("pull") / "sky", rows, order=5)


def same(copy, expected, columns=("ra", "dec", "source", "mag", "flag")):
    found = rows_of(copy, columns).cast(expected.select(columns).schema)
    assert found.equals(expected.select(columns).sort_by("source"))


def within(rows, cone, margin_arcsec):
    chord = np.linalg.norm(xyz(rows["ra"].to_numpy(), rows["dec"].to_numpy()) - xyz(cone.ra, cone.dec), axis=-1)
    return rows.filter(pa.array(np.degrees(2 * np.arcsin(chord / 2)) <= cone.radius_deg + margin_arcsec / 3600))


@pytest.fixture(scope="module")
def cone_copy(tmp_path_factory, sky):
    """A cone, through a server that fails now and then."""
    out = tmp_path_factory.mktemp("cone") / "out"
    progress = Told()
    with Server(sky, fault=now_and_then(5)) as server:
        copy = pull_catalog(server.url, out, region=CONE, workers=0, retry=FAST, progress=progress)
        assert len(server.faults) >= 4
        yield copy, progress, server.url


def test_a_cone_through_a_failing_server(cone_copy, rows):
    copy, progress, url = cone_copy
    expected = within(rows, CONE, 10)
    same(copy, expected)
    assert copy.margin_arcsec == 10
    assert progress.rows == len(expected)
    assert ("fetching", progress.bytes) in progress.stages
    assert any(" to fetch" in text for text in progress.said)
    manifest = copy.manifest
    assert manifest.sources[0].path == url
    assert manifest.settings["region"] == "cone 0.1 -0.2 1"
    assert manifest.coverage.kind == "region"
    assert not manifest.coverage.estimated
    assert verify_copy(copy.path).passed
    assert not list(copy.path.parent.glob(".*"))


def check_statuses(copy, rows, cone, n, answer):
    """Across the edge of a cone: none unmatched that the whole sky matches, none well inside called outside."""
    rng = np.random.default_rng(1)
    radius_arcsec = 1.0
    share = np.sqrt(rng.random(n))
    # Half of the positions near the edge, half of all near a source.
    share[::2] = 1.0 + rng.normal(0, 60 / 3600 / cone.radius_deg, len(share[::2]))
    ra, dec = offset(cone.ra, cone.dec, np.abs(share) * cone.radius_deg * 1.05, rng.uniform(0, 2 * np.pi, n))
    near = rng.integers(0, len(rows), n // 2)
    ra[: n // 2] = rows["ra"].to_numpy()[near] + rng.normal(0, 0.5, n // 2) / 3600
    dec[: n // 2] = rows["dec"].to_numpy()[near] + rng.normal(0, 0.5, n // 2) / 3600
    matched, unmatched, outside = answer(copy, ra, dec, radius_arcsec)
    pairs = brute_force_fast(ra, dec, rows, radius_arcsec)
    assert not (unmatched & pairs).any()
    assert (pairs | ~matched).all()
    d = np.linalg.norm(xyz(ra, dec) - xyz(cone.ra, cone.dec), axis=-1)
    distance = np.degrees(2 * np.arcsin(d / 2))
    well_inside = distance < cone.radius_deg - radius_arcsec / 3600 - longest_diagonal_deg(copy.coverage)
    assert well_inside.sum() > n / 20
    assert not (outside & well_inside).any()
    # Nothing beyond the edge is called unmatched at all.
    assert not (unmatched & (distance > cone.radius_deg - radius_arcsec / 3600)).any()
    return int(matched.sum()), int(unmatched.sum()), int(outside.sum())


def brute_force_fast(ra, dec, rows, radius_arcsec):
    """Whether each position has a row within the radius: every pair within each strip of declination."""
    found = np.zeros(len(ra), dtype=bool)
    row_ra, row_dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
    pad = radius_arcsec / 3600 * 1.01
    edges = np.linspace(dec.min() - 1e-9, dec.max() + 1e-9, 200)
    for low, high in itertools.pairwise(edges):
        left = np.flatnonzero((dec >= low) & (dec < high))
        right = np.flatnonzero((row_dec >= low - pad) & (row_dec < high + pad))
        pairs = brute_force(ra[left], dec[left], row_ra[right], row_dec[right], radius_arcsec)
        found[left[pairs.left]] = True
    return found


def by_coverage(copy, ra, dec, radius_arcsec):
    table = rows_of(copy)
    matched = brute_force_fast(ra, dec, table, radius_arcsec)
    inside = copy.coverage.contains_discs(ra, dec, radius_arcsec)
    return matched, ~matched & inside, ~matched & ~inside


def by_engine(copy, ra, dec, radius_arcsec):
    from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
    from xmatch_hats.matching.status import MatchStatus

    with Crossmatcher([CatalogTarget(copy, name="made", radius_arcsec=radius_arcsec)], workers=0) as crossmatcher:
        status = crossmatcher.match(ra, dec)["made"].status
    return tuple(
        status == value for value in (MatchStatus.MATCHED, MatchStatus.UNMATCHED, MatchStatus.OUTSIDE_COVERAGE)
    )


@pytest.mark.parametrize("answer", [by_coverage, by_engine])
def test_statuses_across_the_edge_of_a_cone(cone_copy, rows, answer):
    counts = check_statuses(cone_copy[0], rows, CONE, 4000, answer)
    assert min(counts) > 50


@pytest.mark.campaign
@pytest.mark.parametrize("place", [(10.0, 20.0), (0.0, 89.5), (45.0, 41.81), (0.0, -0.3)])
def test_statuses_across_the_edge_of_a_cone_at_full_size(tmp_path, place, record_property):
    """A hundred thousand positions across the edge of a cone, in a sky of ALLWISE's density, at four places."""
    rng = np.random.default_rng(2)
    n = int(18_100 * np.pi * 1.5**2)
    ra, dec = points_near(*place, 1.5, n, rng)
    rows = made_rows(n).set_column(0, "ra", pa.array(ra)).set_column(1, "dec", pa.array(dec))
    rows = rows.set_column(5, "_healpix_29", pa.array(healpix.cells_of(ra, dec))).sort_by("_healpix_29")
    sky = write_hats(tmp_path / "sky", rows, order=5)
    cone = Cone(*place, 1.0)
    with Server(sky, fault=now_and_then(7)) as server:
        copy = pull_catalog(server.url, tmp_path / "out", region=cone, workers=0, retry=FAST)
    counts = check_statuses(copy, rows, cone, 100_000, by_engine)
    record_property("matched, unmatched, outside-coverage", counts)


def test_a_whole_catalogue_from_a_path(tmp_path, sky, rows):
    copy = pull_catalog(str(sky), tmp_path / "out", workers=0, margin_arcsec=20.0, columns=["source", "mag"])
    same(copy, rows, ("ra", "dec", "source", "mag"))
    assert "flag" not in copy.schema.names
    assert copy.coverage.kind == "rows"
    assert copy.coverage.estimated
    assert copy.margin_arcsec == 20.0
    assert verify_copy(copy.path, checksums=False).passed


def test_a_copy_of_a_copy_knows_no_more_than_the_first(tmp_path, cone_copy):
    """Our own copies tell their coverage, and a region of one covers no more than that."""
    copy, _, _ = cone_copy
    box = Box(359.5, 3.0, -0.5, 0.1)
    progress = Told()
    with Server(copy.path, ranges=False) as server:
        second = pull_catalog(server.url, tmp_path / "out", region=box, workers=0, retry=FAST, progress=progress)
    # This server gives whole files only, whose footers are not known before they are here.
    assert "an unknown number of rows" in progress.said[0]
    first = rows_of(copy)
    same(second, first.filter(pa.array(box.row_mask(first["ra"].to_numpy(), first["dec"].to_numpy(), 10))))
    assert second.coverage.kind == "region"
    assert second.coverage.contains_discs([0.0, 359.6], [0.0, -0.2], 1).all()
    assert not second.coverage.contains_discs([2.0, 359.6], [0.0, -0.9], 1).any()


def test_coverage_of_a_map_and_a_region_is_what_both_hold(tmp_path, sky):
    half = Box(0, 90, -90, 90).coverage()
    half.moc.save(str(tmp_path / "half.fits"), format="fits")
    copy = pull_catalog(str(sky), tmp_path / "out", region=CONE, coverage=tmp_path / "half.fits", workers=0)
    assert copy.coverage.contains_discs([0.5], [0.0], 1).all()
    assert not copy.coverage.contains_discs([359.8], [0.0], 1).any()
    (tmp_path / "region.json").write_text(json.dumps({"8": [1]}))
    with pytest.raises(RemoteError, match=r"nothing in this region|no row in this region"):
        pull_catalog(str(sky), tmp_path / "none", region=MocRegion.from_file(tmp_path / "region.json"), workers=0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"region": CONE, "coverage": "all-sky"}, UsageError, "region has its own coverage"),
        ({"margin_arcsec": 0.0}, UsageError, "margin must be"),
        ({"margin_arcsec": float("nan")}, UsageError, "margin must be"),
        ({"columns": ["nosuch"]}, RemoteError, "has no column nosuch"),
        ({"columns": "mag"}, UsageError, "list of names"),
        ({"definition": "nosuch"}, DefinitionError, "no definition is named"),
        ({"region": Cone(180, 45, 0.1)}, RemoteError, "nothing in this region"),
        ({"region": Cone(1.99, 1.99, 0.0001)}, RemoteError, "no row in this region"),
    ],
)
def test_what_cannot_be_pulled_is_told_and_leaves_no_copy(tmp_path, sky, settings, error, reason):
    with pytest.raises(error, match=reason):
        pull_catalog(str(sky), tmp_path / "out", workers=0, **settings)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_nobody_interferes(tmp_path, sky):
    (tmp_path / "out").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        pull_catalog(str(sky), tmp_path / "out", workers=0)
    from filelock import FileLock

    (tmp_path / ".other.pulling").mkdir()
    with FileLock(tmp_path / ".other.pulling" / "lock"), pytest.raises(CatalogError, match="by another process"):
        threaded(lambda: pull_catalog(str(sky), tmp_path / "other", workers=0))


def threaded(call):
    """Run in another thread: a lock of this thread's would be this thread's."""
    failures = []

    def run():
        try:
            call()
        except CatalogError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise failures[0]


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(tmp_path, sky, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**6, 10**6, 1000))
    with Server(sky) as server:
        with pytest.raises(CatalogError, match="the pull needs about"):
            pull_catalog(server.url, tmp_path / "out", workers=0, retry=FAST)
        assert not (tmp_path / "out").exists()


def test_rows_that_the_metadata_promise_must_be_there(tmp_path, sky):
    shutil.copytree(sky, tmp_path / "sky")
    listed = tmp_path / "sky" / "made" / "partition_info.csv"
    listed.write_text("\n".join(listed.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(RemoteError, match="rows, its metadata say 20,000"):
        pull_catalog(str(tmp_path / "sky"), tmp_path / "out", workers=0)


DEFINITION = """
name = "made"
ra_column = "ra"
dec_column = "dec"
id_column = "source"
label_column = "flag"
default_columns = ["ra", "dec", "source", "mag"]
columns = [
  { name = "ra", type = "float64", unit = "deg" },
  { name = "dec", type = "float64", unit = "deg" },
  { name = "source", type = "int64" },
  { name = "mag", type = "float64", unit = "mag" },
  { name = "flag", type = "string" },
]
[[self_checks]]
name = "magnitudes"
kind = "range"
columns = ["mag"]
minimum = %s
maximum = 40
"""


def test_a_definition_names_columns_and_refuses_what_contradicts_it(tmp_path, sky):
    for name, minimum in (("good", -10), ("bad", 16)):
        (tmp_path / f"{name}.toml").write_text(DEFINITION % minimum)
    copy = pull_catalog(str(sky), tmp_path / "good", region=CONE, definition=tmp_path / "good.toml", workers=0)
    assert copy.id_column == "source"
    assert set(copy.schema.names) == {"_healpix_29", "ra", "dec", "source", "mag", "flag"}
    with Server(sky) as server:
        with pytest.raises(SelfCheckError, match="magnitudes") as caught:
            pull_catalog(server.url, tmp_path / "bad", definition=tmp_path / "bad.toml", workers=1, retry=FAST)
        # Refused at the first file: not all were fetched to find out.
        fetched = {path for path in server.gets if "Npix" in path and server.gets[path] > 1}
        assert "Npix" in str(caught.value)
        assert len(fetched) < len(list(sky.rglob("Npix=*.parquet")))


def test_positions_under_other_names(tmp_path, rows):
    renamed = rows.rename_columns(["object_lon", "object_lat", "source", "mag", "flag", "_healpix_29"])
    sky = write_hats(tmp_path / "sky", renamed, ra="object_lon", dec="object_lat", order=4)
    copy = pull_catalog(str(sky), tmp_path / "out", region=CONE, workers=0)
    assert (copy.ra_column, copy.dec_column) == ("object_lon", "object_lat")
    assert copy.total_rows == len(within(rows, CONE, 10))


def test_what_lsdb_wrote_for_its_own_tests(tmp_path, shared_data):
    folder = shared_data / "lsdb_oracle"
    copy = pull_catalog(str(folder / "small_sky_source"), tmp_path / "out", workers=0)
    assert copy.total_rows == 17161
    assert copy.ra_column == "source_ra"
    assert Coverage.load(copy.path).estimated
    cone = pull_catalog(
        str(folder / "small_sky_order1_collection"), tmp_path / "cone", region=Cone(300, -50, 10), workers=0
    )
    table = pq.read_table(next((folder / "small_sky").rglob("Npix=11.parquet")), partitioning=None)
    expected = Cone(300, -50, 10).row_mask(table["ra"].to_numpy(), table["dec"].to_numpy(), 10).sum()
    assert cone.total_rows == expected > 0
