"""Both engines give the same answer to the last bit, for everything that may be asked and every kind of copy."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.copies import make_copy
from tests.matching.skies import catalog_frame, clump, offset, partition_files, write_copy
from tests.oracle import brute_force
from tests.shared import full_size
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import build_side_copy
from xmatch_hats.errors import RadiusError
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
from xmatch_hats.matching.result import MatchResult

MODES = [(10.0, 1, 0.0), (10.0, None, 0.0), (8.0, 3, 2.0)]
MORE_MODES = [(0.1, 1, 0.0), (8.0, None, 2.0), (10.0, 200, 0.0)]
"""For the campaign alone; LSDB takes seconds for each."""


def assert_equal(one: MatchResult, other: MatchResult) -> None:
    for name in ("status", "faults", "left", "rank", "distance_arcsec"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.rows.schema.equals(other.rows.schema, check_metadata=True)
    assert one.rows.equals(other.rows)
    assert one.n_neighbors == other.n_neighbors


def both(targets, ra, dec, **keywords) -> MatchResult:
    """The answers for the first target, once they have turned out to be equal for all."""
    answers = []
    for engine in ("lsdb", "resident"):
        with Crossmatcher(targets, engine=engine, workers=0, **keywords) as matcher:
            answers.append(matcher.match(ra, dec))
    for name, one in answers[0].items():
        assert_equal(one, answers[1][name])
    return next(iter(answers[0].values()))


@pytest.fixture(scope="module")
def own_copy(sky, tmp_path_factory) -> LocalCopy:
    """The sky of all hard places as a copy of our own, with ids and row groups of some rows."""
    table = pa.Table.from_pandas(sky.frame.rename(columns={"designation": "title"}), preserve_index=False)
    return make_copy(table, tmp_path_factory.mktemp("own") / "sky", margin_arcsec=10.0, partition_rows=900)


@pytest.mark.parametrize(
    ("radius", "k", "minimum"),
    [*MODES, *(full_size(*mode) for mode in MORE_MODES)],
    ids=str,
)
def test_every_mode(sky, copy_path, own_copy, radius, k, minimum):
    """Poles, RA 0, corners of base cells, partition edges, holes, duplicates; a foreign copy and one of our own."""
    for copy in (copy_path, own_copy):
        target = CatalogTarget(copy, "sky", radius)
        result = both([target], sky.ra, sky.dec, n_neighbors=k, min_radius_arcsec=minimum)
        expected = brute_force(
            sky.ra, sky.dec, sky.frame["ra"], sky.frame["dec"], radius, k=k, min_radius_arcsec=minimum
        )
        assert len(result.left) == len(expected) > 100


def test_several_catalogues_of_several_columns(sky, copy_path, own_copy):
    targets = [
        CatalogTarget(copy_path, "foreign", 10.0, ["w1mpro"]),
        CatalogTarget(own_copy, "own", 3.0, ["title", "ra"]),
        CatalogTarget(own_copy, "again", 5.0, []),
    ]
    ra, dec = np.r_[sky.ra, np.nan, 400.0, 12.0], np.r_[sky.dec, 0.0, 91.0, np.inf]
    both(targets, ra, dec)
    both(targets, ra[:1], dec[:1])
    both(targets, [], [])


def test_side_copies_whose_texts_are_none_any_more(sky, own_copy, tmp_path, caplog):
    """The answer is that of the catalogue itself; no text is looked at before it is asked for."""
    copy = LocalCopy.open(shutil.copytree(own_copy.path, tmp_path / "sky"))
    side = build_side_copy(copy, ["title"])
    for partition in copy.partitions:
        path = side.path(partition)
        if len(rows := side.read(partition)):
            texts = rows["title"].buffers()[2].to_pybytes()
            path.write_bytes(path.read_bytes().replace(texts, b"\xff" * len(texts)))
    answers = []
    for given in (own_copy, copy):
        with Crossmatcher([CatalogTarget(given, "sky", 10.0, ["title"])], workers=0) as matcher:
            answers.append(matcher.match(sky.ra, sky.dec)["sky"])
    assert_equal(*answers)
    assert "from the catalogue itself" in caplog.text


@pytest.mark.parametrize("kind", [full_size("small"), "beyond floats", "text"])
def test_ids_of_text_and_ties_of_many(tmp_path, kind):
    """Rows all around each position, exactly as far away, whose ids alone tell which are the nearest."""
    rng = np.random.default_rng(3)
    ra, dec = (values.ravel() for values in np.meshgrid(45.0 + np.arange(-6, 7) * 2.0**-9, np.arange(-6, 7) * 2.0**-9))
    # On the equator the squares on either side of it are each other's mirror images, to the last bit.
    frame = catalog_frame(rng, np.tile(ra, 2), np.tile(dec, 2))
    ids = rng.permutation(len(frame))
    left = ra + 2.0**-10, np.where(np.abs(dec) < 2.0**-10, 0.0, dec)
    beyond, text = ids + 9_007_199_254_740_993, np.char.add("id", ids.astype(str))
    values = {"small": ids, "beyond floats": beyond, "text": text}[kind]
    table = pa.Table.from_pandas(frame.assign(_row=values), preserve_index=False).drop_columns("cntr")
    path = write_copy(table.to_pandas(), tmp_path, partition_rows=1000, margin_arcsec=20.0)
    for k in (1, 2, 3, None):
        result = both([CatalogTarget(path, radius_arcsec=20.0, columns=["_row"])], *left, n_neighbors=k)
        ranks = np.argsort(np.argsort(values))
        expected = brute_force(*left, frame["ra"], frame["dec"], 20.0, k=k, ids=ranks)
        np.testing.assert_array_equal(result.left, expected.left)
        assert result.rows["_row"].to_pylist() == values[expected.right].tolist()
        tied = np.diff(expected.sep_arcsec) == 0
        assert k == 1 or (tied & (np.diff(expected.left) == 0)).sum() > 100


def test_a_catalogue_without_any_id(tmp_path):
    rng = np.random.default_rng(5)
    frame = catalog_frame(rng, *clump(rng, 0.0, 0.0, 300, 0.05)).drop(columns=["cntr"])
    frame = pd.concat([frame, frame], ignore_index=True)
    path = write_copy(frame, tmp_path, partition_rows=1000)
    left = offset(rng, frame["ra"], frame["dec"], 5.0)
    both([CatalogTarget(path, radius_arcsec=10.0)], *left, n_neighbors=1)
    both([CatalogTarget(path, radius_arcsec=10.0)], frame["ra"], frame["dec"], n_neighbors=3)


@pytest.mark.parametrize(
    "damage",
    ["shuffled", "wrong index", "without positions", full_size("single precision")],
)
def test_foreign_partitions_that_are_not_as_they_should_be(sky, copy_path, tmp_path, damage):
    path = shutil.copytree(copy_path, tmp_path / "copy")
    rng = np.random.default_rng(8)
    for kind in ("main", "margin"):
        for file in partition_files(path, kind):
            table = pq.read_table(file, partitioning=None)
            if damage == "shuffled":
                table = table.take(pa.array(rng.permutation(len(table))))
            elif damage == "wrong index":
                index = pa.array(np.sort(rng.integers(0, 12 << 58, len(table))))
                table = table.set_column(table.column_names.index("_healpix_29"), "_healpix_29", index)
            elif damage == "without positions":
                ra = table["ra"].to_numpy().copy()
                ra[table["cntr"].to_numpy() % 5 == 0] = np.nan
                table = table.set_column(table.column_names.index("ra"), "ra", pa.array(ra, from_pandas=True))
            else:
                # Some arcseconds beside where the index says.
                for name in ("ra", "dec"):
                    rounded = pa.array(table[name].to_numpy().astype(np.float32).astype(np.float64))
                    table = table.set_column(table.column_names.index(name), name, rounded)
            pq.write_table(table, file)
    result = both([CatalogTarget(path, "sky", 10.0, ["cntr", "designation"])], sky.ra, sky.dec, n_neighbors=2)
    assert len(result.left) > 1000


def test_partitions_that_are_folders(sky, copy_path, tmp_path):
    path = shutil.copytree(copy_path, tmp_path / "copy")
    for kind in ("main", "margin"):
        for file in partition_files(path, kind):
            table = pq.read_table(file, partitioning=None)
            file.unlink()
            folder = file.with_suffix("")
            folder.mkdir()
            half = len(table) // 2
            for i, part in enumerate((table[:half], table[half:])):
                pq.write_table(part, folder / f"part{i}.parquet")
    for file in path.rglob("hats.properties"):
        file.write_text(f"{file.read_text()}\nhats_npix_suffix=/\n")
    both([CatalogTarget(path, "sky", 10.0)], sky.ra, sky.dec)


def test_copies_without_margin_are_refused_alike(sky, tmp_path):
    import lsdb

    bare = tmp_path / "bare"
    lsdb.from_dataframe(sky.frame[:100], margin_threshold=None).write_catalog(
        bare, catalog_name="bare", progress_bar=False, as_collection=False
    )
    for engine in ("lsdb", "resident"):
        with pytest.raises(RadiusError, match="no margin cache"):
            Crossmatcher([CatalogTarget(bare, radius_arcsec=0.1)], workers=0, engine=engine)
