"""Charts are to scale, north up and east left, for every kind of packet and catalogue."""

from __future__ import annotations

import io
import itertools

import fastavro
import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from matplotlib import pyplot

from tests.alerts.makers import SMALL_SCHEMA, pack, small_alert
from tests.alerts.test_cutouts import as_fits, as_jpeg
from tests.plots.looking import labels, value_in, values_in
from xmatch_hats import plots
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.errors import PacketError, RadiusError, UsageError
from xmatch_hats.plots.charts import ZTF_PIXEL_ARCSEC
from xmatch_hats.sphere import offsets_arcsec

CUTOUT = {
    "type": "record", "name": "cutout",
    "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}],
}  # fmt: skip
SCHEMA = SMALL_SCHEMA | {
    "fields": [*SMALL_SCHEMA["fields"], {"name": "cutoutScience", "type": ["null", CUTOUT]},
               {"name": "cutoutTemplate", "type": ["null", "cutout"]}]
}  # fmt: skip
RA, DEC = 10.0, -5.0


def star(row, column, shape=(63, 63)):
    """An image with one bright pixel."""
    image = np.ones(shape)
    image[row, column] = 200.0
    return image


def alert(data, **more):
    held = None if data is None else {"fileName": "x", "stampData": data}
    return small_alert(7, ra=RA, dec=DEC, cutoutScience=held, cutoutTemplate=None) | more


def around(*offsets):
    """A catalogue with rows at offsets from the alert, arcsec: east and north."""
    centre = SkyCoord(RA, DEC, unit="deg")
    there = [centre.spherical_offsets_by(east * u.arcsec, north * u.arcsec) for east, north in offsets]
    return pd.DataFrame({"ra": [one.ra.deg for one in there], "dec": [one.dec.deg for one in there]}, dtype=float)


def marks(axes):
    """Offsets of the rows by what the legend calls them."""
    return {drawn.get_label(): np.asarray(drawn.get_offsets()) for drawn in axes.collections}


NEAR = around((0.3, 0.4), (3.0, 4.0), (-6.0, 2.0), (30.0, 0.0))


@pytest.mark.parametrize("encode", [as_fits, as_jpeg])
def test_north_is_up_and_east_is_left(encode):
    """The first row that is stored is the northernmost, its first pixel the easternmost."""
    axes = plots.finder(pack([alert(encode(star(5, 10)))], SCHEMA), NEAR, width=64.0)
    (picture,) = axes.get_images()
    east, north = (31 - 10) * ZTF_PIXEL_ARCSEC, (31 - 5) * ZTF_PIXEL_ARCSEC
    assert value_in(picture, east, north) > 150
    assert value_in(picture, -east, north) < 60
    left, low = axes.transData.transform((east, -north))
    right, high = axes.transData.transform((-east, north))
    assert left < right
    assert low < high
    assert axes.get_aspect() == 1.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ΔRA cos(Dec) (arcsec)", "ΔDec (arcsec)")


def test_the_alert_is_in_the_middle_pixel():
    for shape, middle in (((63, 63), (31, 31)), ((51, 51), (25, 25))):
        (picture,) = plots.finder(alert(as_fits(star(*middle, shape))), NEAR).get_images()
        for x, y in ((0.4, 0.4), (-0.4, -0.4)):
            assert value_in(picture, x, y) == 200.0


def test_rows_lie_to_scale_and_the_match_is_marked():
    axes = plots.finder(alert(as_fits(star(31, 31))), NEAR, 1.0, margin=10.0)
    found = marks(axes)
    assert found.keys() == {'match at 0.50"', "other rows: 2"}
    assert np.allclose(found['match at 0.50"'], [(0.3, 0.4)], atol=1e-6)
    assert np.allclose(found["other rows: 2"], [(3.0, 4.0), (-6.0, 2.0)], atol=1e-6)
    assert sorted(circle.radius for circle in axes.patches) == [1.0, 10.0]
    assert sorted(labels(axes)) == sorted(['match at 0.50"', "other rows: 2", 'radius 1"', 'margin 10"'])
    assert axes.get_xlim() == (15.0, -15.0)


