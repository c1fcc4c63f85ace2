from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.io import fits

from tests.images.ldac import EPOCHS, detections, read_hdus, write_ldac
from tests.images.skies import FIELDS
from xmatch_hats.images.match_tables import MatchJob, TableOutcome, match_tables
from xmatch_hats.matching.targets import CatalogTarget

RADIUS = 2.0


def target(copy, *columns, name="stars", radius=RADIUS):
    return CatalogTarget(copy, name=name, radius_arcsec=radius, columns=columns or None)


def brute(table, columns, radius=RADIUS):
    """All pairs by astropy: rows, rows of the catalogue, arcsec; the nearest of a row first."""
    left = SkyCoord(columns["X_WORLD"], columns["Y_WORLD"], unit="deg")
    right = SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")
    i, j, separation, _ = search_around_sky(left, right, radius * u.arcsec)
    order = np.lexsort((separation, i))
    return i[order], j[order], separation.arcsec[order]


def nearest(table, columns, radius=RADIUS):
    i, j, separation = brute(table, columns, radius)
    first = np.r_[True, i[1:] != i[:-1]] if len(i) else np.empty(0, bool)
    return i[first], j[first], separation[first]


@pytest.mark.parametrize("field", FIELDS)
def test_ldac_in_matched_out_equal_to_brute_force(stars, tmp_path, field):
    columns = detections(stars.table, field)
    path = write_ldac(tmp_path / "tile_sexcat-254-286.fits", columns)
    (told,) = match_tables([path], target(stars.copy, "source_id", "gmag", "name"), MatchJob(tmp_path / "out"))
    assert (told.outcome, told.file) == (TableOutcome.WRITTEN, "cat_matched-254-286.fits")
    i, j, separation = nearest(stars.table, columns)
    assert told.counts == {
        "in": 400, "matched": len(i), "unmatched": 400 - len(i), "outside_coverage": 0, "rejected": 0
    }  # fmt: skip
    assert 150 < len(i) == told.rows < 400
    with fits.open(tmp_path / "out" / told.file) as made, fits.open(path) as given:
        assert [hdu.name for hdu in made] == [
            "PRIMARY",
            "LDAC_IMHEAD",
            "MATCHED",
            *(f"EPOCH_{n}" for n in range(EPOCHS)),
        ]
        matched, objects = made["MATCHED"], given["LDAC_OBJECTS"]
        for name in objects.columns.names:
            np.testing.assert_array_equal(matched.data[name], objects.data[name][i])
            for what in ("format", "unit", "null", "disp", "dim", "bzero"):
                assert getattr(matched.columns[name], what) == getattr(objects.columns[name], what)
        assert matched.data["source_id"].tolist() == j.tolist()
        np.testing.assert_allclose(matched.data["distance"], separation, rtol=0, atol=1e-8)
        gmag = stars.table["gmag"].to_numpy(zero_copy_only=False)[j]
        np.testing.assert_array_equal(matched.data["gmag"], gmag)
        assert [name.strip() for name in matched.data["name"]] == [f"s{k}" for k in j]
        assert matched.columns["distance"].unit == "arcsec"
        assert matched.header["SEXVERS"] == "2.25.0"
        assert (matched.header["XMCATLOG"], matched.header["XMMATCH"]) == ("stars", len(i))
    made, given = read_hdus(tmp_path / "out" / told.file), read_hdus(path)
    assert [hdu.whole for hdu in made[:2] + made[3:]] == [hdu.whole for hdu in given[:2] + given[3:]]
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / told.file]
