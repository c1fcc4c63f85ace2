"""Every fault is found by the check named for it, and the intact copy passes them all."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.catalogs.tampering import Tampered, failed, quick, twice, with_value, without_row
from tests.catalogs.verify_sky import MARGIN_ARCSEC
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.catalogs.verify.findings import CHECK_NAMES
from xmatch_hats.errors import CatalogError, CatalogNotFoundError


def test_the_intact_copy_passes_every_check(intact):
    stages = {}
    report = verify_copy(intact, progress=lambda stage, done, total: stages.__setitem__(stage, (done, total)))
    assert [check.name for check in report.checks] == list(CHECK_NAMES)
    assert [check.state for check in report.checks] == ["passed"] * len(CHECK_NAMES), report.failed
    assert report["pixel"].looked_at == 1640
    assert report["margin-complete"].looked_at > 500
    assert report["margin-sound"].looked_at > report["margin-complete"].looked_at
    assert set(stages) == {"files", "margins", "rows", "side copy", "checksums"}
    assert all(done == total for done, total in stages.values())
    assert json.loads(json.dumps(report.as_dict()))["passed"] is True
    report.raise_if_failed()


def test_checksums_can_be_left_out(intact):
    check = verify_copy(intact, checksums=False)["checksums"]
    assert check.state == "skipped"
    assert check.looked_at == 0


def test_a_foreign_copy_verifies_and_says_what_was_not_checked(copy):
    (copy.path / "xmatch_hats.json").unlink()
    report = verify_copy(copy.path)
    assert report.passed
    assert report["checksums"].note == "no manifest: checksums not checked"
    assert verify_copy(copy.main).passed
    assert verify_copy(copy.main)["margin-complete"].note == "no margin cache"


def test_no_copy_at_all(tmp_path):
    with pytest.raises(CatalogNotFoundError):
        verify_copy(tmp_path / "nothing")
    with pytest.raises(CatalogError, match=r"neither collection\.properties nor hats\.properties"):
        verify_copy(tmp_path)


def test_a_flipped_byte(copy):
    file = copy.biggest()
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)
    report = verify_copy(copy.path)
    assert report["checksums"].faults == 1
    assert report["checksums"].places[0].file == file.relative_to(copy.path).as_posix()
    with pytest.raises(CatalogError, match="does not verify"):
        report.raise_if_failed()


def test_a_flipped_byte_outside_the_tables(copy):
    (copy.main / "hats.properties").write_text((copy.main / "hats.properties").read_text() + "\n")
    assert failed(verify_copy(copy.path)) == {"checksums"}


def test_a_flipped_byte_in_the_manifest(copy):
    path = copy.path / "xmatch_hats.json"
    path.write_text(path.read_text().replace('"partition_rows": 100', '"partition_rows": 101'))
    report = verify_copy(copy.path)
    assert failed(report) == {"checksums"}
    assert report["checksums"].places[0].file == "xmatch_hats.json"


def test_a_moved_row(copy):
    source = copy.biggest()
    target = next(file for file in copy.files(copy.main) if file != source)
    row = copy.inner_row(source)
    moved = pq.read_table(source, partitioning=None).slice(row, 1)
    copy.rewrite(source, lambda table: without_row(table, row))
    copy.rewrite(target, lambda table: pa.concat_tables([table, moved]).sort_by("_healpix_29"))
    report = quick(copy)
    assert failed(report) == {"pixel"}
    assert report["pixel"].faults == 1
    place = report["pixel"].places[0]
    assert place.file == target.relative_to(copy.path).as_posix()
    assert pq.read_table(target, partitioning=None).slice(place.row, 1).equals(moved)


def required_margin_row(copy: Tampered, *, empty: bool = False) -> tuple[Path, int]:
    """A margin file and a row of it that lies well within the threshold of the pixel, by dense points of its border."""
    from tests.catalogs.test_verify_tiling import border_distance_arcsec

    partitions = copy.pixels(copy.main)
    for pixel in copy.pixels(copy.margin):
        if empty and pixel in partitions:
            continue
        file = copy.file(copy.margin, pixel)
        rows = pq.read_table(file, partitioning=None)
        near = border_distance_arcsec(rows["ra"].to_numpy(), rows["dec"].to_numpy(), pixel) < 0.9 * MARGIN_ARCSEC
        if near.any() and len(near) > 2:
            return file, int(np.flatnonzero(near)[0])
    raise AssertionError("the sky has no such row")


def test_a_lost_margin_row(copy):
    file, row = required_margin_row(copy)
    lost = pq.read_table(file, partitioning=None).slice(row, 1)["source"][0].as_py()
    copy.rewrite(file, lambda table: without_row(table, row))
    report = quick(copy)
    assert failed(report) == {"margin-complete", "counts"}
    assert report["margin-complete"].faults == 1
    place = report["margin-complete"].places[0]
    found = pq.read_table(copy.path / place.file, partitioning=None)
    assert found["source"][place.row].as_py() == lost
    assert file.stem in place.detail


def test_a_doubled_margin_row(copy):
    file, row = required_margin_row(copy)
    copy.rewrite(file, lambda table: twice(table, row))
    report = quick(copy)
    assert failed(report) == {"margin-sound", "counts"}
    assert report["margin-sound"].faults == 1
    assert "is here 2 times, in the main table 1" in report["margin-sound"].places[0].detail


@pytest.mark.parametrize(("column", "value"), [("mag", 3.0), ("label", "J0"), ("flag", None), ("source", 5)])
def test_an_altered_margin_row(copy, column, value):
    file, row = required_margin_row(copy)
    copy.rewrite(file, lambda table: with_value(table, column, row, value))
    report = quick(copy)
    assert failed(report) == {"margin-sound", "margin-complete"}
    assert report["margin-sound"].faults == 1
    assert report["margin-sound"].places[0].row == row
    assert report["margin-sound"].places[0].detail == "differs from the main table's row of this position"


def test_a_margin_row_of_the_partition_itself(copy):
    pixel = next(pixel for pixel in copy.pixels(copy.margin) if pixel in copy.pixels(copy.main))
    own = pq.read_table(copy.file(copy.main, pixel), partitioning=None).slice(0, 1)
    copy.rewrite(copy.file(copy.margin, pixel), lambda table: pa.concat_tables([table, own]))
    report = quick(copy)
    assert failed(report) == {"margin-sound", "counts"}
    assert "lies inside the pixel" in report["margin-sound"].places[0].detail


def test_a_margin_of_an_empty_pixel_is_needed(copy):
    file, _ = required_margin_row(copy, empty=True)
    pixel = next(pixel for pixel in copy.pixels(copy.margin) if copy.file(copy.margin, pixel) == file)
    rows = pq.read_metadata(file).num_rows
    file.unlink()
    listed = copy.margin / "partition_info.csv"
    listed.write_text(listed.read_text().replace(f"{pixel[0]},{pixel[1]}\n", ""))
    copy.refresh(copy.margin)
    copy.set_property(copy.margin, "hats_nrows", lambda value: str(int(value) - rows))
    (copy.path / "xmatch_hats.json").unlink()
    report = quick(copy)
    assert failed(report) == {"margin-complete"}
    assert "it has no file for that" in report["margin-complete"].places[0].detail


def test_a_lost_partition(copy):
    file = copy.biggest()
    file.unlink()
    report = quick(copy)
    assert "files" in failed(report)
    assert report["files"].faults == 1
    assert report["files"].places[0].file == file.relative_to(copy.path).as_posix()
    assert {"pixel", "sorted", "parquet", "margin-complete"}.isdisjoint(failed(report))


def test_a_lost_margin_file(copy):
    file = copy.files(copy.margin)[0]
    file.unlink()
    assert {"files", "margin-complete"} <= failed(quick(copy))


def test_a_stray_partition(copy):
    file = copy.files(copy.main)[0]
    stray = file.with_name("Npix=999.parquet")
    shutil.copy(file, stray)
    report = quick(copy)
    assert failed(report) == {"files"}
    assert report["files"].faults == 1
    assert report["files"].places[0].file == stray.relative_to(copy.path).as_posix()


def test_a_file_that_the_manifest_does_not_know(copy):
    (copy.path / "notes.txt").write_text("mine")
    assert failed(verify_copy(copy.path)) == {"files", "checksums"}


def test_a_stale_metadata_of_equal_counts(copy):
    file = copy.biggest()
    row = copy.inner_row(file)
    copy.rewrite(file, lambda table: with_value(table, "mag", row, 99.0), refresh=False)
    report = quick(copy)
    assert failed(report) == {"parquet-metadata"}
    assert report["parquet-metadata"].places[0].file == file.relative_to(copy.path).as_posix()


def test_a_metadata_that_knows_another_partition(copy):
    stray = copy.files(copy.main)[0].with_name("Npix=999.parquet")
    shutil.copy(copy.files(copy.main)[0], stray)
    copy.refresh(copy.main)
    stray.unlink()
    report = quick(copy)
    assert failed(report) == {"parquet-metadata"}
    assert "Npix=999" in report["parquet-metadata"].places[0].detail


def test_unsorted_rows(copy):
    file = copy.biggest()
    rows = pq.read_metadata(file).num_rows
    copy.rewrite(file, lambda table: table.take(np.roll(np.arange(rows), 1)))
    report = quick(copy)
    assert failed(report) == {"sorted"}
    assert report["sorted"].faults == 1
    assert report["sorted"].places[0].row == 1


@pytest.mark.parametrize("shift", [1, -1])
def test_a_wrong_healpix_index(copy, shift):
    file = copy.biggest()
    row = copy.inner_row(file)
    index = pq.read_table(file, partitioning=None)["_healpix_29"][row].as_py()
    copy.rewrite(file, lambda table: with_value(table, "_healpix_29", row, index + shift))
    report = quick(copy)
    assert failed(report) == {"healpix-index"}
    assert report["healpix-index"].places[0].row == row


def test_a_row_that_is_there_twice(copy):
    file = copy.biggest()
    row = copy.inner_row(file)
    copy.rewrite(file, lambda table: twice(table, row))
    report = quick(copy)
    assert failed(report) == {"ids", "counts", "moc"}
    assert [place.row for place in report["ids"].places] == [row + 1]


def test_a_margin_that_is_none(copy):
    named = copy.path / "collection.properties"
    text = named.read_text().replace(copy.margin.name, copy.main.name)
    named.write_text(text)
    report = quick(copy)
    assert failed(report) == {"metadata"}
    assert report["margin-sound"].note == "no margin cache"


def test_a_threshold_that_makes_no_sense(copy):
    copy.set_property(copy.margin, "hats_margin_threshold", lambda value: "nan")
    report = quick(copy)
    assert failed(report) == {"metadata"}
    assert report["margin-complete"].state == "skipped"


def test_a_wrong_count_in_the_properties(copy):
    copy.set_property(copy.main, "hats_nrows", lambda value: str(int(value) + 1))
    report = quick(copy)
    assert failed(report) == {"counts"}
    assert "says 1641 rows, the files of" in report["counts"].places[0].detail


def test_properties_files_that_disagree(copy):
    copy.set_property(copy.margin, "hats_margin_threshold", lambda value: "1", names=("properties",))
    assert failed(quick(copy)) == {"metadata"}


def test_a_truncated_file(copy):
    file = copy.biggest()
    file.write_bytes(file.read_bytes()[:-100])
    report = quick(copy)
    assert "parquet" in failed(report)
    assert report["parquet"].places[0].file == file.relative_to(copy.path).as_posix()
    assert {"files", "schema", "margin-sound", "pixel"}.isdisjoint(failed(report))


def test_pages_that_cannot_be_decoded(copy):
    file = copy.biggest()
    footer = pq.read_metadata(file).row_group(0).column(0)
    offset = footer.dictionary_page_offset or footer.data_page_offset
    data = bytearray(file.read_bytes())
    data[offset : offset + footer.total_compressed_size] = b"\xff" * footer.total_compressed_size
    file.write_bytes(data)
    report = quick(copy)
    assert "parquet" in failed(report)
    assert "cannot be decoded" in report["parquet"].places[0].detail


@pytest.mark.parametrize(("column", "value"), [("ra", float("nan")), ("dec", None), ("dec", 91.0), ("ra", np.inf)])
def test_a_position_that_is_none(copy, column, value):
    file = copy.biggest()
    row = copy.inner_row(file)
    copy.rewrite(file, lambda table: with_value(table, column, row, value))
    report = quick(copy)
    assert failed(report) == {"coordinates", "moc"}
    assert report["coordinates"].places[0].row == row


def test_schema_drift_in_one_file(copy):
    file = copy.biggest()

    def narrow(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("mag")
        return table.set_column(place, "mag", table["mag"].cast(pa.float32()))

    # The library refuses to make a _metadata of files that differ, so this one stays stale.
    copy.rewrite(file, narrow, refresh=False)
    report = quick(copy)
    assert "schema" in failed(report)
    assert report["schema"].faults == 1
    assert report["schema"].places[0].detail == "column mag is float, the common schema has double"


def test_positions_in_single_precision(copy):
    common = copy.main / "dataset" / "_common_metadata"
    schema = pq.read_schema(common)
    place = schema.get_field_index("ra")
    pq.write_metadata(schema.set(place, pa.field("ra", pa.float32())), common)
    report = quick(copy)
    assert any(place.detail == "position column ra is float, not double" for place in report["schema"].places)


@pytest.mark.parametrize("rows", [1, 40])
def test_a_margin_without_rows(tmp_path, rows):
    """A copy of one partition has nothing that its margin could hold."""
    from xmatch_hats.catalogs.importer import build_copy

    table = pa.table({"ra": np.linspace(44.9, 45.1, rows), "dec": np.full(rows, 1.0)})
    pq.write_table(table, tmp_path / "sky.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_copy([tmp_path / "sky.parquet"], tmp_path / "copy", margin_arcsec=1.0, workers=0)
    report = verify_copy(tmp_path / "copy")
    assert report.passed, report.failed
    assert report["margin-sound"].looked_at == 0


def test_completeness_counts_what_sampled_borders_say(intact):
    """Every pair of a row and another pixel within the threshold, by brute force over all pixels of the sphere."""
    from tests.catalogs.test_verify_tiling import border_distance_arcsec, border_points
    from tests.oracle import ARCSEC, xyz
    from xmatch_hats.catalogs.verify.tiling import Tiling, cell_size_arcsec
    from xmatch_hats.healpix import cells_of

    copy = Tampered(intact)
    rows = pa.concat_tables([pq.read_table(file, partitioning=None) for file in copy.files(copy.main)])
    ra, dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
    cells, at = cells_of(ra, dec), xyz(ra, dec)
    tiling = Tiling.of({*copy.pixels(copy.main), *copy.pixels(copy.margin)})
    surely, perhaps = 0, 0
    for tile in range(len(tiling)):
        order, pixel = tiling.partition(tile)
        outside = cells >> 2 * (29 - order) != pixel
        centre = border_points((order, pixel), 1).sum(axis=0)
        beyond = np.linalg.norm(at - centre / np.linalg.norm(centre), axis=1) * ARCSEC
        outside &= beyond <= 1.2 * cell_size_arcsec(order) + 1.1 * MARGIN_ARCSEC
        if not outside.any():
            continue
        away = border_distance_arcsec(ra[outside], dec[outside], (order, pixel), levels=10)
        step = 2 * cell_size_arcsec(order) / 2**10
        surely += int((away <= MARGIN_ARCSEC).sum())
        perhaps += int((away <= np.hypot(MARGIN_ARCSEC, step)).sum())
    assert 500 < surely <= quick(copy)["margin-complete"].looked_at <= perhaps < 1.1 * surely
