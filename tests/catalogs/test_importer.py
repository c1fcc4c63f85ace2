"""Imports: what comes out is what went in, in order, checked, under canonical names; bad input is named."""

from __future__ import annotations

import bz2
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from tests.catalogs.hashing import data_digest
from tests.catalogs.importing import Listener, all_rows, write_csv
from tests.copies import make_copy, patch_table, sky_table
from xmatch_hats.catalogs import intake
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.definition import load_definition
from xmatch_hats.catalogs.importer import build_copy
from xmatch_hats.catalogs.manifest import sha256_file
from xmatch_hats.catalogs.staging import Staging, staging_folder
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, CoverageError, DefinitionError, SelfCheckError, TableError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("importer")


@pytest.fixture(scope="module")
def sky(folder) -> tuple[pa.Table, LocalCopy]:
    table = sky_table(5000, 3)
    return table, make_copy(table, folder / "sky", partition_rows=425)


def test_every_row_arrives_unchanged_and_sorted(sky):
    table, copy = sky
    rows = all_rows(copy)
    assert copy.total_rows == rows.num_rows == table.num_rows
    assert len(copy.partitions) > 12
    index = rows["_healpix_29"].to_numpy()
    assert (np.diff(index) >= 0).all()
    back = rows.take(pc.sort_indices(rows["_row"]))
    for name in table.column_names:
        assert back[name].combine_chunks().equals(table[name].combine_chunks()), name
    assert copy.definition is None
    assert copy.id_column == "_row"
    assert verify_copy(copy.path).passed


def test_files_are_laid_out_for_streams(folder):
    copy = make_copy(patch_table(30_000, 120.0, -30.0, 0.5), folder / "groups", columns="all")
    metadata = pq.ParquetFile(copy.partition_file(copy.partitions[0])).metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert max(sizes) == 8192
    column = metadata.row_group(0).column(1)
    assert column.compression == "LZ4"


def test_manifest_tells_what_went_in(sky, folder):
    table, copy = sky
    manifest = copy.manifest
    source = folder / "sky.source.parquet"
    assert [record.path for record in manifest.sources] == [str(source)]
    assert manifest.sources[0].sha256 == sha256_file(source)
    assert manifest.sources[0].rows == manifest.rows == table.num_rows
    assert manifest.settings["partition_rows"] == 425
    assert manifest.coverage.estimated
    assert set(manifest.software) >= {"xmatch-hats", "hats-import", "lsdb", "pyarrow"}
    on_disk = {path.relative_to(copy.path).as_posix() for path in copy.path.rglob("*") if path.is_file()}
    derived = {name for name in on_disk if name.startswith("side_copy/")}
    assert on_disk - derived == set(manifest.files) | {"xmatch_hats.json"}


