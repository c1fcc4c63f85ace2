"""Hypothesis strategies: positions that gather at poles, RA 0 and the borders of cells."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.matching.skies import ASIN_TWO_THIRDS

_EDGE_RA = [0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0, 360.0, 22.5, 11.25]
_EDGE_DEC = [90.0, -90.0, 0.0, ASIN_TWO_THIRDS, -ASIN_TWO_THIRDS, 30.0, -30.0, 66.44353569089876]

steps = st.integers(-40, 40).map(lambda n: n * 0.25 / 3600.0)
"""Quarters of an arcsecond, so that equal separations and separations at the radius itself happen."""

longitudes = st.one_of(st.sampled_from(_EDGE_RA), st.floats(0.0, 360.0, exclude_max=True))
latitudes = st.one_of(st.sampled_from(_EDGE_DEC), st.floats(-90.0, 90.0))


@st.composite
def patches(draw, max_left=12, max_right=25):
    """Two handfuls of positions around one spot: left ra, dec, right ra, dec, and right ids, shuffled."""
    ra0, dec0 = draw(longitudes), draw(latitudes)

    def side(size):
        offsets = draw(st.lists(st.tuples(steps, steps), min_size=0, max_size=size))
        shift = np.array(offsets, dtype=float).reshape(-1, 2)
        dec = np.clip(dec0 + shift[:, 1], -90.0, 90.0)
        # Near a pole, steps in right ascension go round it.
        scale = 1.0 if abs(dec0) < 89.0 else 3600.0
        return (ra0 + scale * shift[:, 0]) % 360.0, dec

    left, right = side(max_left), side(max_right)
    ids = draw(st.permutations(range(len(right[0]))))
    return left[0], left[1], right[0], right[1], np.array(ids, dtype=np.int64)


radii = st.sampled_from([0.25, 0.5, 1.0, 2.5, 10.0, 36.0])
neighbours = st.sampled_from([1, 2, 5, None])
minima = st.sampled_from([0.0, 0.0, 0.3])
