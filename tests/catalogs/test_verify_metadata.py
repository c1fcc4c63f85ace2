"""Metadata that is damaged, stale or of others: named by its check, and never the end of the process."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.catalogs.tampering import failed, quick
from xmatch_hats.catalogs.verify import verify_copy


def test_an_occupancy_map_that_lacks_a_cell(copy):
    from hats.io.file_io import read_fits_image, write_fits_image

    path = copy.main / "point_map.fits"
    image = np.asarray(read_fits_image(path)).astype(np.int64)
    cell = int(np.flatnonzero(image)[0])
    image[cell] = 0
    write_fits_image(image, path)
    report = quick(copy)
    assert failed(report) == {"moc"}
    assert report["moc"].faults == 1
    assert f"cell {cell} of order" in report["moc"].places[0].detail


@pytest.mark.parametrize("cell", [-1, 1 << 57])
def test_an_occupancy_map_with_a_cell_that_is_none(copy, cell):
    """The library that HATS reads maps with ends the process on the larger one."""
    from astropy.io import fits

    path = copy.main / "point_map.fits"
    with fits.open(path, memmap=False) as file:
        file[1].data["PIXEL"][-1] = cell
        file.writeto(path, overwrite=True)
    assert failed(quick(copy)) == {"moc"}


def test_partitions_that_overlap(copy):
    order, pixel = max(copy.pixels(copy.main))
    child = copy.main / "dataset" / f"Norder={order + 1}" / "Dir=0" / f"Npix={4 * pixel}.parquet"
    child.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(copy.file(copy.main, (order, pixel)), child)
    with (copy.main / "partition_info.csv").open("a") as file:
        file.write(f"{order + 1},{4 * pixel}\n")
    report = quick(copy)
    assert "partition-tree" in failed(report)
    assert report["margin-complete"].state == "skipped"


@pytest.mark.parametrize(
    ("name", "content", "check"),
    [
        ("collection.properties", "nothing=here\n", "metadata"),
        ("MAIN/partition_info.csv", "Norder,Npix\n1,x\n", "metadata"),
        ("MAIN/partition_info.csv", "Norder,Npix\n1,48\n", "metadata"),
        ("MAIN/dataset/_metadata", "no parquet", "metadata"),
        ("MAIN/dataset/_common_metadata", "no parquet", "metadata"),
        ("MAIN/point_map.fits", "no FITS", "moc"),
        ("xmatch_hats.json", "{", "metadata"),
        ("MARGIN/hats.properties", "dataproduct_type=margin\nhats_margin_threshold=wide\n", "metadata"),
    ],
)
def test_metadata_that_cannot_be_read(copy, name, content, check):
    name = name.replace("MAIN", copy.main.name).replace("MARGIN", copy.margin.name)
    (copy.path / name).write_text(content)
    report = quick(copy)
    assert check in failed(report)


def test_a_manifest_that_tells_another_coverage(copy):
    path = copy.path / "xmatch_hats.json"
    manifest = json.loads(path.read_text())
    manifest["coverage"]["sky_fraction"] = 0.5
    path.write_text(json.dumps(manifest))
    assert failed(quick(copy)) == {"coverage"}


def test_catalogues_of_others(shared_data):
    report = verify_copy(shared_data / "lsdb_oracle" / "small_sky_order1_collection")
    assert report.passed, report.failed
    assert report["margin-sound"].looked_at == 70
    for name in ("small_sky", "small_sky_source", "small_sky_xmatch", "small_sky_left_xmatch"):
        assert verify_copy(shared_data / "lsdb_oracle" / name).passed
    alone = verify_copy(shared_data / "lsdb_oracle" / "small_sky_xmatch_margin")
    assert "verify the collection" in alone["metadata"].places[0].detail
