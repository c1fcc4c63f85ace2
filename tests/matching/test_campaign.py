"""Full size: more than a million positions against brute force, and twenty million rows on two small workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.matching import exposure
from tests.matching.skies import PLACES, catalog_frame, clump, offset, write_copy
from tests.matching.ways import both_ways, by_tree
from tests.oracle import brute_force
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
from xmatch_hats.matching.partitions import PartitionIndex
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedSky

ROWS = int(os.environ.get("XMATCH_HATS_CAMPAIGN_ROWS", 20_000_000))
GIB = 1 << 30


def make_clumps(rng, rows, positions):
    """At every place rows of three densities, and positions near them: the same spots on both sides of each border."""
    parts = []
    for ra, dec in PLACES.values():
        spreads = (0.003, 0.05, 0.4)
        right = [np.concatenate(x) for x in zip(*(clump(rng, ra, dec, rows // 3, s) for s in spreads), strict=True)]
        near = rng.integers(0, len(right[0]), positions)
        left = offset(rng, right[0][near], right[1][near], 9.0)
        parts.append((right, left))
    return parts


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_the_engine_on_a_quarter_of_a_million_positions(tmp_path, seed, record_property):
    rng = np.random.default_rng(seed)
    parts = make_clumps(rng, 900, 24_000)
    frame = catalog_frame(rng, *(np.concatenate([right[i] for right, _ in parts]) for i in (0, 1)))
    frame = frame.rename(columns={"cntr": "_row"}).sample(frac=1, random_state=seed)
    path = write_copy(frame, tmp_path, partition_rows=(1200, 1500, 3000, 50_000)[seed])
    ra, dec = (np.concatenate([left[i] for _, left in parts]) for i in (0, 1))
    assert len(ra) >= 250_000
    k, minimum = ((1, 0.0), (None, 0.0), (3, 0.0), (2, 4.0))[seed]
    target = CatalogTarget(path, radius_arcsec=10.0, columns=["_row"])
    with Crossmatcher([target], n_neighbors=k, min_radius_arcsec=minimum, workers=0) as matcher:
        result = matcher.match(ra, dec)["sky"]
    ids = result.rows["_row"].to_numpy()
    start = 0
    for right, left in parts:
        stop = start + len(left[0])
        own = frame.iloc[np.flatnonzero(np.isin(frame["ra"], right[0]))]
        expected = brute_force(
            *left, own["ra"], own["dec"], 10.0, k=k, min_radius_arcsec=minimum, ids=own["_row"], block=500
        )
        mine = (result.left >= start) & (result.left < stop)
        np.testing.assert_array_equal(result.left[mine] - start, expected.left)
        np.testing.assert_array_equal(ids[mine], own["_row"].to_numpy()[expected.right])
        np.testing.assert_allclose(result.distance_arcsec[mine], expected.sep_arcsec, rtol=0, atol=1e-9)
        start = stop
    record_property("positions", len(ra))
    record_property("pairs", len(result.left))


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_the_kernel_on_a_million_positions(record_property):
    rng = np.random.default_rng(99)
    done = pairs_seen = 0
    names = list(PLACES)
    while done < 1_000_000:
        ra, dec = PLACES[names[rng.integers(len(names))]]
        spread = 10.0 ** rng.uniform(-3, 1)
        radius = min(spread * 3600 * 10.0 ** rng.uniform(-2.5, -0.8), 36_000.0)
        left, right = clump(rng, ra, dec, 2000, spread), clump(rng, ra, dec, 500, spread)
        k, minimum = (None, 1, 4)[rng.integers(3)], float(rng.choice([0.0, radius / 3]))
        expected = brute_force(*left, *right, radius, k=k, min_radius_arcsec=minimum, block=500)
        sky = SortedSky.from_positions(*right)
        for pairs in both_ways(left, sky, MatchRule(radius, k, minimum)):
            np.testing.assert_array_equal(pairs.left, expected.left)
            np.testing.assert_array_equal(pairs.right, expected.right)
        done += len(left[0])
        pairs_seen += len(expected)
    record_property("positions", done)
    record_property("pairs", pairs_seen)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_the_kernel_on_one_sky_of_millions(record_property):
    """Thin and dense regions, rows on one spot, and positions in any order, against the tree."""
    rng = np.random.default_rng(98)
    spreads = (0.01, 0.03, 0.1, 1.0, 5.0, 20.0, 180.0)
    right = [clump(rng, *place, 60_000, spread) for spread in spreads for place in PLACES.values()]
    ra, dec = (np.concatenate(angles) for angles in zip(*right, strict=True))
    doubled = rng.integers(0, len(ra), 100_000)
    ra, dec = np.r_[ra, ra[doubled]], np.r_[dec, dec[doubled]]
    sky = SortedSky.from_positions(ra, dec)
    near = rng.integers(0, len(ra), 1_000_000)
    left = offset(rng, ra[near], dec[near], 1.0)
    for rule in (MatchRule(1.0), MatchRule(0.5, 3, 0.1), MatchRule(5.0)):
        pairs, expected = both_ways(left, sky, rule)
        np.testing.assert_array_equal(pairs.left, expected.left)
        np.testing.assert_array_equal(pairs.right, expected.right)
        np.testing.assert_array_equal(pairs.distance_arcsec, expected.distance_arcsec)
        record_property(f"pairs of {rule.n_neighbors} within {rule.radius_arcsec}", len(pairs))
    record_property("rows", len(ra))


def make_large_sources(folder: Path, rows: int, files: int = 20) -> list[Path]:
    """Write rows at ALLWISE's density, 18,100 per square degree, with ids, a magnitude and a name, file by file.

    The field is 30 degrees high around the exposure, and as wide as the number of rows asks for.
    """
    low, high = np.sin(np.radians((exposure.DEC - 15.0, exposure.DEC + 15.0)))
    width = rows / 18_100 / np.degrees(high - low)
    paths = []
    for i in range(files):
        rng = np.random.default_rng(i)
        n = rows // files
        ids = np.arange(n) + i * n
        names = np.char.add("J", np.char.zfill(ids.astype(str), 18))
        columns = {
            "ra": exposure.RA + width * (rng.random(n) - 0.5),
            "dec": np.degrees(np.arcsin(rng.uniform(low, high, n))),
            "cntr": ids + 9_007_199_254_740_993,
            "w1mpro": rng.normal(15, 2, n).astype(np.float32),
            "label": pa.array(names),
        }
        paths.append(folder / f"part{i:02d}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_an_exposure_against_many_rows_on_small_workers(tmp_path, record_property):
    from xmatch_hats.catalogs.importer import build_copy

    (tmp_path / "sources").mkdir()
    sources = make_large_sources(tmp_path / "sources", ROWS)
    copy = build_copy(sources, tmp_path / "big", workers=2)
    run = subprocess.run(
        [sys.executable, "-m", "tests.matching.exposure", str(copy.path)], capture_output=True, text=True, check=True
    )
    report = json.loads(run.stdout.splitlines()[-1])
    ra, dec = exposure.positions(20_000)
    check_bytes(open_copy(copy.path), report["bytes"], ra, dec)
    record_property("rows", copy.total_rows)
    record_property("bytes read by each worker", report["bytes"])
    record_property("peak MiB of the driver", report["driver_peak"] >> 20)
    record_property("peak MiB of the workers", [peak >> 20 for peak in report["worker_peaks"]])
    assert report["driver_peak"] < GIB
    assert max(report["worker_peaks"]) < GIB
    table = pa.concat_tables([pq.read_table(path, columns=["ra", "dec", "cntr"]) for path in sources])
    near = (np.abs(table["ra"].to_numpy() - exposure.RA) < 12) & (np.abs(table["dec"].to_numpy() - exposure.DEC) < 8)
    rows = table.filter(pa.array(near))
    sky = SortedSky.from_positions(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    pairs = by_tree((ra, dec), sky, MatchRule(5.0))
    assert report["left"] == pairs.left.tolist()
    assert report["cntr"] == rows["cntr"].to_numpy()[pairs.right].tolist()


def check_bytes(copy, read, ra, dec):
    """Both workers worked; together they read of the touched files no more than the asked columns, and footers."""
    index = PartitionIndex.from_pixels(copy.partitions)
    touched = {index.pixels[i] for i in index.touched(cells_of(ra, dec), 5.1)[1]}
    asked, whole = 0, 0
    for partition in copy.partitions:
        whole += copy.partition_file(partition).stat().st_size
    wanted = {"ra", "dec", "cntr", "w1mpro", "_healpix_29", copy.id_column}
    for partition in touched:
        for path in filter(None, (copy.partition_file(partition), copy.margin_file(partition))):
            footer = pq.read_metadata(path)
            groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
            chunks = [group.column(i) for group in groups for i in range(footer.num_columns)]
            asked += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in wanted)
            asked += 2 * 65_536 + 2 * footer.serialized_size
    assert min(read) > sum(read) / 10
    assert sum(read) < 1.1 * asked + 1_000_000
    assert len(touched) < len(copy.partitions) / 2
    assert asked < whole / 2
