"""Pictures are drawn of what there is, and say what they do not show."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.image import imread

from xmatch_hats.bulk.report.outputs import Target
from xmatch_hats.bulk.report.pictures import draw_pictures
from xmatch_hats.bulk.report.scan import MatchTally
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.plots.chance import Density
from xmatch_hats.plots.tallies import Cloud, Histogram


def tally(separations=()):
    made = MatchTally(Target("stars", 2.0), Histogram(0.0, 2.0, 1200))
    made.separation.add(np.array(separations, dtype=float))
    return made


def test_of_nothing_there_is_nothing():
    assert list(draw_pictures(tally(), None, "why")) == []


def test_what_is_expected_is_left_out_with_the_reason():
    (picture,) = draw_pictures(tally([0.1, 0.2, 1.9]), None, "the catalogue is gone")
    assert picture.name == "separation_stars"
    assert "expected by chance is not shown: the catalogue is gone" in picture.caption
    assert imread(io.BytesIO(picture.data)).shape[2] in (3, 4)


def test_names_of_catalogues_may_hold_anything():
    made = tally([0.1])
    made.target = Target("II/328 $\\alpha$")
    (picture,) = draw_pictures(made, None, "none is known")
    assert picture.name == "separation_II_328___alpha_"
    assert picture.title == "Separation of matches with II/328 $\\alpha$"


def test_only_inputs_outside_of_the_coverage():
    made = tally()
    made.sky.add(cells_of([10.0], [20.0]), np.array([MatchStatus.OUTSIDE_COVERAGE]))
    (picture,) = draw_pictures(made, Density(0, np.zeros(12), ""), "")
    assert picture.name == "sky_matches_stars"


def test_the_cloud_shows_its_middle_and_counts_the_rest():
    made = tally([0.1])
    made.offsets = Cloud((-2.0, 2.0), (-2.0, 2.0), 400)
    rng = np.random.default_rng(1)
    made.offsets.add(np.append(rng.normal(0.1, 0.05, 1000), 1.9), np.append(rng.normal(-0.1, 0.05, 1000), 1.9))
    pictures = {picture.name: picture for picture in draw_pictures(made, None, "none is known")}
    caption = pictures["offsets_stars"].caption
    assert "of 1,001 pairs" in caption
    assert "ΔRA cos(Dec) +0.098" in caption
    assert "ΔDec -0.100" in caption
    assert caption.endswith("1 pairs lie beyond what is shown.")


def test_magnitudes_that_stand_for_none_are_left_out():
    made = tally([0.1])
    made.magnitudes = {"gmag": Histogram(-10.0, 40.0, 1000), "empty": Histogram(-10.0, 40.0, 1000)}
    made.magnitudes["gmag"].add(np.array([15.0, 16.0, -999.0, 99.0]))
    pictures = {picture.name: picture for picture in draw_pictures(made, None, "none is known")}
    assert pictures.keys() == {"separation_stars", "magnitudes_stars"}
    assert "2 values below -10 or above 40 mag are left out" in pictures["magnitudes_stars"].caption
