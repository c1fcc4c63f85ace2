"""A left side that is a table or a folder of tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.bulk.catalogs.skies import read_rows
from tests.bulk.catalogs.test_run import Stopped, data_of
from tests.oracle import brute_force
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.catalogs.left_tables import is_tables
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError


class Heard(Listener):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def whole_left(pair):
    """More rows, as an import leaves out one in a thousand at most."""
    rng = np.random.default_rng(14)
    more = pd.DataFrame(
        {"ra": rng.uniform(0, 360, 1000), "dec": rng.uniform(-80, 80, 1000), "oid": np.arange(1000), "mag": 18.0}
    )
    return pd.concat([pair.left, more.astype({"mag": np.float32})], ignore_index=True)


@pytest.fixture
def tables(pair, tmp_path):
    """A folder with a CSV file and a parquet one, and a row without a position."""
    folder = tmp_path / "tables"
    folder.mkdir()
    table = pa.Table.from_pandas(whole_left(pair), preserve_index=False)
    lost = table.slice(0, 1).set_column(0, "ra", pa.array([np.nan]))
    pa.csv.write_csv(pa.concat_tables([table.slice(0, 1500), lost]), folder / "a.csv")
    table = table.set_column(3, "mag", table["mag"].cast(pa.float64()))
    pq.write_table(table.slice(1500), folder / "b.parquet")
    return folder


def test_a_folder_of_tables(pair, tables, tmp_path):
    heard = Heard()
    joined = crossmatch_catalogs(
        tables, pair.path("right", "coarse"), tmp_path / "out", radius_arcsec=5.0, left_where="mag < 19", workers=0,
        listener=heard,
    )  # fmt: skip
    left = whole_left(pair)
    assert (joined.left_rows, joined.rejected) == (len(left) + 1, 1)
    left = left[left["mag"] < 19]
    found = brute_force(left["ra"], left["dec"], pair.right["ra"], pair.right["dec"], 5.0, k=1)
    rows = read_rows(tmp_path / "out")
    assert dict(zip(rows["oid"].to_pylist(), rows["cntr"].to_pylist(), strict=True)) == dict(
        zip(left["oid"].to_numpy()[found.left], pair.right["cntr"].to_numpy()[found.right], strict=True)
    )
    assert joined.left_rows == joined.left_out + joined.matched + joined.unmatched + joined.outside_coverage + 1
    assert any("no position" in text for text in heard.said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tables"]
    verify_copy(tmp_path / "out").raise_if_failed()


def test_one_table_and_what_an_interrupted_call_imported(pair, tables, tmp_path):
    table, right = tables / "b.parquet", pair.path("right", "coarse")
    with pytest.raises(KeyboardInterrupt):
        crossmatch_catalogs(
            table, right, tmp_path / "out", radius_arcsec=5.0, workers=0, listener=Stopped("matching", 1)
        )
    heard = Heard()
    crossmatch_catalogs(table, right, tmp_path / "out", radius_arcsec=5.0, workers=0, listener=heard)
    assert not any("importing" in text for text in heard.said)
    crossmatch_catalogs(table, right, tmp_path / "whole", radius_arcsec=5.0, workers=0)
    told = {"provenance.json"}
    assert {name: data for name, data in data_of(tmp_path / "out").items() if name not in told} == {
        name: data for name, data in data_of(tmp_path / "whole").items() if name not in told
    }


def test_an_output_that_exists_is_refused_before_the_import(pair, tables, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        crossmatch_catalogs(tables, pair.path("right", "coarse"), tmp_path / "out", radius_arcsec=5.0, workers=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tables"]


def test_what_are_tables(pair, tables, tmp_path):
    assert is_tables(tables)
    assert is_tables(tables / "a.csv")
    assert not is_tables(pair.path("left", "fine"))
    assert not is_tables(pair.path("right", "fine"))
    assert not is_tables(tmp_path / "nowhere")
