from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.images.reader import magnitude, read
from xmatch_hats.images.star_files import Stars, star_text

ANGLES = st.one_of(st.floats(-360.0, 720.0), st.sampled_from([0.0, 360.0, 359.9999999999, -1e-12, 1e-300]))
VALUES = st.one_of(st.floats(-30.0, 40.0), st.just(float("nan")), st.just(float("inf")))
ROW = st.tuples(ANGLES, st.floats(-90.0, 90.0), st.tuples(*[VALUES] * 4), st.integers(0, 1))


def stars_of(rows) -> Stars:
    ra, dec, magnitudes, clas = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Stars(
        np.array(ra), np.array(dec), np.array(magnitudes, dtype=float).reshape(-1, 4), np.array(clas, dtype=int)
    )


@given(st.lists(ROW, max_size=5), st.lists(st.text(max_size=500), max_size=3))
def test_no_row_is_lost_and_no_other_read(rows, free):
    stars = stars_of(rows)
    found = read(star_text(stars, free))
    assert len(found) == len(rows)
    for row, (ra, dec, magnitudes, clas), mean in zip(found, rows, stars.brightness, strict=True):
        assert 0.0 <= row["RA(J2000)"] < 360.0
        assert abs((row["RA(J2000)"] - ra + 180.0) % 360.0 - 180.0) < 1e-9
        assert row["Dec(J2000)"] == pytest.approx(dec, abs=1e-9)
        assert row["Clas"] == clas
        there = [value for value in magnitudes if np.isfinite(value)]
        assert [row[name] for name in ("Fmag", "Jmag", "Vmag", "Nmag") if row[name] is not None] == pytest.approx(
            there, abs=1e-4
        )
        assert magnitude(row) == pytest.approx(mean, abs=1e-4) if there else np.isnan(mean)


def test_a_star_catalogue_to_the_letter():
    stars = stars_of([(10.5, -5.25, (float("nan"), 12.0, 11.25, float("nan")), 0)])
    assert star_text(stars, ["made\tby\nhand"]) == (
        "# made by hand\n#\n#\nRA(J2000) Dec(J2000) Fmag Jmag Vmag Nmag Clas\n"
        "10.500000000 -5.250000000 --- 12.0000 11.2500 --- 0\n# end of the rows\n#\n#\n#\n#"
    )
