"""One pass through the rows counts what brute force and the whole table tell."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.bulk.alerts.nights import read_output
from tests.bulk.report.conftest import OFFSET
from xmatch_hats.bulk.report import scan as scanning
from xmatch_hats.bulk.report.outputs import find_outputs
from xmatch_hats.bulk.report.scan import scan
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.status import MatchStatus


def test_alerts_are_counted_in_batches_as_at_once(made, monkeypatch):
    whole = scan(find_outputs(made.nights)).matches["allwise"]
    monkeypatch.setattr(scanning, "BATCH_ROWS", 17)
    parts = scan(find_outputs(made.nights)).matches["allwise"]
    for one, other in zip(whole.sky.at(12), parts.sky.at(12), strict=True):
        assert (one == other).all()
    assert (whole.separation.counts == parts.separation.counts).all()
    assert (whole.offsets.counts == parts.offsets.counts).all()
    assert (whole.diagram.counts == parts.diagram.counts).all()
    assert whole.colour_limits == parts.colour_limits


def test_alerts_are_counted_as_their_table_tells(made):
    tally = scan(find_outputs(made.nights)).matches["allwise"]
    table = read_output(made.nights / "night=20180619")
    rest = [read_output(path) for path in (made.nights / "night=20180620").iterdir()]
    frame = [one.to_pandas() for one in (table, *rest)]
    distance = np.concatenate([one["_dist_arcsec"].dropna() for one in frame])
    assert tally.separation.total == len(distance) >= 290
    assert tally.separation.median() == pytest.approx(np.median(distance), abs=0.005)
    assert tally.offsets.x.median() == pytest.approx(OFFSET[0], abs=0.01)
    assert tally.offsets.y.median() == pytest.approx(OFFSET[1], abs=0.01)
    cells, counts = tally.sky.at(8)
    for status in (MatchStatus.MATCHED, MatchStatus.UNMATCHED, MatchStatus.OUTSIDE_COVERAGE):
        lying = [one[one["_status"] == status.label] for one in frame]
        index = np.concatenate([cells_of(one["ra"], one["dec"], 8) for one in lying])
        found, expected = np.unique(index, return_counts=True)
        kept = counts[status] > 0
        assert cells[kept].tolist() == found.tolist()
        assert counts[status][kept].tolist() == expected.tolist()
    limits = sum(one[one["_dist_arcsec"].notna()][["w1sigmpro", "w2sigmpro"]].isna().any(axis=1).sum() for one in frame)
    assert tally.colour_limits == limits > 0
    assert tally.diagram.total + limits == len(distance)


def test_of_several_pairs_the_nearest_counts_as_the_input(made):
    outputs = find_outputs(made.joined)
    found = scan(outputs)
    assert found.statuses[made.joined, "allwise"].tolist() == [3000, 0, 0, 0]
    assert found.pairs[made.joined, "allwise"] == found.rows[made.joined] > 3000
    assert found.matches["allwise"].sky.settled().at(0)[1].sum(axis=1).tolist() == [3000, 0, 0]
    assert set(found.matches["allwise"].magnitudes) >= {"w1mpro", "w2mpro", "gmag"}


def test_rows_on_both_sides_of_ra_zero_are_near(made):
    tally = scan(find_outputs(made.joined)).matches["allwise"]
    assert tally.offsets.total == tally.separation.total
    assert tally.offsets.x.outside == 0


def test_a_damaged_file_is_named(nights):
    (path,) = (nights / "night=20180619").glob("**/ztf_public_20180619/dataset/**/Npix*.parquet")
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"PAR1" + bytes(100)):
        path.write_bytes(data)
        with pytest.raises(PartitionReadError, match=f"{path.name}: cannot be read"):
            scan(find_outputs(nights))
    path.write_bytes(whole)
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["_dist_arcsec"]), path)
    with pytest.raises(PartitionReadError, match="no column _dist_arcsec of allwise"):
        scan(find_outputs(nights))
