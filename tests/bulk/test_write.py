"""The files that a join writes, and what others think of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bulk.skies import read_rows
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.write import write_partition
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError


@pytest.fixture(scope="module")
def written(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "out"
    crossmatch_catalogs(pair.path("left", "fine"), pair.path("right", "fine"), out, radius_arcsec=8.0, workers=0)
    return out


def test_it_passes_the_validation_of_hats_and_ours(written):
    from hats.io.validation import is_valid_catalog

    assert is_valid_catalog(written, strict=True)
    verify_copy(written).raise_if_failed()


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


def test_the_same_rows_give_the_same_bytes(tmp_path):
    table = pa.table({"_healpix_29": np.arange(100) << 40, "value": np.random.default_rng(2).normal(size=100)})
    files = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for file in files:
        done = write_partition(table, file, (0, 0), 8, tmp_path / "scratch")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert pq.read_table(files[0]).equals(table)
    assert done.rows == 100 == sum(count for _, count in done.cells)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "dataset").write_text("in the way")
    table = pa.table({"_healpix_29": [1]})
    with pytest.raises(CatalogError, match=r"a\.parquet: cannot be written"):
        write_partition(table, tmp_path / "dataset" / "a.parquet", (0, 0), 8, tmp_path / "scratch")