def test_angles_may_be_quantities():
    bare = plots.finder(alert(None), NEAR, 1.0, margin=10.0, width=40.0)
    units = plots.finder(
        alert(None), NEAR, 1000 * u.mas, margin=10 / 60 * u.arcmin, width=40 * u.arcsec, pixel=1 * u.arcsec
    )
    assert labels(bare) == labels(units)
    assert bare.get_xlim() == units.get_xlim() == (20.0, -20.0)


def test_nothing_within_the_radius_is_no_match():
    axes = plots.finder(alert(None), NEAR, 0.4)
    assert list(marks(axes)) == ["other rows: 1"]
    assert 'shown to 4"' in labels(axes)


def test_an_empty_catalogue_and_an_empty_field():
    for catalog in (NEAR.iloc[:0], NEAR.iloc[3:]):
        axes = plots.finder(alert(None), catalog)
        assert marks(axes) == {}
        axes.figure.canvas.draw()


def test_packets_in_every_form(tmp_path):
    data = pack([alert(as_fits(star(31, 31)))], SCHEMA)
    (tmp_path / "packet.avro").write_bytes(data)
    packet = PacketReader().read(data)
    (record,) = fastavro.reader(io.BytesIO(data))
    forms = (data, tmp_path / "packet.avro", str(tmp_path / "packet.avro"), packet, packet.alerts[0], record)
    titles, pictures = set(), []
    for form in forms:
        axes = plots.finder(form, NEAR)
        titles.add(axes.get_title())
        pictures.append(axes.get_images()[0].get_array())
    assert titles == {"ZTF7, candid 7\nRA 10.00000°, Dec -5.00000°"}
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_one_of_many_alerts():
    data = pack([alert(None), alert(None, objectId="ZTF8")], SCHEMA, codec="deflate")
    assert plots.finder(data, NEAR, number=1).get_title().startswith("ZTF8")
    packet = PacketReader().read(data)
    with pytest.raises(UsageError, match="holds 2 alerts, and none of number 2"):
        plots.finder(packet, NEAR, number=2)
    with pytest.raises(UsageError, match=r"compressed packet does not hold its schema \(give the packet\)"):
        plots.finder(packet.alerts[1], NEAR)
    plain = PacketReader().read(pack([alert(None), alert(None, objectId="ZTF8")], SCHEMA))
    assert plots.finder(plain.alerts[1], NEAR).get_title().startswith("ZTF8")


@pytest.mark.parametrize(
    "position", [(RA, DEC), (RA * u.deg, DEC * u.deg), SkyCoord(RA, DEC, unit="deg"), [370.0, DEC]]
)
def test_a_position_alone(position):
    axes = plots.finder(position, NEAR)
    assert axes.get_images() == []
    assert axes.get_title() == "RA 10.00000°, Dec -5.00000°"
    assert 'match at 0.50"' in marks(axes)


def test_the_image_that_is_asked_for():
    assert plots.finder(alert(as_fits(star(1, 1))), NEAR, cutout="template").get_images() == []
    assert plots.finder(alert(as_fits(star(1, 1))), NEAR).get_legend().get_title().get_text() == "science image"
    with pytest.raises(UsageError, match=r"no cutout 'sci' \(choose from science, template, difference\)"):
        plots.finder(alert(None), NEAR, cutout="sci")


@pytest.mark.parametrize("image", [np.full((63, 63), np.nan), np.zeros((63, 63)), np.full((1, 1), 5.0)])
def test_images_without_contrast(image):
    plots.finder(alert(as_fits(image)), NEAR).figure.canvas.draw()


