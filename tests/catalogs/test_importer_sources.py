"""Sources that do not agree with each other or with their definition: taken in and told, or refused by name."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.catalogs.importing import Listener, all_rows, write_csv
from tests.copies import make_copy, sky_table
from xmatch_hats.catalogs.importer import STAGES, build_copy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, TableError


def test_without_definition_everything_is_kept_and_said(tmp_path):
    listener = Listener()
    source = write_csv(sky_table(50, 2), tmp_path / "plain.csv")
    copy = build_copy([source], tmp_path / "plain", workers=0, progress=listener)
    assert copy.schema.names == ["_healpix_29", "ra", "dec", "source_id", "flux", "_row"]
    assert copy.name == "plain"
    assert "no definition fits" in listener.said[0]
    assert listener.stages == list(STAGES)


def test_sources_that_disagree_in_types_get_the_wider_one(tmp_path):
    write_csv(pa.table({"ra": [1.5], "dec": [2.5], "v": [3]}), tmp_path / "a.csv")
    write_csv(pa.table({"ra": [4.5], "dec": [5.5], "v": [0.5]}), tmp_path / "b.csv")
    copy = build_copy([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "c", workers=0)
    assert all_rows(copy).sort_by("_row")["v"].to_pylist() == [3.0, 0.5]


def test_right_ascensions_of_another_turn_are_told(tmp_path):
    write_csv(pa.table({"ra": [400.0, -5.0, 7.0], "dec": [1.0, 2.0, 3.0]}), tmp_path / "a.csv")
    listener = Listener()
    copy = build_copy([tmp_path / "a.csv"], tmp_path / "c", workers=0, progress=listener)
    assert all_rows(copy).sort_by("_row")["ra"].to_pylist() == [40.0, 355.0, 7.0]
    assert f"{tmp_path / 'a.csv'}: 2 right ascensions outside of 0...360 degrees are brought into it" in listener.said


def test_rows_without_a_position_are_kept_where_that_is_asked(tmp_path):
    write_csv(pa.table({"ra": [None, 1.0, 2.0], "dec": [1.0, 2.0, 95.0], "v": [1, 2, 3]}), tmp_path / "a.csv")
    with pytest.raises(TableError, match="2 of 3 rows have no position"):
        build_copy([tmp_path / "a.csv"], tmp_path / "c", workers=0)
    copy = build_copy([tmp_path / "a.csv"], tmp_path / "c", workers=0, keep_rejects=True)
    assert (copy.total_rows, copy.manifest.dropped.count) == (1, 2)
    assert pq.read_table(copy.path / "rejected.parquet")["v"].to_pylist() == [1, 3]
    assert "rejected.parquet" in copy.manifest.files
    verify_copy(copy.path).raise_if_failed()


def test_sources_that_lack_a_column_are_refused(tmp_path):
    write_csv(pa.table({"ra": [1.5], "dec": [2.5], "v": [3]}), tmp_path / "a.csv")
    write_csv(pa.table({"ra": [4.5], "dec": [5.5]}), tmp_path / "b.csv")
    with pytest.raises(TableError, match=r"b\.csv.*lacks the columns v"):
        build_copy([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "c", workers=0)


ONE_SOURCE = "AllWISE,RAJ2000,DEJ2000,W1mag,e_W1mag\nJ000000.00+000000.0,0,0,10,0.1\n"


def test_a_source_that_lacks_a_column_of_the_definition_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(ONE_SOURCE)
    (tmp_path / "b.csv").write_text("AllWISE,RAJ2000,DEJ2000,W1mag\nJ000000.00+000000.0,0,0,10\n")
    with pytest.raises(TableError, match=r"b\.csv.*lacks the columns w1sigmpro that the first source has"):
        build_copy([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "c", workers=0)


def test_columns_that_only_a_later_source_has_are_told(tmp_path):
    (tmp_path / "a.csv").write_text(ONE_SOURCE)
    row = {"designation": "J000000.00+000000.0", "ra": 0.0, "dec": 0.0, "w1mpro": 10.0, "w1sigmpro": 0.1}
    pq.write_table(pa.Table.from_pylist([{"htm20": 1, "cntr": 2**60 + 1, **row}]), tmp_path / "b.parquet")
    listener = Listener()
    copy = build_copy([tmp_path / "a.csv", tmp_path / "b.parquet"], tmp_path / "c", workers=0, progress=listener)
    assert copy.total_rows == 2
    (said,) = [text for text in listener.said if "left out" in text]
    assert said.endswith("b.parquet: has columns that the first source lacks, left out: cntr")


def test_few_failing_rows_are_kept_and_listed_on_screen(tmp_path):
    table = sky_table(2000, 4)
    (tmp_path / "mine.toml").write_text(
        """
        name = "mine"
        ra_column = "ra"
        dec_column = "dec"
        default_columns = ["ra", "dec", "mag"]
        columns = [{name = "ra", type = "float64"}, {name = "dec", type = "float64"}, {name = "mag", type = "float32"}]
        self_checks = [{name = "mags", kind = "range", columns = ["mag"], minimum = 0, maximum = 30}]
        """
    )
    pq.write_table(table.append_column("mag", pa.array([99.0, 99.0] + [10.0] * 1998)), tmp_path / "s.parquet")
    listener = Listener()
    settings = {"definition": tmp_path / "mine.toml", "workers": 0, "progress": listener}
    assert build_copy([tmp_path / "s.parquet"], tmp_path / "c", **settings).total_rows == 2000
    assert any("'mags' fails in 2 of 2000 rows (0.1 %), first row 0: mag=99.0; row 1" in text for text in listener.said)


def test_a_write_that_fails_anywhere_is_told_and_taken_up(tmp_path, monkeypatch):
    def full(folder):
        raise OSError(28, "No space left on device", str(folder / "some.file"))

    with monkeypatch.context() as patch:
        patch.setattr("xmatch_hats.catalogs.importer.hash_files", full)
        with pytest.raises(CatalogError, match=r"some\.file: the import stopped: No space left.*takes it up again"):
            make_copy(sky_table(20, 2), tmp_path / "c")
    assert not (tmp_path / "c").exists()
    listener = Listener()
    copy = build_copy([tmp_path / "c.source.parquet"], tmp_path / "c", workers=0, progress=listener)
    assert copy.total_rows == 20
    assert any("resuming" in text for text in listener.said)


@pytest.mark.parametrize(
    ("text", "words"),
    [("ra,dec,v\n", r"odd\.csv: has no rows"), ("alpha,delta\n1,2\n", r"odd\.csv.*--definition")],
)
def test_a_source_without_usable_coordinates_is_named(tmp_path, text, words):
    (tmp_path / "odd.csv").write_text(text)
    with pytest.raises(TableError, match=words):
        build_copy([tmp_path / "odd.csv"], tmp_path / "c", workers=0)
