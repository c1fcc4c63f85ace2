"""Tables in memory on the right, in one part or several."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.matching.skies import rough_sky
from tests.oracle import brute_force
from xmatch_hats.matching import plain
from xmatch_hats.matching.batch import sort_positions
from xmatch_hats.matching.plain import PlainSide
from xmatch_hats.matching.rule import MatchRule


@pytest.mark.parametrize("part_rows", [1_000_000, 700])
@pytest.mark.parametrize("k", [1, 3, None])
def test_parts_change_nothing(monkeypatch, part_rows, k):
    monkeypatch.setattr(plain, "THREADS", 4)
    monkeypatch.setattr(plain, "PART_ROWS", part_rows)
    sky = rough_sky(np.random.default_rng(13), right=200, left=50, background=300)
    ra, dec = sky.frame["ra"].to_numpy().copy(), sky.frame["dec"].to_numpy().copy()
    ra[::50], dec[25::50] = np.nan, 95.0
    rows = np.flatnonzero(np.isfinite(ra) & (dec <= 90.0))
    left = np.r_[sky.ra, np.nan], np.r_[sky.dec, 0.0]
    table = pa.table({"row": np.arange(len(ra)), "ra": ra})
    found = PlainSide(table, ra, dec, ["row"]).match(sort_positions(*left)[0], MatchRule(8.0, k))
    expected = brute_force(sky.ra, sky.dec, ra[rows], dec[rows], 8.0, k=k)
    np.testing.assert_array_equal(found.left, expected.left)
    np.testing.assert_array_equal(found.rows["row"].to_numpy(), rows[expected.right])
    np.testing.assert_allclose(found.distance_arcsec, expected.sep_arcsec, rtol=0, atol=1e-9)
    assert found.rows.column_names == ["row"]
    assert (found.rank == 1).sum() == len(np.unique(found.left))


def test_no_rows():
    table = pa.table({"row": np.arange(0)})
    found = PlainSide(table, np.empty(0), np.empty(0), ["row"]).match(sort_positions([1.0], [1.0])[0], MatchRule(1.0))
    assert len(found.left) == len(found.rows) == 0