def test_pixels_that_the_detector_lacks_stay_empty():
    image = star(31, 31)
    image[:, :20] = np.nan
    (picture,) = plots.finder(alert(as_fits(image)), NEAR, width=60.0).get_images()
    # East, that is.
    assert np.ma.masked_invalid(values_in(picture, [25.0, -25.0], [0.0, 0.0])).mask.tolist() == [True, False]


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 90.0), (0.0, -89.9999), (359.99999, 0.0)])
def test_poles_and_ra_0(ra, dec):
    from tests.copies import patch_table

    table = patch_table(50, ra, dec, 9.0 / 3600, seed=3)
    (found,) = (
        places for name, places in marks(plots.finder((ra, dec), table, 0.01, margin=10.0)).items() if "other" in name
    )
    assert len(found) >= 49
    exact = np.transpose(offsets_arcsec(table["ra"], table["dec"], ra, dec))
    assert all(np.linalg.norm(exact - place, axis=1).min() < 1e-9 for place in found)


def test_copies_and_lsdb_catalogues(zero):
    axes = plots.finder((0.0, 0.0), zero, 5.0)
    lazy = plots.finder((0.0, 0.0), zero.open_lsdb(), 5.0)
    named = plots.finder((0.0, 0.0), zero.path, 5.0)
    assert f'margin {zero.margin_arcsec:g}"' in labels(axes)
    assert axes.get_legend().get_title().get_text() == "marks: zero"
    for other in (lazy, named):
        assert labels(other) == labels(axes)
        assert all(np.allclose(marks(axes)[name], places) for name, places in marks(other).items())


def test_a_second_list_is_drawn_as_dots_all_over_the_picture(zero):
    second = around((0.0, 0.2), (14.0, 14.0), (-14.0, 3.0), (16.0, 0.0))
    axes = plots.finder((RA, DEC), NEAR, 1.0, margin=10.0, others=second)
    found = marks(axes)
    assert found.keys() == {'match at 0.50"', "other rows: 2", "second list: 3"}
    assert np.allclose(found["second list: 3"], [(0.0, 0.2), (-14.0, 3.0), (14.0, 14.0)], atol=1e-6)
    assert "second list: 3" in labels(axes)
    named = marks(plots.finder((0.0, 0.0), NEAR, 5.0, width=400.0, others=zero))
    assert [name.partition(":")[0] for name in named] == ["zero"]
    assert marks(plots.finder((RA, DEC), NEAR.iloc[:0], others=second.iloc[3:])) == {}


def test_the_legend_counts_what_the_picture_shows():
    """Of three rows within the margin one is beyond the frame, and so is the circle of the margin."""
    axes = plots.finder((RA, DEC), NEAR, 1.0, margin=10.0, width=9.0, ranks=True)
    assert labels(axes) == ["position", "other rows: 1", 'match at 0.50"', 'radius 1"']
    assert np.allclose(marks(axes)["other rows: 1"], [(3.0, 4.0)], atol=1e-6)
    # Of this one the corners still show something.
    assert 'margin 10"' in labels(plots.finder((RA, DEC), NEAR, 1.0, margin=10.0, width=15.0))
    far = plots.finder((RA, DEC), NEAR.iloc[1:], 8.0, margin=8.0, width=6.0)
    assert labels(far) == ["position"]


def test_numbers_do_not_leave_the_frame():
    axes = plots.finder((RA, DEC), around((0.0, 14.9)), 1.0, margin=20.0, width=30.0, ranks=True)
    (number,) = axes.texts
    assert number.get_clip_on()
    assert number.get_clip_box() is not None


def test_rows_are_numbered_from_the_nearest():
    told = {
        text.get_text(): tuple(np.round(text.xy, 6))
        for text in plots.finder((RA, DEC), NEAR, 1.0, margin=10.0, ranks=True).texts
    }
    assert told == {"1": (0.3, 0.4), "2": (3.0, 4.0), "3": (-6.0, 2.0)}
    assert len(plots.finder((RA, DEC), NEAR).texts) == 0


def test_a_position_is_marked_where_no_image_shows_it():
    assert "position" in labels(plots.finder((RA, DEC), NEAR))
    assert "position" in labels(plots.finder(alert(None), NEAR))
    assert "position" not in labels(plots.finder(alert(as_fits(star(31, 31))), NEAR))


