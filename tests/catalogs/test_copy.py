"""Opening copies: ours, foreign ones, damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import xmatch_hats
from tests.copies import make_copy, sky_table
from xmatch_hats.catalogs.copy import LocalCopy, near_names, open_copy
from xmatch_hats.catalogs.layout import partition_path
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, PartitionReadError


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> LocalCopy:
    return make_copy(sky_table(2000, 1), tmp_path_factory.mktemp("copy") / "sky", partition_rows=200)


@pytest.fixture
def damaged(copy, tmp_path) -> Path:
    """A copy of the copy, to be damaged."""
    return Path(shutil.copytree(copy.path, tmp_path / "damaged"))


def test_our_copy(copy):
    assert (copy.name, copy.ra_column, copy.dec_column, copy.id_column) == ("sky", "ra", "dec", "_row")
    assert copy.version == copy.manifest.uuid
    assert copy.total_rows == 2000
    index = np.concatenate(list(copy.read_healpix()))
    assert len(index) == 2000
    assert (np.diff(index) >= 0).all()
    assert all(copy.partition_file(partition).is_file() for partition in copy.partitions)
    assert copy.coverage is copy.coverage


def test_a_foreign_collection(shared_data):
    copy = LocalCopy.open(shared_data / "lsdb_oracle" / "small_sky_order1_collection")
    assert copy.manifest is None
    assert copy.definition is None
    assert copy.name == "small_sky_order1"
    assert copy.margin_arcsec == 3600.0
    assert copy.total_rows == 131
    assert copy.partitions == ((1, 44), (1, 45), (1, 46), (1, 47))
    assert copy.coverage.estimated
    assert copy.version == LocalCopy.open(copy.path).version


def test_a_foreign_bare_catalogue_has_no_margin(shared_data):
    copy = LocalCopy.open(shared_data / "lsdb_oracle" / "small_sky")
    assert copy.margin_arcsec == 0.0
    assert copy.margin_path is None
    assert copy.margin_file((0, 11)) is None
    assert copy.main_path == copy.path


def test_a_foreign_copy_that_is_rewritten_has_another_version(shared_data, tmp_path):
    folder = Path(shutil.copytree(shared_data / "lsdb_oracle" / "small_sky", tmp_path / "c"))
    before = LocalCopy.open(folder).version
    text = (folder / "partition_info.csv").read_text()
    (folder / "partition_info.csv").write_text(text + "\n")
    assert LocalCopy.open(folder).version != before


def test_places_that_are_no_copy(tmp_path):
    with pytest.raises(CatalogNotFoundError, match="no such folder"):
        LocalCopy.open(tmp_path / "nope")
    with pytest.raises(CatalogNotFoundError, match="is not a HATS catalogue"):
        LocalCopy.open(tmp_path)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def both_properties(folder: Path) -> list[Path]:
    return [folder / "sky" / name for name in ("properties", "hats.properties")]


DAMAGES = {
    "main table gone": (lambda c: shutil.rmtree(c / "sky"), "a part of the copy is missing: sky"),
    "margin gone": (lambda c: shutil.rmtree(c / "sky_margin"), "a part of the copy is missing: sky_margin"),
    "names no main table": (
        lambda c: change(c / "collection.properties", "hats_primary_table_url=sky", "x=y"),
        "does not name its main",
    ),
    "no partition list": (lambda c: (c / "sky/partition_info.csv").unlink(), "partition_info.csv: cannot be read"),
    "torn partition list": (
        lambda c: (c / "sky/partition_info.csv").write_text("Norder,Np"),
        "not a list of partitions",
    ),
    "doubled partition": (
        lambda c: (c / "sky/partition_info.csv").write_text("Norder,Npix\n1,2\n1,2\n"),
        "names a partition twice",
    ),
    "torn schema": (lambda c: (c / "sky/dataset/_common_metadata").write_bytes(b"PAR1"), "cannot be read as parquet"),
    "binary properties": (
        lambda c: [path.write_bytes(b"\xff\xfe") for path in both_properties(c)],
        "is not a properties file",
    ),
    "no properties": (lambda c: [path.unlink() for path in both_properties(c)], "has no properties file"),
    "rows not a number": (
        lambda c: change(c / "sky/hats.properties", "hats_nrows=2000", "hats_nrows=many"),
        "hats_nrows is not a whole number",
    ),
    "position column gone": (
        lambda c: change(c / "sky/hats.properties", "hats_col_ra=ra", "hats_col_ra=RA"),
        "hats_col_ra names no column",
    ),
    "a margin as main table": (
        lambda c: change(c / "collection.properties", "table_url=sky", "table_url=sky_margin"),
        "is a HATS margin table",
    ),
    "torn manifest": (lambda c: (c / "xmatch_hats.json").write_text('{"format": 1,'), "is not a manifest"),
    "manifest of the future": (
        lambda c: change(c / "xmatch_hats.json", '"format": 1', '"format": 2'),
        "not a manifest that this version understands: format",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_copies_are_refused_with_the_place(damaged, damage):
    act, message = DAMAGES[damage]
    act(damaged)
    with pytest.raises(CatalogError, match=message) as caught:
        LocalCopy.open(damaged)
    assert str(damaged) in str(caught.value)


def test_a_malformed_definition_snapshot_is_refused(damaged):
    path = damaged / "xmatch_hats.json"
    values = json.loads(path.read_text())
    values["definition"] = {"name": "x"}
    path.write_text(json.dumps(values))
    with pytest.raises(CatalogError, match="the definition in its manifest is malformed"):
        LocalCopy.open(damaged)


def test_a_partition_that_cannot_be_read_is_named(copy, damaged):
    path = partition_path(damaged / "sky", copy.partitions[3])
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(PartitionReadError, match="Npix"):
        list(LocalCopy.open(damaged).read_healpix())


def test_columns_by_name(copy):
    assert copy.column_names(None) == ["ra", "dec", "source_id", "flux", "_row"]
    assert copy.column_names(["flux", "ra", "flux"]) == ["flux", "ra"]
    with pytest.raises(CatalogError, match=r"has no column fluks \(near names: flux\)"):
        copy.column_names(["fluks"])


def test_near_names_do_not_pass_some_columns_for_all():
    names = [f"column{number}" for number in range(22)]
    assert near_names("xyz", names).endswith("column19 and 2 more")
    assert near_names("xyz", names[:20]).endswith("column19")


def test_open_catalog_gives_lsdb_with_margin(copy):
    catalog = xmatch_hats.open_catalog(copy.path)
    assert list(catalog.columns) == ["ra", "dec", "source_id", "flux", "_row"]
    assert catalog.margin is not None
    assert list(xmatch_hats.open_catalog(copy.path, columns=["flux"]).columns) == ["ra", "dec", "flux"]
    with pytest.raises(CatalogError, match="has no column nope"):
        xmatch_hats.open_catalog(copy.path, columns=["nope"])


def test_open_copy_takes_a_relative_folder(copy, monkeypatch):
    monkeypatch.chdir(copy.path.parent)
    assert open_copy("sky").path == copy.path
    assert open_copy("./sky").path == copy.path
