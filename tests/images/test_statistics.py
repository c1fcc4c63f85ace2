from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image

from tests.images.ldac import detections, write_ldac
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.images import selection_plots, statistics
from xmatch_hats.images.match_tables import MatchJob, match_tables
from xmatch_hats.images.moments import Mode, Moments
from xmatch_hats.images.statistics import StatisticsJob, StatisticsOutcome, write_statistics
from xmatch_hats.matching.targets import CatalogTarget


@pytest.fixture(scope="module")
def matched(stars, tmp_path_factory):
    """A matched table of 1,000 rows, some without a magnitude."""
    folder = tmp_path_factory.mktemp("matched")
    columns = detections(stars.table, n=1000)
    columns["MAG_AUTO"][::50] = 99.0
    path = write_ldac(folder / "s-254-286.fits", columns)
    catalog = CatalogTarget(stars.copy, name="stars", radius_arcsec=2.0)
    match_tables([path], catalog, MatchJob(folder, keep_unmatched=True))
    return folder / "cat_matched-254-286.fits"


def numbers_of(path) -> dict[str, float]:
    """What a file of numbers says, by what stands before the sign."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" = ", 1) for line in lines)}


def test_numbers_of_a_selection(matched, stars, tmp_path):
    job = StatisticsJob(tmp_path / "out", select="MAG_AUTO < 21 and status == 'matched'", colour=("MAG_AUTO", "ir"))
    (told,) = write_statistics([matched], replace(job, columns=("gmag",)))
    assert (told.outcome, told.file) == (StatisticsOutcome.WRITTEN, "stat-254-286.txt")
    text = (tmp_path / "out" / told.file).read_text()
    assert text.startswith("# Statistics\n# cat_matched-254-286.fits[2]\n# selection: MAG_AUTO < 21 and")
    assert "# matched with stars within 2.0 arcsec" in text
    found = numbers_of(tmp_path / "out" / told.file)
    data = Table.read(matched, hdu="MATCHED", format="fits")
    chosen = data[(data["MAG_AUTO"] < 21) & (np.char.strip(data["status"].astype(str)) == "matched")]
    assert found["Nb objects full cat"] == found["Nb objects before matching"] == 1000
    assert found["Nb selected"] == found["Nb selected matched"] == len(chosen) == told.selected > 100
    assert found["Nb objects outside coverage before selection"] == 0
    east = ((chosen["ra"] - chosen["X_WORLD"] + 180) % 360 - 180) * np.cos(np.radians(chosen["dec"])) * 3600
    oracle = {
        "MAG_AUTO (mag)": chosen["MAG_AUTO"],
        "gmag": chosen["gmag"].compressed(),
        "MAG_AUTO - ir (mag)": chosen["MAG_AUTO"] - chosen["ir"],
        "distance (arcsec)": chosen["distance"],
        "dRA cos(Dec) (arcsec)": east,
        "dDec (arcsec)": (chosen["dec"] - chosen["Y_WORLD"]) * 3600,
    }
    for name, values in oracle.items():
        values = np.asarray(values, dtype=float)
        assert found[f"Nb {name.partition(' (mag)')[0].partition(' (arcsec)')[0]}"] == len(values)
        assert found[f"Mean {name}"] == pytest.approx(values.mean(), rel=1e-4, abs=2e-4)
        assert found[f"Standard deviation {name}"] == pytest.approx(values.std(), rel=1e-4, abs=2e-4)
        assert found[f"Min {name}"] == pytest.approx(values.min(), rel=1e-4, abs=2e-4)
        assert found[f"Max {name}"] == pytest.approx(values.max(), rel=1e-4, abs=2e-4)
        assert values.min() <= found[f"Mode {name}"] <= values.max()
    assert told.numbers["MAG_AUTO"]["mean"] == found["Mean MAG_AUTO (mag)"]


def test_magnitudes_that_stand_for_none_do_not_count(matched, tmp_path):
    (told,) = write_statistics([matched], StatisticsJob(tmp_path, pictures=False))
    assert (told.selected, told.numbers["MAG_AUTO"]["number"], told.pictures) == (1000, 980, ())
    assert told.numbers["MAG_AUTO"]["high"] < 25
    assert [path.name for path in tmp_path.iterdir()] == ["stat-254-286.txt"]


@pytest.mark.parametrize("points", [20_000, 0])
def test_pictures(matched, tmp_path, monkeypatch, points):
    monkeypatch.setattr(selection_plots, "POINTS", points)
    drawn = {}
    monkeypatch.setattr(
        selection_plots.Pictures, "_png", lambda self, figure, axes: drawn.setdefault(axes, PNG(self, figure, axes))
    )
    (told,) = write_statistics([matched], StatisticsJob(tmp_path, colour=("MAG_AUTO", "gmag")))
    kinds = ["magnitudes", "map", "colours", "offsets"]
    assert list(told.pictures) == [f"stat_{kind}-254-286.png" for kind in kinds]
    for name in told.pictures:
        assert image.imread(tmp_path / name).shape[0] > 300
    magnitudes, sky, colours, offsets = drawn
    assert magnitudes.get_xlabel() == "MAG_AUTO (mag)"
    assert [text.get_text() for text in magnitudes.get_legend().get_texts()] == [
        "selected: 980", f"matched: {told.numbers['MAG_AUTO - gmag']['number'] + unseen(matched):,}"
    ]  # fmt: skip
    # East is on the left, and bright is on top.
    west, east = sky.wcs.world_to_pixel_values([150.0, 150.2], [-33.3, -33.3])[0]
    assert east < west
    assert colours.get_ylim()[0] > colours.get_ylim()[1]
    assert offsets.get_xlim()[0] > offsets.get_xlim()[1]
    assert "mean" in offsets.get_legend().get_texts()[0].get_text()
    again = [(tmp_path / name).read_bytes() for name in told.pictures]
    drawn.clear()
    write_statistics([matched], StatisticsJob(tmp_path, colour=("MAG_AUTO", "gmag"), overwrite=True))
    assert [(tmp_path / name).read_bytes() for name in told.pictures] == again


PNG = selection_plots.Pictures._png


def unseen(path) -> int:
    """Matched rows with a magnitude whose match has none."""
    data = Table.read(path, hdu="MATCHED", format="fits")
    matched = (np.char.strip(data["status"].astype(str)) == "matched") & (data["MAG_AUTO"] < 40)
    return int(np.ma.getmaskarray(data["gmag"])[matched].sum())


def test_pieces_make_no_difference(matched, tmp_path, monkeypatch):
    (whole,) = write_statistics([matched], StatisticsJob(tmp_path / "a"))
    monkeypatch.setattr(statistics, "CHUNK_BYTES", 10_000)
    (pieces,) = write_statistics([matched], StatisticsJob(tmp_path / "b"))
    assert pieces.selected == whole.selected
    for name, numbers in whole.numbers.items():
        assert pieces.numbers[name] == pytest.approx(numbers, rel=1e-9, abs=1e-12)


def test_nothing_selected(matched, tmp_path):
    (told,) = write_statistics([matched], StatisticsJob(tmp_path, select="MAG_AUTO < 0"))
    assert (told.outcome, told.selected, told.pictures) == (StatisticsOutcome.WRITTEN, 0, ())
    found = numbers_of(tmp_path / told.file)
    assert found["Nb MAG_AUTO"] == 0
    assert np.isnan(found["Mean MAG_AUTO (mag)"])


def test_a_table_that_was_not_matched(stars, tmp_path):
    path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=50))
    (told,) = write_statistics([path], StatisticsJob(tmp_path / "out"))
    assert list(told.numbers) == ["MAG_AUTO"]
    assert told.pictures == ("stat_magnitudes-1.png", "stat_map-1.png")
    assert "matched" not in (tmp_path / "out" / told.file).read_text()


def test_a_table_without_rows(stars, tmp_path):
    path = write_ldac(tmp_path / "s-1.fits", {name: v[:0] for name, v in detections(stars.table, n=4).items()})
    (told,) = write_statistics([path], StatisticsJob(tmp_path / "out"))
    assert (told.rows, told.selected, told.pictures) == (0, 0, ())


def test_the_colour_is_with_the_first_magnitude_of_the_catalogue(matched, tmp_path):
    with fits.open(matched) as hdus:
        hdus["MATCHED"].columns["ir"].unit = "mag"
        hdus.writeto(tmp_path / "c-1.fits")
    (told,) = write_statistics([tmp_path / "c-1.fits"], StatisticsJob(tmp_path / "out"))
    assert "MAG_AUTO - ir" in told.numbers


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"magnitude": "MAG_AUT"}, TableError, r"no column 'MAG_AUT' \(near names: MAG_AUTO"),
        ({"columns": ("VIGNET",)}, TableError, "the column VIGNET holds no single numbers"),
        ({"colour": ("MAG_AUTO", "zmag")}, TableError, "no column 'zmag'"),
        ({"select": "MAG_AUTO.mean() < 3"}, UsageError, "--select: a query cannot use mean"),
        ({"hdu": 9}, TableError, "HDU 9 does not exist"),
    ],
)
def test_what_cannot_be(matched, tmp_path, changes, kind, told):
    with pytest.raises(kind, match=told):
        write_statistics([matched], StatisticsJob(tmp_path / "out", **changes))
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_exist_and_tables_that_are_none(matched, tmp_path):
    (tmp_path / "none-1.fits").write_text("no table")
    paths = [tmp_path / "none-1.fits", matched]
    told = write_statistics(paths, StatisticsJob(tmp_path / "out", pictures=False))
    assert [made.outcome for made in told] == [StatisticsOutcome.FAILED, StatisticsOutcome.WRITTEN]
    (again,) = write_statistics([matched], StatisticsJob(tmp_path / "out", pictures=False))
    assert again.outcome == StatisticsOutcome.KEPT
    with pytest.raises(UsageError, match=r"has the number 254-286, as "):
        write_statistics([matched, tmp_path / "x-254-286.fits"], StatisticsJob(tmp_path / "out"))


class TestMoments:
    @given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=30), max_size=6))
    def test_as_of_all_at_once(self, parts):
        moments = Moments()
        for part in parts:
            moments.add(np.array([*part, np.nan, np.inf]))
        values = np.array([value for part in parts for value in part])
        assert moments.number == len(values)
        if not len(values):
            assert np.isnan([moments.mean, moments.deviation, moments.low]).all()
            return
        scale = max(1.0, float(np.abs(values).max()))
        assert moments.mean == pytest.approx(values.mean(), abs=1e-9 * scale)
        assert moments.deviation == pytest.approx(values.std(), abs=1e-7 * scale)
        assert (moments.low, moments.high) == (values.min(), values.max())

    @pytest.mark.parametrize("far", [[], [99.0] * 40])
    def test_the_mode_is_where_most_are(self, far):
        rng = np.random.default_rng(4)
        values = np.concatenate((rng.normal(20.5, 0.1, 3000), rng.uniform(15.0, 24.0, 3000), far))
        moments = Moments()
        moments.add(values)
        mode = Mode(moments)
        for part in np.array_split(values, 7):
            mode.add(part)
        assert mode.value() == pytest.approx(20.5, abs=0.06)

    def test_of_one_value_and_of_none(self):
        for values, expected in (([3.25] * 5, 3.25), ([7.0], 7.0), ([], np.nan)):
            moments = Moments()
            moments.add(np.array(values))
            mode = Mode(moments)
            mode.add(np.array(values))
            assert mode.value() == pytest.approx(expected, nan_ok=True)


def test_the_words_are_those_of_a_selection_step(matched, tmp_path):
    write_statistics([matched], StatisticsJob(tmp_path, pictures=False))
    lines = (tmp_path / "stat-254-286.txt").read_text().splitlines()
    assert lines[0] == "# Statistics"
    assert all(line.startswith("#") or re.fullmatch(r"\S.* = \S+", line) for line in lines)
