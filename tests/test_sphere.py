import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from xmatch_hats.sphere import (
    PositionFault,
    chord_of_arcsec,
    offsets_arcsec,
    position_faults,
    separation_arcsec,
    unit_vectors,
)


@pytest.mark.parametrize(
    ("ra", "dec", "fault"),
    [
        (0.0, 0.0, PositionFault.NONE),
        (-360.0, 90.0, PositionFault.NONE),
        (720.0, -90.0, PositionFault.NONE),
        (np.nan, 0.0, PositionFault.RA_NOT_FINITE),
        (np.inf, np.nan, PositionFault.RA_NOT_FINITE),
        (0.0, -np.inf, PositionFault.DEC_NOT_FINITE),
        (720.1, 0.0, PositionFault.RA_OUT_OF_RANGE),
        (-360.1, 95.0, PositionFault.RA_OUT_OF_RANGE),
        (0.0, 90.0000001, PositionFault.DEC_OUT_OF_RANGE),
    ],
)
def test_faults(ra, dec, fault):
    assert position_faults([ra], [dec]).tolist() == [fault]
    assert bool(fault.reason) == (fault != PositionFault.NONE)


def test_faults_of_nothing():
    assert position_faults([], []).shape == (0,)


def test_separations_equal_astropy_at_every_scale():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    dec[:4] = (90, -90, 0, 41.8103148957786)
    offset = 10.0 ** rng.uniform(-7, 1.5, 500)
    a = SkyCoord(ra, dec, unit="deg")
    b = a.directional_offset_by(
        rng.uniform(0, 360, 500) * np.pi / 180 * 57.29577951308232 * a.ra.unit, offset * a.ra.unit
    )
    ours = separation_arcsec(unit_vectors(ra, dec), unit_vectors(b.ra.deg, b.dec.deg))
    assert np.abs(ours - a.separation(b).arcsec).max() < 2e-9


@given(st.floats(-360, 360), st.floats(-90, 90))
def test_a_turn_changes_nothing(ra, dec):
    assert separation_arcsec(unit_vectors([ra], [dec]), unit_vectors([ra + 360.0], [dec]))[0] < 1e-8


def test_separation_of_antipodes_and_of_itself():
    a = unit_vectors([10.0, 10.0], [20.0, 20.0])
    b = unit_vectors([190.0, 10.0], [-20.0, 20.0])
    assert separation_arcsec(a, b) == pytest.approx([648000.0, 0.0], abs=1e-9)


def test_chord_agrees_with_separation():
    a, b = unit_vectors([0.0], [0.0]), unit_vectors([0.01], [0.0])
    assert chord_of_arcsec(36.0) == pytest.approx(float(np.linalg.norm(a - b)), rel=1e-12)
    assert chord_of_arcsec(1e9) == 2.0


@given(
    st.floats(0.0, 360.0),
    st.floats(-90.0, 90.0),
    st.floats(0.0, 360.0),
    st.floats(1e-6, 10.0),
)
def test_offsets_equal_astropys_projection(ra, dec, angle, arcsec):
    """Also at the poles and through RA 0, for offsets down to a microarcsecond."""
    here = SkyCoord(ra, dec, unit="deg")
    there = here.directional_offset_by(angle * u.deg, arcsec * u.arcsec)
    if abs(dec) >= 89.999:
        # There astropy arrives a little beside of where it was sent.
        arcsec = here.separation(there).arcsec
    east, north = offsets_arcsec(there.ra.deg, there.dec.deg, ra, dec)
    # Positions in degrees are right to some 1e-10 arcsec.
    assert np.hypot(east, north) == pytest.approx(arcsec, rel=1e-8, abs=1e-9)
    if abs(dec) < 89.999:
        turned = [arcsec * np.sin(np.radians(angle)), arcsec * np.cos(np.radians(angle))]
        assert [east, north] == pytest.approx(turned, rel=1e-6, abs=2e-9)


def test_offsets_end_where_their_plane_does():
    east, north = offsets_arcsec([90.0, 10.0], [0.0, 0.0], 0.0, 0.0)
    assert np.isnan([east[0], north[0]]).all()
    assert east[1] == pytest.approx(np.tan(np.radians(10.0)) * 206264.806)
