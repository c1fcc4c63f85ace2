"""The files that a join writes, and what others think of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bulk.catalogs.skies import read_rows
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.catalogs.write import TableWriter
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.manifest import sha256_file
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import OutputError


@pytest.fixture(scope="module")
def written(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "out"
    crossmatch_catalogs(pair.path("left", "fine"), pair.path("right", "fine"), out, radius_arcsec=8.0, workers=0)
    return out


def test_it_passes_the_validation_of_hats_and_ours(written):
    from hats.io.validation import is_valid_collection

    assert is_valid_collection(written, strict=True)
    report = verify_copy(written)
    report.raise_if_failed()


def test_lsdb_reads_the_rows(written):
    import lsdb

    catalog = lsdb.open_catalog(written)
    rows = read_rows(written)
    frame = catalog.compute(progress_bar=False)
    assert list(frame.columns) == [name for name in rows.column_names if name != "_healpix_29"]
    np.testing.assert_array_equal(frame["oid"].to_numpy(), rows["oid"].to_numpy())
    assert len(catalog) == len(rows)
    assert int(catalog.hc_structure.catalog_info.hats_max_rows) == max(
        pq.read_metadata(LocalCopy.open(written).partition_file(part)).num_rows
        for part in LocalCopy.open(written).partitions
    )


def write(table, file, scratch, cuts=()):
    writer = TableWriter(file, table.schema, scratch)
    for start, stop in pairwise([0, *cuts, len(table)]):
        writer.add(table.slice(start, stop - start))
    return writer.close()


def test_the_same_rows_give_the_same_bytes_however_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr("xmatch_hats.bulk.catalogs.write.ROW_GROUP_ROWS", 40)
    rng = np.random.default_rng(2)
    table = pa.table(
        {
            "_healpix_29": np.arange(100) << 40,
            "value": rng.normal(size=100),
            "name": pa.array(rng.choice(["a", "bb", None], 100)),
            "many": pa.array([[1.0] * (n % 3) for n in range(100)]),
        }
    )
    files = [tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet")]
    for file, cuts in zip(files, [(), (1, 39, 40, 41, 99), (80,)], strict=True):
        done = write(table, file, tmp_path / "scratch", cuts)
        assert done.rows == 100
        assert done.bytes == file.stat().st_size
        assert done.sha256 == sha256_file(file)
    assert len({file.read_bytes() for file in files}) == 1
    assert pq.read_table(files[0]).equals(table)
    assert pq.read_metadata(files[0]).num_row_groups == 3
    assert not list((tmp_path / "scratch").iterdir())


def test_no_rows_make_no_file(tmp_path):
    table = pa.table({"_healpix_29": pa.array([], pa.int64())})
    assert write(table, tmp_path / "a.parquet", tmp_path / "scratch") is None
    assert not (tmp_path / "a.parquet").exists()


def test_what_is_abandoned_leaves_nothing(tmp_path):
    writer = TableWriter(tmp_path / "a.parquet", pa.schema([("_healpix_29", pa.int64())]), tmp_path / "scratch")
    writer.add(pa.table({"_healpix_29": np.arange(70_000)}))
    writer.abandon(ValueError("no"))
    assert not (tmp_path / "a.parquet").exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "dataset").write_text("in the way")
    table = pa.table({"_healpix_29": [1]})
    with pytest.raises(OutputError, match=r"a\.parquet: cannot be written"):
        write(table, tmp_path / "dataset" / "a.parquet", tmp_path / "scratch")
