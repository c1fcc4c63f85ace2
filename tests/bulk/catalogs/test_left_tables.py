"""A left side that is a table or a folder of tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from tests.bulk.catalogs.skies import read_rows
from tests.bulk.catalogs.test_run import Stopped, data_of
from tests.oracle import brute_force
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.catalogs import left_tables
from xmatch_hats.bulk.catalogs.left_tables import is_tables
from xmatch_hats.bulk.report.accounting import account
from xmatch_hats.bulk.report.outputs import find_outputs
from xmatch_hats.bulk.report.scan import scan
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs.staging import staging_folder
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, TableError, UsageError


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


def test_rows_without_a_position_are_rejected_and_kept(pair, tmp_path):
    """However many, and whatever is asked of them; in a turn more or less they have one."""
    frame = pair.left.head(200).astype({"ra": float}).reset_index(drop=True)
    frame.loc[[0, 1], "ra"] = [np.nan, 1000.0]
    frame.loc[[2, 3], "dec"] = [np.nan, -91.0]
    frame.loc[4, "ra"] += 360.0
    frame.loc[5, "ra"] -= 360.0
    frame.to_csv(tmp_path / "left.csv", index=False)
    for join in ("left", "inner"):
        heard, out = Heard(), tmp_path / join
        joined = crossmatch_catalogs(
            tmp_path / "left.csv", pair.path("right", "fine"), out, radius_arcsec=5.0, join=join, workers=0,
            left_columns=["oid"], listener=heard,
        )  # fmt: skip
        assert (joined.left_rows, joined.rejected) == (200, 4)
        kept = pq.read_table(out / "rejected.parquet")
        assert kept.column_names == ["oid", "ra", "dec", "_status", "_reason"]
        assert kept["oid"].to_pylist() == frame["oid"][:4].tolist()
        assert set(kept["_status"].to_pylist()) == {"rejected"}
        assert [reason.split(" is ")[0].split(" outside ")[0] for reason in kept["_reason"].to_pylist()] == [
            "right ascension", "right ascension", "declination", "declination",
        ]  # fmt: skip
        assert any("4 rows have no position on the sphere and are rejected" in text for text in heard.said)
        assert any("2 right ascensions outside of 0...360 degrees" in text for text in heard.said)
        outputs = find_outputs(out)
        assert account(outputs, scan(outputs)).differences == []
        verify_copy(out).raise_if_failed()


def test_files_of_a_folder_that_are_no_tables_are_left_out(pair, tables, tmp_path):
    (tables / "b.parquet").rename(tables / "b")
    (tables / "Dockerfile").write_text("FROM scratch\nRUN one, two\n")
    (tables / "notes").write_bytes(b"\x00\x01")
    heard = Heard()
    joined = crossmatch_catalogs(
        tables, pair.path("right", "coarse"), tmp_path / "out", radius_arcsec=5.0, workers=0, listener=heard
    )
    assert joined.left_rows == len(whole_left(pair)) + 1
    assert f"{tables}: 2 files that are no tables are left out, Dockerfile first" in heard.said
    for name in ("a.csv", "b"):
        (tables / name).unlink()
    with pytest.raises(TableError, match=r"no HATS catalogue, and none of its files is a table .*name one that"):
        crossmatch_catalogs(tables, pair.path("right", "coarse"), tmp_path / "none", radius_arcsec=5.0, workers=0)


def test_a_table_without_rows(pair, tmp_path):
    (tmp_path / "left.csv").write_text("ra,dec,oid\n")
    with pytest.raises(TableError, match=r"left\.csv: has no rows"):
        crossmatch_catalogs(
            tmp_path / "left.csv", pair.path("right", "coarse"), tmp_path / "out", radius_arcsec=5.0, workers=0
        )


def test_a_right_side_that_is_a_table(pair, tables, tmp_path):
    for right in (tables, tables / "a.csv"):
        with pytest.raises(UsageError, match=r"only the left side may be a table.*catalog import"):
            crossmatch_catalogs(pair.path("left", "fine"), right, tmp_path / "out", radius_arcsec=5.0, workers=0)


def test_two_imports_at_once_speak_of_the_output(pair, tables, tmp_path):
    table, out = tables / "b.parquet", tmp_path / "out"
    name = f"{left_tables._prefix(out)}{left_tables._state([table])}"
    staging = staging_folder(tmp_path / name)
    staging.mkdir()
    with FileLock(staging / "lock"), pytest.raises(CatalogError, match=rf"^{out}: is being written by another import"):
        crossmatch_catalogs(table, pair.path("right", "coarse"), out, radius_arcsec=5.0, workers=0)


def test_only_what_was_imported_for_an_output_goes_with_it(tmp_path):
    names = ["a", "a.left-x", "[ab]"]
    for name in names:
        (tmp_path / f".{name}.left-0123456789ab").mkdir()
    for name in names:
        left_tables.remove_left(tmp_path / name)
        assert not (tmp_path / f".{name}.left-0123456789ab").exists()
        names = names[1:]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f".{n}.left-0123456789ab" for n in names)


def test_what_are_tables(pair, tables, tmp_path):
    assert is_tables(tables)
    assert is_tables(tables / "a.csv")
    assert not is_tables(pair.path("left", "fine"))
    assert not is_tables(pair.path("right", "fine"))
    assert not is_tables(tmp_path / "nowhere")