def test_given_axes():
    _, axes = pyplot.subplots(1, 2)
    assert plots.finder((RA, DEC), NEAR, ax=axes[1]) is axes[1]
    assert not axes[0].has_data()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (b"nonsense", PacketError, "not an Avro object container"),
        ("/nowhere/x.avro", PacketError, "/nowhere/x.avro: cannot be read: No such file"),
        ("J001122.33+445566.7", PacketError, "text is the name of a packet's file; a position is"),
        ((10.0, 95.0), UsageError, "no chart can be made: declination outside"),
        ((np.nan, 5.0), UsageError, "no chart can be made: right ascension is missing"),
        (([1.0, 2.0], [1.0, 2.0]), UsageError, "a chart is made for one position, not for 2"),
        ({"objectId": "x"}, UsageError, "the record has no position"),
        (5, UsageError, "no chart can be made for a int"),
    ],
)
def test_what_no_chart_is_made_for(given, error, message):
    with pytest.raises(error, match=message):
        plots.finder(given, NEAR)


@pytest.mark.parametrize("argument", ["radius", "margin", "width", "pixel"])
def test_angles_that_are_none(argument):
    with pytest.raises(RadiusError, match=f"the {argument} must be one angle above 0"):
        plots.finder((RA, DEC), NEAR, **{argument: 0.0})


def test_a_catalogue_that_is_none():
    with pytest.raises(UsageError, match="no neighbours can be found in a dict"):
        plots.finder((RA, DEC), {})


def test_real_packets_of_both_kinds(shared_data):
    """An alert is detected where it is: in the middle of its image."""
    jpeg = shared_data / "ztf_alerts" / "v1.3" / "121540793515135000.avro"
    native = shared_data / "alerce_oracle" / "alerts" / "820128985115015000.avro"
    for path, kind in ((jpeg, "difference image (JPEG)"), (native, "difference image")):
        axes = plots.finder(path, NEAR, cutout="difference")
        assert axes.get_legend().get_title().get_text() == kind
        (picture,) = axes.get_images()
        image = np.ma.filled(picture.get_array().astype(float), np.nan)
        strength = np.abs(image - np.nanmedian(image))
        x, y = (places.ravel() for places in np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]))
        middle = np.abs(values_in(picture, x, y) - np.nanmedian(image))
        assert middle.max() >= np.nanpercentile(strength, 99.0)


def test_images_of_near_alerts_show_one_sky(shared_data):
    """Images of two real alerts of one exposure, 39 pixels from each other, agree when positions lie on each other."""
    exposures = {}
    for path in sorted((shared_data / "ztf_alerts").rglob("*.avro")):
        with path.open("rb") as file:
            for record in fastavro.reader(file):
                held = record.get("cutoutScience")
                if held and held["stampData"].startswith(b"\x1f\x8b"):
                    exposures.setdefault(record["candidate"]["pid"], {})[record.get("candid")] = record
    checked = 0
    for exposure in exposures.values():
        for one, other in itertools.combinations(exposure.values(), 2):
            here, there = one["candidate"], other["candidate"]
            east, north = offsets_arcsec(there["ra"], there["dec"], here["ra"], here["dec"])
            if not 5.0 < max(abs(east), abs(north)) < 45.0:
                continue
            first, second = (plots.finder(alert, NEAR).get_images()[0] for alert in (one, other))
            assert _likeness(first, second, east, north) > 0.8
            # The other way round they have nothing in common.
            assert _likeness(first, second, east, -north) < 0.5
            assert _likeness(first, second, -east, north) < 0.5
            checked += 1
    assert checked


def _likeness(first, second, east, north):
    """Correlation of two images, of which the second lies that far from the first, at most a pixel beside."""
    x, y = (places.ravel() for places in np.meshgrid(np.arange(-31, 32.0), np.arange(-31, 32.0)))
    best = -1.0
    for dx, dy in itertools.product((-1.0, 0.0, 1.0), repeat=2):
        values = np.ma.masked_invalid(
            np.ma.stack((values_in(first, x + dx, y + dy), values_in(second, x - east, y - north)))
        )
        good = ~np.ma.getmaskarray(values).any(axis=0)
        best = max(best, float(np.corrcoef(values.data[:, good])[0, 1]))
    return best
