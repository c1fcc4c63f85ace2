"""The output as others see it: LSDB, the verification, and a third catalogue."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.bulk.catalogs.skies import read_rows
from tests.copies import make_copy
from tests.oracle import brute_force
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.verify import verify_copy


@pytest.fixture(scope="module")
def joined(pair, tmp_path_factory):
    """All pairs, so that left rows come more than once."""
    out = tmp_path_factory.mktemp("joined") / "out"
    crossmatch_catalogs(
        pair.path("left", "fine"), pair.path("right", "fine"), out, radius_arcsec=20.0, n_neighbors=None, join="left",
        margin_arcsec=30.0, workers=0,
    )  # fmt: skip
    return out


def test_the_verification_passes_with_nothing_skipped_but_ids(joined):
    report = verify_copy(joined)
    report.raise_if_failed()
    copy = LocalCopy.open(joined)
    assert copy.margin_arcsec == 30.0
    assert copy.manifest is not None
    assert copy.id_column is None
    names = {"summary.json", "provenance.json", "sky.parquet", "run.log.jsonl", "coverage.fits"}
    assert names <= copy.manifest.files.keys()


def test_lsdb_opens_it_with_its_margin(joined):
    import lsdb

    catalog = lsdb.open_catalog(joined)
    assert catalog.margin is not None
    rows = read_rows(joined)
    frame = catalog.compute(progress_bar=False)
    np.testing.assert_array_equal(frame["oid"].to_numpy(), rows["oid"].to_numpy())
    assert len(catalog) == len(rows)


def test_it_is_matched_again_as_either_side(pair, joined, tmp_path):
    """A third catalogue, through the margin of the output: exact, across partitions and holes."""
    rng = np.random.default_rng(12)
    third = pair.left.sample(300, random_state=3)[["ra", "dec"]].reset_index(drop=True)
    third["dec"] = np.clip(third["dec"] + rng.normal(0, 1e-3, len(third)), -90, 90)
    third["tid"] = np.arange(len(third))
    copy = make_copy(pa.Table.from_pandas(third, preserve_index=False), tmp_path / "third", partition_rows=50)
    rows = read_rows(joined).to_pandas()
    found = brute_force(third["ra"], third["dec"], rows["ra"], rows["dec"], 25.0, k=None)
    expected = sorted(zip(third["tid"][found.left], rows["oid"][found.right], strict=True))
    crossmatch_catalogs(copy, joined, tmp_path / "right", radius_arcsec=25.0, n_neighbors=None, workers=0)
    got = read_rows(tmp_path / "right")
    assert sorted(zip(got["tid"].to_pylist(), got["oid"].to_pylist(), strict=True)) == expected
    crossmatch_catalogs(joined, copy, tmp_path / "left", radius_arcsec=25.0, n_neighbors=None, workers=0)
    got = read_rows(tmp_path / "left")
    assert sorted(zip(got["tid"].to_pylist(), got["oid"].to_pylist(), strict=True)) == expected
    for name in ("right", "left"):
        verify_copy(tmp_path / name).raise_if_failed()


def test_provenance_tells_inputs_and_settings_and_not_when_or_where(pair, joined):
    facts = json.loads((joined / "provenance.json").read_text())
    assert [given["side"] for given in facts["inputs"]] == ["left", "right"]
    assert [given["rows"] for given in facts["inputs"]] == [len(pair.left), len(pair.right)]
    assert facts["settings"]["radius_arcsec"] == 20.0
    assert facts["settings"]["join"] == "left"
    assert facts["software"]["xmatch-hats"]
    assert all(given["sha256"] for given in facts["inputs"])


def test_each_left_row_once_keeps_its_id(pair, tmp_path):
    rng = np.random.default_rng(13)
    left = make_copy(pa.table({"ra": rng.uniform(0, 360, 50), "dec": rng.uniform(-80, 80, 50)}), tmp_path / "left")
    crossmatch_catalogs(left, left, tmp_path / "out", radius_arcsec=1.0, workers=0)
    assert LocalCopy.open(tmp_path / "out").id_column == "_row"
    verify_copy(tmp_path / "out").raise_if_failed()