def test_ties_inside_a_pixel_are_sorted_by_id(shared_data, folder, tmp_path):
    with (shared_data / "allwise_vizier_patch.csv").open() as file:
        rows = list(csv.DictReader(file))
    header = list(rows[0])
    twin = [dict(rows[0], ID=str(number)) for number in (900, 7, 80, 1)]
    with (tmp_path / "twins.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows([*twin, *rows[1:]])
    copy = build_copy([tmp_path / "twins.csv"], tmp_path / "c", workers=0)
    assert copy.id_column == "cntr"
    assert "_row" not in copy.schema.names
    table = all_rows(copy)
    same = table.filter(pc.less(table["cntr"], 1000))
    assert same["cntr"].to_pylist() == [1, 7, 80, 900]


def test_row_numbers_run_over_all_sources_and_count_the_rows_left_out(tmp_path):
    table = sky_table(3000, 5).drop_columns(["source_id"])
    broken = table.set_column(
        1, "dec", pa.array([np.nan if i == 1700 else v for i, v in enumerate(table["dec"].to_pylist())])
    )
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(broken.slice(0, 1000), folder / "a.parquet")
    pq.write_table(broken.slice(1000, 1500), folder / "b.parquet")
    pq.write_table(broken.slice(2500), folder / "c.parquet")
    (folder / ".hidden.parquet").write_bytes(b"not a table")
    listener = Listener()
    copy = build_copy([folder], tmp_path / "c", workers=0, progress=listener)
    rows = all_rows(copy)
    assert sorted(rows["_row"].to_pylist()) == [i for i in range(3000) if i != 1700]
    assert rows.take(pc.sort_indices(rows["_row"]))["ra"].to_numpy() == pytest.approx(
        np.delete(table["ra"].to_numpy(), 1700), abs=0
    )
    assert copy.manifest.dropped.count == 1
    assert copy.manifest.dropped.places == ("b.parquet: row 701: declination is missing, NaN or infinite",)
    assert any("b.parquet: row 701" in text for text in listener.said)


def test_many_rows_without_position_are_refused(tmp_path):
    table = sky_table(1000, 1)
    dec = table["dec"].to_numpy().copy()
    dec[:2] = [95.0, np.nan]
    with pytest.raises(TableError, match=r"2 of 1000 rows have no position.*row 1: declination outside") as caught:
        make_copy(table.set_column(1, "dec", pa.array(dec)), tmp_path / "c")
    assert "source.parquet" in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_right_ascensions_are_wrapped_and_others_kept_to_the_bit(tmp_path):
    ra = [-10.0, 360.0, 719.5, 0.1 + 0.2, 359.99999999999994]
    copy = make_copy(pa.table({"ra": ra, "dec": [0.0, 1.0, 2.0, 3.0, 4.0]}), tmp_path / "c")
    rows = all_rows(copy).sort_by("_row")
    assert rows["ra"].to_pylist() == [350.0, 0.0, 359.5, 0.1 + 0.2, 359.99999999999994]


def test_float32_coordinates_become_float64(tmp_path):
    table = pa.table({"ra": pa.array([10.5, 11.25], pa.float32()), "dec": pa.array([1, -2], pa.int64())})
    copy = make_copy(table, tmp_path / "c")
    assert copy.schema.field("ra").type == copy.schema.field("dec").type == pa.float64()


@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_are_refused_and_one_row_works(tmp_path, rows):
    table = sky_table(10, 0).slice(0, rows)
    if rows:
        copy = make_copy(table, tmp_path / "c")
        assert copy.total_rows == 1
        assert verify_copy(copy.path).passed
    else:
        with pytest.raises(TableError, match="there are no rows to import"):
            make_copy(table, tmp_path / "c")


def test_a_dense_place_becomes_one_large_partition(tmp_path):
    clump = patch_table(3000, 45.0, 45.0, 1e-4)
    around = sky_table(500, 9).select(["ra", "dec", "source_id"])
    # The wide margin keeps partitions wide, so that the dense place needs no order as fine as it would take seconds.
    copy = make_copy(pa.concat_tables([clump, around]), tmp_path / "c", partition_rows=1000, margin_arcsec=1000)
    assert copy.total_rows == 3500
    largest = max(pq.read_metadata(copy.partition_file(partition)).num_rows for partition in copy.partitions)
    assert largest >= 3000
    assert verify_copy(copy.path).passed


def test_definition_is_found_and_gives_names_types_and_metadata(shared_data, tmp_path):
    copy = build_copy([shared_data / "allwise_vizier_rows.csv"], tmp_path / "c", workers=0, coverage="all-sky")
    assert copy.name == copy.definition.name == "allwise"
    assert copy.total_rows == 2732
    assert copy.margin_arcsec == 10.0
    assert copy.coverage.kind == "all-sky"
    assert copy.schema.field("w1mpro").metadata[b"unit"] == b"mag"
    rows = all_rows(copy).sort_by("_row")
    with (shared_data / "allwise_vizier_rows.csv").open() as file:
        source = list(csv.DictReader(file))
    assert rows["designation"].to_pylist() == [row["AllWISE"] for row in source]
    assert rows["ra"].to_pylist() == [float(row["RAJ2000"]) for row in source]
    assert copy.manifest.self_check


def test_ipac_and_a_wider_margin(shared_data, tmp_path):
    copy = build_copy([shared_data / "w5_field" / "allwise_w5.tbl"], tmp_path / "c", workers=0, margin_arcsec=30)
    assert (copy.name, copy.total_rows, copy.margin_arcsec, copy.id_column) == ("allwise", 6387, 30.0, "_row")


def test_a_second_definition_without_id(shared_data, tmp_path):
    copy = build_copy([shared_data / "gcvs.parquet"], tmp_path / "c", workers=0)
    assert (copy.name, copy.total_rows, copy.id_column) == ("gcvs", 59_099, "_row")


def test_bulk_files_are_read_by_position(tmp_path):
    definition = load_definition("allwise")
    values = {
        "cntr": 10**15 + 1,
        "x": 1.0,
        "y": 0.0,
        "z": 0.0,
        "ra": 0.0,
        "dec": 0.0,
        "w1mpro": 12.5,
        "var_flg": "0211",
    }
    values["designation"] = "J000000.00+000000.0"
    row = "|".join(str(values.get(column.name, "")) for column in definition.bulk_columns) + "|\n"
    path = tmp_path / "wise-allwise-cat-part07.bz2"
    path.write_bytes(bz2.compress(row.encode()))
    copy = build_copy([path], tmp_path / "c", workers=0)
    assert (copy.name, copy.id_column) == ("allwise", "cntr")
    found = all_rows(copy).to_pylist()[0]
    assert {name: found[name] for name in ("cntr", "w1mpro", "var_flg")} == {
        name: values[name] for name in ("cntr", "w1mpro", "var_flg")
    }
    assert "x" not in copy.schema.names  # checked, but none of the default columns


def test_a_table_of_a_fits_file_by_its_number(tmp_path):
    from astropy.io import fits

    def hdu(ra):
        return fits.BinTableHDU.from_columns(
            [fits.Column("RA", "D", unit="deg", array=ra), fits.Column("DEC", "D", unit="deg", array=[1.0, 2.0])]
        )

    fits.HDUList([fits.PrimaryHDU(), hdu([1.0, 2.0]), hdu([30.0, 40.0])]).writeto(tmp_path / "two.fits")
    copy = build_copy([tmp_path / "two.fits"], tmp_path / "c", workers=0, hdu=2)
    assert all_rows(copy).sort_by("_row")[copy.ra_column].to_pylist() == [30.0, 40.0]


def test_a_margin_narrower_than_any_cell_needs_no_more_memory(tmp_path):
    copy = make_copy(pa.table({"ra": [10.0, 200.0], "dec": [0.0, 1.0]}), tmp_path / "c", margin_arcsec=1e-6)
    assert copy.margin_arcsec == 1e-6
    assert verify_copy(copy.path).passed


def test_a_moc_file_is_the_coverage(tmp_path):
    from mocpy import MOC

    MOC.from_string("3/0-20").save(tmp_path / "moc.fits", format="fits")
    copy = make_copy(sky_table(50, 1), tmp_path / "c", coverage=tmp_path / "moc.fits")
    assert copy.coverage.kind == "moc"
    assert copy.manifest.coverage.sky_fraction == pytest.approx(21 / 768)
    assert not copy.manifest.coverage.estimated


def test_shifted_columns_are_refused_by_name(shared_data, tmp_path):
    table = pa_csv.read_csv(shared_data / "allwise_vizier_patch.csv")
    names = table.column_names
    start = names.index("W1mag")
    moved = [*names[:start], *names[start + 1 :], names[start]]
    source = write_csv(table.rename_columns(moved), tmp_path / "shifted.csv")
    with pytest.raises((SelfCheckError, DefinitionError), match=r"shifted\.csv"):
        build_copy([source], tmp_path / "c", workers=0, columns="all")
    assert not (tmp_path / "c").exists()


def test_columns_are_chosen_by_either_name_and_keys_are_kept(shared_data, tmp_path):
    source = shared_data / "allwise_vizier_patch.csv"
    copy = build_copy([source], tmp_path / "c", workers=0, columns=["W1mag", "j_m_2mass"])
    assert set(copy.schema.names) == {"_healpix_29", "designation", "ra", "dec", "cntr", "w1mpro", "j_m_2mass"}
    assert copy.column_names(["W1mag", "cntr"]) == ["w1mpro", "cntr"]
    with pytest.raises(CatalogError, match="was not imported"):
        copy.column_names(["W2mag"])
    with pytest.raises(DefinitionError, match=r"no column W1mags.*near names: .*W1mag"):
        build_copy([source], tmp_path / "d", workers=0, columns=["W1mags"])


def test_a_name_that_hats_cannot_have_is_made_one(tmp_path):
    copy = make_copy(sky_table(50, 2), tmp_path / "mein Katalog (1)")
    assert copy.main_path.name == "mein_Katalog_1"
    assert copy.name == "mein Katalog (1)"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"margin_arcsec": 0.0}, UsageError, "margin must be a positive number"),
        ({"margin_arcsec": float("nan")}, UsageError, "margin must be a positive number"),
        ({"margin_arcsec": 1e6}, UsageError, "is too wide"),
        ({"partition_rows": 0}, UsageError, "at least one row"),
        ({"coverage": "/nope/moc.fits"}, CoverageError, "nope"),
        ({"definition": "allwize"}, DefinitionError, "no definition is named"),
        ({"columns": ["flox"]}, TableError, r"no column flox.*near names: flux"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        make_copy(sky_table(20, 2), tmp_path / "c", **settings)
    assert not (tmp_path / "c").exists()


def test_bad_sources_are_named(sky, tmp_path):
    with pytest.raises(TableError, match="no such file"):
        build_copy([tmp_path / "nope.csv"], tmp_path / "c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="no files in this folder"):
        build_copy([tmp_path / "empty"], tmp_path / "c")
    with pytest.raises(TableError, match="is a HATS catalogue"):
        build_copy([sky[1].path], tmp_path / "c")
    with pytest.raises(TableError, match=r"is a HATS catalogue.*one by one"):
        build_copy([sky[1].path.parent], tmp_path / "c")
    source = write_csv(sky_table(5, 2), tmp_path / "a.csv")
    with pytest.raises(UsageError, match="given twice"):
        build_copy([source, source], tmp_path / "c")
    with pytest.raises(UsageError, match="no source"):
        build_copy([], tmp_path / "c")


def test_an_existing_output_is_never_touched(sky, tmp_path):
    table, copy = sky
    before = (copy.path / "xmatch_hats.json").read_bytes()
    with pytest.raises(CatalogError, match="exists already"):
        make_copy(table, copy.path)
    assert (copy.path / "xmatch_hats.json").read_bytes() == before
    assert not staging_folder(copy.path).exists()


def test_two_imports_into_one_output_refuse_each_other(tmp_path):
    out = tmp_path / "c"
    with (
        Staging(out, {"who": "first"}, lambda text: None),
        pytest.raises(CatalogError, match="being written by another import"),
    ):
        make_copy(sky_table(20, 2), out)


def test_too_little_disk_is_told_before_the_work(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(CatalogError, match=r"the disk has 100 B free, the import needs about [0-9.]+ kB"):
        make_copy(sky_table(20, 2), tmp_path / "c")


def test_a_large_source_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "PART_ROWS", 150)
    table = sky_table(1000, 8)
    copy = make_copy(table, tmp_path / "c")
    assert all_rows(copy).sort_by("_row")["source_id"].to_pylist() == table["source_id"].to_pylist()


def test_the_same_input_gives_the_same_bytes_for_any_workers(tmp_path):
    table = pa.concat_tables([sky_table(2000, 4), sky_table(2000, 4)])
    for part in range(4):
        pq.write_table(table.slice(part * 1000, 1000), tmp_path / f"{part}.parquet")
    sources = [tmp_path / f"{part}.parquet" for part in range(4)]
    settings = {"partition_rows": 450, "name": "sky"}
    copies = [build_copy(sources, tmp_path / f"c{n}", workers=n, **settings) for n in (0, 2)]
    assert len(copies[0].partitions) == 12
    assert data_digest(copies[0].path) == data_digest(copies[1].path)


def kill_everywhere(points: str, tmp_path: Path) -> list[dict]:
    table = sky_table(3000, 1)
    pq.write_table(table.slice(0, 1500), tmp_path / "a.parquet")
    pq.write_table(table.slice(1500), tmp_path / "b.parquet")
    (tmp_path / "out").mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "tests.catalogs.import_killer", points, "out", "a.parquet", "b.parquet"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=280,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def check_kills(results: list[dict]) -> None:
    for result in results:
        assert result["killed"], result
        # Nothing under the final name, or a whole copy.
        assert result["accepted"] in (None, True), result
        assert (result["accepted"] is True) == (result["point"] == "renamed"), result
        assert result["resumed"], result
        assert result["accepted"] or any("resuming" in text for text in result["said"]), result
        assert "exists already" in result["again"], result
        assert result["passed"], result
        assert result["left"] == [], result
    assert len({result["digest"] for result in results}) == 1


def test_a_killed_import_leaves_nothing_or_a_whole_copy_and_resumes(tmp_path):
    check_kills(kill_everywhere("everyday", tmp_path))


@pytest.mark.campaign
def test_an_import_killed_anywhere(tmp_path):
    check_kills(kill_everywhere("all", tmp_path))
