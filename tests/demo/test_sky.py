from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.oracle import ARCSEC, xyz
from xmatch_hats.catalogs.definition import load_definition
from xmatch_hats.catalogs.selfcheck import SelfChecker
from xmatch_hats.demo.letters import designations, text_array
from xmatch_hats.demo.sky import WHOLE_SKY, SkyBox, make_sky, offset_positions
from xmatch_hats.errors import UsageError

BOX = SkyBox(355.0, 2.5, 17.0, 24.0)


@pytest.fixture(scope="module")
def sky() -> pa.Table:
    return make_sky(40_000, seed=3, box=BOX)


def floats(table, name):
    return table[name].to_numpy()


def test_it_has_the_definition_s_default_columns(sky):
    definition = load_definition("allwise")
    assert sky.column_names == list(definition.default_columns)
    for field in sky.schema:
        assert field.equals(definition.field(field.name), check_metadata=True)
    assert sky.num_rows == 40_000


@pytest.mark.parametrize(
    "box", [BOX, WHOLE_SKY, SkyBox(0, 360, 89, 90), SkyBox(0, 360, -90, -89.5), SkyBox(359, 1, -1, 1)]
)
def test_it_passes_the_self_checks(box):
    checker = SelfChecker(load_definition("allwise"))
    sky = make_sky(20_000, seed=1, box=box)
    for batch in sky.to_batches():
        checker.check(batch)
    report = checker.finish("sky")
    assert {result.name: result.failed for result in report.results if result.failed} == {}
    assert box.contains(floats(sky, "ra"), floats(sky, "dec")).all()
    assert floats(sky, "ra").min() >= 0.0
    assert floats(sky, "ra").max() < 360.0


def test_the_seed_decides():
    first, same, other = (make_sky(500, seed=seed, box=BOX) for seed in (4, 4, 5))
    assert first.equals(same)
    assert not first.equals(other)


def test_identifiers_are_unique_and_no_float_holds_them(sky):
    cntr = floats(sky, "cntr")
    assert cntr.dtype == np.int64
    assert len(np.unique(cntr)) == len(cntr)
    assert cntr.min() > 2**53
    parts = [floats(make_sky(3000, seed=3, box=BOX, part=part), "cntr") for part in range(3)]
    assert len(np.unique(np.concatenate(parts))) == 9000


def test_photometry_is_of_a_piece(sky):
    for band, (name, error) in enumerate([("w1", 0), ("w2", 1), ("w3", 2), ("w4", 3)]):
        snr, sigma = floats(sky, f"{name}snr"), sky[f"{name}sigmpro"]
        letters = np.array([text[band] for text in sky["ph_qual"].to_pylist()])
        limit = sigma.is_null().to_numpy()
        assert (limit == (letters == "U")).all()
        assert snr[limit].max() <= 2.0
        assert snr[letters == "A"].min() >= 9.9
        expected = 1.0857 / np.where(limit, 1.0, snr)
        assert np.abs(np.where(limit, 0.0, sigma.fill_null(0).to_numpy() - expected)).max() < 0.02
        assert sky[f"{name}mpro"].null_count == 0
        assert error == band


def test_the_sky_is_like_the_sky(sky):
    w1 = floats(sky, "w1mpro")
    counts, _ = np.histogram(w1, np.arange(8.0, 17.5, 0.5))
    assert (np.diff(counts.astype(float))[4:-1] > 0).all()
    assert 0.2 < 1 - sky["j_m_2mass"].null_count / sky.num_rows < 0.45
    bright = pc.less(sky["w1mpro"], 13.0)
    assert sky.filter(bright)["j_m_2mass"].null_count == 0
    assert 0.75 < sky["w3sigmpro"].null_count / sky.num_rows < 0.95
    colour = floats(sky, "w1mpro") - floats(sky, "w2mpro")
    red = sky.filter(pa.array((colour > 0.8) & (w1 < 14)))
    assert 0 < red.num_rows < 0.05 * (w1 < 14).sum()
    assert abs(np.median(colour[w1 < 12]) + 0.03) < 0.03


def test_density_has_contrast(sky):
    x = (floats(sky, "ra") - BOX.ra_min) % 360.0
    counts, _, _ = np.histogram2d(x, floats(sky, "dec"), bins=(30, 28), range=((0, BOX.width), (17, 24)))
    median = np.median(counts)
    assert counts.max() > 5 * median
    assert counts.min() < median / 3


def test_designations_are_truncated():
    ra = np.array([42.8036248, 0.0, 359.9999999, 180.3098])
    dec = np.array([60.3806964, -0.0000001, -89.9999999, -3.67807])
    assert designations(ra, dec).to_pylist() == [
        "J025112.86+602250.5",
        "J000000.00-000000.0",
        "J235959.99-895959.9",
        "J120114.35-034041.0",
    ]


def test_designations_of_a_sky_have_their_form(sky):
    form = re.compile(r"J([01]\d|2[0-3])[0-5]\d[0-5]\d\.\d\d[+-]\d\d[0-5]\d[0-5]\d\.\d")
    assert all(form.fullmatch(name) for name in sky["designation"].to_pylist()[:2000])


def test_text_that_does_not_fit_is_refused():
    huge = np.broadcast_to(np.uint8(65), (2**28, 19))
    with pytest.raises(ValueError, match="in parts"):
        text_array(huge)


def test_offsets_are_exact_everywhere():
    rng = np.random.default_rng(1)
    ra = np.r_[0.0, 0.0, 359.9999999, 10.0, rng.uniform(0, 360, 200)]
    dec = np.r_[90.0, -90.0, 0.0, 89.99999, rng.uniform(-90, 90, 200)]
    distance = rng.uniform(0.01, 30.0, len(ra))
    new_ra, new_dec = offset_positions(ra, dec, distance, rng.uniform(0, 2 * np.pi, len(ra)))
    gap = np.linalg.norm(xyz(ra, dec) - xyz(new_ra, new_dec), axis=1) * ARCSEC
    np.testing.assert_allclose(gap, distance, rtol=1e-8)
    assert ((new_ra >= 0) & (new_ra < 360)).all()


@pytest.mark.parametrize("rows", [0, 1])
def test_skies_of_no_and_one_source(rows):
    assert make_sky(rows).num_rows == rows


@pytest.mark.parametrize(("rows", "part"), [(-1, 0), (1, 100), (1, -1)])
def test_numbers_that_make_no_sky(rows, part):
    with pytest.raises(UsageError):
        make_sky(rows, part=part)
