"""Statuses, rules, ties, results: what needs no sky."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import Angle

from xmatch_hats.errors import RadiusError, UsageError
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.status import STATUS_LABELS, MatchStatus, combine_statuses
from xmatch_hats.matching.ties import order_keys, tie_keys


def test_labels_and_keys():
    assert STATUS_LABELS == ("matched", "unmatched", "outside-coverage", "rejected")
    assert MatchStatus.OUTSIDE_COVERAGE.key == "outside_coverage"


def test_combined_statuses():
    first = np.array([0, 1, 1, 2, 3], dtype=np.uint8)
    second = np.array([2, 1, 2, 2, 3], dtype=np.uint8)
    assert combine_statuses([first, second]).tolist() == [0, 1, 2, 2, 3]
    assert combine_statuses([first]).tolist() == first.tolist()


def test_counts():
    empty = np.empty(0, np.int64)
    status = np.array([0, 0, 3, 1], dtype=np.uint8)
    result = MatchResult(status, status * 0, empty, empty.astype(np.int32), empty.astype(float), pa.table({}))
    assert result.counts() == {"in": 4, "matched": 2, "unmatched": 1, "outside_coverage": 0, "rejected": 1}
    assert not result.is_ranked


@pytest.mark.parametrize("radius", [0, -1, np.nan, np.inf, -np.inf, 648_001.0, 10**400, -1 * u.arcsec])
def test_radii(radius):
    with pytest.raises(RadiusError, match="radius must be a positive number"):
        MatchRule(radius)


def test_radii_as_numbers_and_quantities():
    for radius in (1, 1.0, np.float32(1), np.array(1.0), 1 * u.arcsec, u.Quantity(1, "arcsec"), Angle(1, "arcsec")):
        rule = MatchRule(radius, 1, radius / 2)
        assert rule == MatchRule(1.0, 1, 0.5)
        assert (type(rule.radius_arcsec), type(rule.min_radius_arcsec)) == (float, float)
    assert MatchRule(0.001 * u.deg).radius_arcsec == pytest.approx(3.6)


@pytest.mark.parametrize(
    "angle", ["1", None, True, [1.0], np.array([1.0, 2.0]), [1, 2] * u.arcsec, 1 * u.s, 1 * u.one, np.ma.masked, 1j]
)
def test_what_is_no_angle(angle):
    with pytest.raises(RadiusError, match=r"the radius must be one angle or a number of arcseconds, not .*\(write 1.5"):
        MatchRule(angle)
    with pytest.raises(RadiusError, match="the minimum radius must be one angle or a number of arcseconds"):
        MatchRule(1.0, 1, angle)


def test_minimum_and_neighbours():
    with pytest.raises(RadiusError, match="minimum radius must be at least 0 and below the radius of 2 arcsec, not 2"):
        MatchRule(2.0, 1, 2)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        MatchRule(2.0, 0)
    with pytest.raises(UsageError, match="whole number, at least 1, not True") as caught:
        MatchRule(2.0, True)
    assert "--" not in caught.value.hint
    assert type(MatchRule(2.0, np.int8(127)).n_neighbors) is int
    assert pickle.loads(pickle.dumps(MatchRule(2.0, None, 1.0))) == MatchRule(2.0, None, 1.0)


def test_order_keys_keep_large_integers():
    values = [2**53 + 1, 2**53, -5, 2**63 - 1]
    assert order_keys(pa.array(values, pa.int64())).tolist() == values
    assert order_keys(pa.array([2**64 - 1, 3], pa.uint64())).tolist() == [2**64 - 1, 3]
    assert order_keys(pa.chunked_array([["b", "a"], ["c", None]])).tolist() == [2, 1, 3, 4]
    assert np.argsort(order_keys(pa.array([2**53 + 1, None, 2**53], pa.int64()))).tolist() == [2, 0, 1]


def test_tie_keys_fall_back_to_positions():
    ra, dec = np.array([2.0, 1.0]), np.array([0.0, 5.0])
    assert [key.tolist() for key in tie_keys(None, ra, dec)] == [[2.0, 1.0], [0.0, 5.0]]
    assert tie_keys(pa.array([7, 3]), ra, dec)[0].tolist() == [7, 3]
