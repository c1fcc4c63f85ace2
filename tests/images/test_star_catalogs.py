from __future__ import annotations

import shutil

import numpy as np
import pytest
from astropy.io import fits

from tests.images.reader import magnitude, read
from tests.images.skies import CCD, FIELDS, ccds, inside, tile_header, write_exposure, write_tile
from xmatch_hats.errors import ImageError, UsageError
from xmatch_hats.images import star_catalogs
from xmatch_hats.images.fits_images import Naming
from xmatch_hats.images.star_catalogs import Outcome, StarJob, write_star_catalogs
from xmatch_hats.images.star_choice import StarChoice

MAGNITUDES = {"Vmag": "gmag", "Nmag": "ir+2.5"}


def check(stars, path, header, size) -> int:
    """A file has every row that lies inside, once, and no other."""
    found = stars.ids(read(path.read_text()))
    surely, maybe = inside(stars.table, header, size)
    assert len(found) == len(set(found))
    assert surely <= set(found) <= maybe
    return len(found)


@pytest.mark.parametrize(("field", "kind"), [("zero", "SIP"), ("pole", "TPV"), ("near_pole", "SIP"), ("plain", "TPV")])
def test_every_row_in_a_ccd_is_in_its_file(stars, tmp_path, monkeypatch, field, kind):
    headers = ccds(field, kind)
    path = write_exposure(tmp_path / "2228303p.fits", headers)
    passes = []
    reading = star_catalogs.region_rows
    monkeypatch.setattr(star_catalogs, "region_rows", lambda *a: passes.append(a) or reading(*a))
    told = write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path / "out"))
    assert [file.file for file in told] == [f"star_cat-2228303-{n}.cat" for n in range(40)]
    assert {file.outcome for file in told} == {Outcome.WRITTEN}
    assert len(passes) == 1
    counts = [check(stars, tmp_path / "out" / file.file, one, CCD) for file, one in zip(told, headers, strict=True)]
    assert [file.rows for file in told] == counts
    assert sum(counts) > 300
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(file.file for file in told)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("kind", "angle"), [("TAN", 0.0), ("SIP", 131.0), ("TPV", -40.0)])
def test_every_row_in_a_tile_is_in_its_file(stars, tmp_path, field, kind, angle):
    header = tile_header(field, kind, angle)
    path = write_tile(tmp_path / "CFIS_image-254-286.fits", header)
    (told,) = write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path / "out"))
    assert told.file == "star_cat-254-286.cat"
    assert check(stars, tmp_path / "out" / told.file, header, (1500, 1300)) == told.rows > 300


def test_values_are_the_catalogues(stars, tmp_path):
    path = write_tile(tmp_path / "t-1.fits", tile_header("plain", "TAN", 10.0))
    choice = StarChoice.of(stars.copy, MAGNITUDES, "extended == 0", 18.0)
    (told,) = write_star_catalogs([path], choice, StarJob(tmp_path))
    rows = read((tmp_path / told.file).read_text())
    assert told.stars == sum(row["Clas"] == 0 for row in rows) < told.rows
    for row, number in zip(rows, stars.ids(rows), strict=True):
        gmag, ir, extended = (stars.table[name][number].as_py() for name in ("gmag", "ir", "extended"))
        assert row["Fmag"] is row["Jmag"] is None
        assert row["Vmag"] == (None if gmag is None else pytest.approx(gmag, abs=1e-4))
        assert row["Nmag"] == pytest.approx(ir + 2.5, abs=1e-4)
        assert row["Clas"] == (1 if extended else 0)
        assert magnitude(row) <= 18.0001
    assert any(row["Vmag"] is None for row in rows)


def test_no_star_is_a_file(stars, tmp_path):
    header = tile_header("plain", "TAN", 0.0)
    header["CRVAL2"] = 20.0
    (told,) = write_star_catalogs(
        [write_tile(tmp_path / "t-1.fits", header)], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path)
    )
    assert (told.outcome, told.rows) == (Outcome.WRITTEN, 0)
    assert read((tmp_path / told.file).read_text()) == []


class TestCoverage:
    def tile(self, tmp_path, offset):
        header = tile_header("plain", "TAN", 30.0)
        header["CRVAL2"] += offset
        return write_tile(tmp_path / "t-7.fits", header)

    @pytest.mark.parametrize(("offset", "covered"), [(0.0, True), (0.2, True), (0.6, False), (0.9, False), (5, False)])
    def test_only_what_lies_wholly_inside_has_a_file(self, part, tmp_path, offset, covered):
        path = self.tile(tmp_path, offset)
        (told,) = write_star_catalogs([path], StarChoice.of(part, MAGNITUDES), StarJob(tmp_path / "out"))
        assert told.outcome == (Outcome.WRITTEN if covered else Outcome.OUTSIDE)
        assert (tmp_path / "out" / "star_cat-7.cat").exists() is covered

    def test_a_part_is_written_where_it_may(self, part, tmp_path):
        choice = StarChoice.of(part, MAGNITUDES)
        (told,) = write_star_catalogs([self.tile(tmp_path, 0.9)], choice, StarJob(tmp_path, allow_partial=True))
        assert told.outcome == Outcome.PARTIAL
        text = (tmp_path / told.file).read_text()
        assert "PARTIAL" in text.split("\n")[2]
        assert len(read(text)) == told.rows > 0

    def test_a_copy_without_recorded_coverage_holds_no_image_for_sure(self, unrecorded, tmp_path):
        choice = StarChoice.of(unrecorded, MAGNITUDES)
        path = self.tile(tmp_path, 0.0)
        (told,) = write_star_catalogs([path], choice, StarJob(tmp_path / "out"))
        assert (told.outcome, told.file) == (Outcome.OUTSIDE, "")
        assert "has no recorded coverage, so stars may be missing" in told.reason
        assert list((tmp_path / "out").iterdir()) == []
        (told,) = write_star_catalogs([path], choice, StarJob(tmp_path / "out", allow_partial=True))
        assert told.outcome == Outcome.PARTIAL
        text = (tmp_path / "out" / told.file).read_text()
        assert "PARTIAL: the copy" in text.split("\n")[2]
        assert len(read(text)) == told.rows > 300

    def test_ccds_of_an_exposure_are_told_apart(self, part, tmp_path):
        headers = ccds("plain", "TAN")
        for one in headers:
            one["CRVAL1"] += 0.8
        path = write_exposure(tmp_path / "5.fits", headers)
        told = write_star_catalogs([path], StarChoice.of(part, MAGNITUDES), StarJob(tmp_path / "out"))
        outcomes = [file.outcome for file in told]
        assert 5 < outcomes.count(Outcome.WRITTEN) < 35
        assert outcomes.count(Outcome.WRITTEN) + outcomes.count(Outcome.OUTSIDE) == 40
        for file, one in zip(told, headers, strict=True):
            (ra,), (dec,) = (np.array([value]) for value in one_corner(one))
            if file.outcome is Outcome.WRITTEN:
                assert part.coverage.contains_discs([ra], [dec], 0.0).all()


def one_corner(header):
    from astropy.wcs import WCS

    return WCS(header).all_pix2world(0, 0, 0)


class TestFiles:
    def test_files_that_exist_are_kept(self, stars, tmp_path):
        path = write_exposure(tmp_path / "9.fits", ccds("plain", "TAN")[:3])
        out = tmp_path / "out"
        out.mkdir()
        (out / "star_cat-9-1.cat").write_text("mine")
        choice = StarChoice.of(stars.copy, MAGNITUDES)
        told = write_star_catalogs([path], choice, StarJob(out))
        assert [file.outcome for file in told] == [Outcome.WRITTEN, Outcome.KEPT, Outcome.WRITTEN]
        assert (out / "star_cat-9-1.cat").read_text() == "mine"
        write_star_catalogs([path], choice, StarJob(out, overwrite=True))
        assert read((out / "star_cat-9-1.cat").read_text())

    def test_compressed_images_say_the_same(self, stars, tmp_path):
        headers = ccds("zero", "SIP")[17:20]
        choice = StarChoice.of(stars.copy, MAGNITUDES)
        write_star_catalogs([write_exposure(tmp_path / "8.fits", headers)], choice, StarJob(tmp_path / "a"))
        path = write_exposure(tmp_path / "8.fits.fz", headers, compressed=True)
        told = write_star_catalogs([path], choice, StarJob(tmp_path / "b"))
        assert [file.file for file in told] == ["star_cat-8-0.cat", "star_cat-8-1.cat", "star_cat-8-2.cat"]
        for file in told:
            a, b = ((tmp_path / which / file.file).read_text().split("\n") for which in "ab")
            assert a[1:] == b[1:]

    def test_hdus_without_a_place_on_the_sky_are_told(self, stars, tmp_path):
        headers = ccds("plain", "TAN")[:3]
        for key in ("CTYPE1", "CTYPE2"):
            del headers[1][key]
        path = write_exposure(tmp_path / "9.fits", headers)
        told = write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path))
        # Numbers are those of the HDUs.
        assert [file.file for file in told] == ["star_cat-9-0.cat", "star_cat-9-2.cat", ""]
        assert told[2].outcome is Outcome.LEFT_OUT
        assert "has no celestial WCS" in told[2].reason

    def test_an_hdu_that_is_broken_is_a_failure_and_renames_no_other(self, stars, tmp_path):
        headers = ccds("plain", "SIP")[:2]
        headers[0]["A_ORDER"] = "three"
        path = write_exposure(tmp_path / "9.fits", headers)
        told = write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path))
        assert [(file.file, file.outcome) for file in told] == [
            ("star_cat-9-1.cat", Outcome.WRITTEN),
            ("", Outcome.UNREADABLE),
        ]
        assert "9.fits[1]: its WCS cannot be read" in told[1].reason
        # It would have been the tile.
        with pytest.raises(ImageError, match="its WCS cannot be read"):
            write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path, kind="tile"))

    @pytest.mark.parametrize("part", [0.3, 0.5, 0.98])
    @pytest.mark.parametrize("compressed", [False, True])
    def test_an_exposure_that_is_cut_short_loses_no_ccd_silently(self, stars, tmp_path, part, compressed):
        path = write_exposure(tmp_path / "9.fits", ccds("plain", "TAN")[:3], compressed=compressed)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ImageError, match=r"9.fits: is cut short|the header of HDU \d is broken or cut short"):
            write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path / "out"))
        assert list((tmp_path / "out").iterdir()) == []

    @pytest.mark.parametrize("kind", ["TAN", "SIP", "TPV"])
    def test_a_cube_lies_where_its_planes_do(self, stars, tmp_path, kind):
        header = tile_header("plain", kind, 20.0)
        plane = write_tile(tmp_path / "t-1.fits", header, (200, 150))
        header["CTYPE3"], header["CRVAL3"], header["CRPIX3"], header["CD3_3"] = "FREQ", 1e9, 1.0, 1e6
        fits.PrimaryHDU(np.zeros((1, 150, 200), np.uint8), header).writeto(tmp_path / "t-2.fits")
        told = write_star_catalogs(
            [tmp_path / "t-2.fits", plane], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path)
        )
        assert [file.outcome for file in told] == [Outcome.WRITTEN] * 2
        cube, flat = ((tmp_path / file.file).read_text().split("\n")[1:] for file in told)
        assert cube == flat

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"CTYPE1": "X", "CTYPE2": "Y"}, "has no celestial WCS"),
            ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}, "not in right ascension and declination at J2000"),
            ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "RA, FK4 1950, not in"),
            ({"CRVAL2": 120.0}, r"t-1.fits: no HDU of it tells .* lies: its WCS cannot be read: No valid solution"),
            ({"CRVAL1": "abc"}, "its WCS cannot be read: CRVAL1 is no number"),
            ({"CRPIX2": True}, "CRPIX2 is no number"),
            ({"CRVAL2": None}, "there is no CRVAL2"),
            ({"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0}, "matrix is singular"),
            (dict.fromkeys(("CD1_1", "CD1_2", "CD2_1", "CD2_2")), "there is no size of a pixel along axis 1"),
            ({"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4}, "no area on the sky"),
        ],
    )
    def test_a_file_without_any_is_an_error(self, stars, tmp_path, change, told):
        header = tile_header("plain", "TAN", 0.0)
        header.update(change)
        for key in (key for key, value in change.items() if value is None):
            del header[key]
        path = write_tile(tmp_path / "t-1.fits", header)
        with pytest.raises(ImageError, match=told):
            write_star_catalogs([path], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path / "out"))
        assert list((tmp_path / "out").iterdir()) == []

    def test_a_file_that_is_none_does_not_stop_the_others(self, stars, tmp_path):
        good = write_tile(tmp_path / "t-1.fits", tile_header("plain", "TAN", 0.0))
        (tmp_path / "t-2.fits").write_text("this is no image")
        choice = StarChoice.of(stars.copy, MAGNITUDES)
        told = write_star_catalogs([tmp_path / "t-2.fits", tmp_path / "t-3.fits", good], choice, StarJob(tmp_path))
        assert [file.outcome for file in told] == [Outcome.UNREADABLE, Outcome.UNREADABLE, Outcome.WRITTEN]
        assert "there is no such file" in told[1].reason

    def test_two_images_of_one_number_are_refused(self, stars, tmp_path):
        a = write_tile(tmp_path / "CFIS_image-1.fits", tile_header("plain", "TAN", 0.0))
        b = shutil.copy(a, tmp_path / "CFIS_weight-1.fits")
        with pytest.raises(UsageError, match=r"has the number 1, as .*CFIS_image-1.fits has"):
            write_star_catalogs([a, tmp_path / b], StarChoice.of(stars.copy, MAGNITUDES), StarJob(tmp_path))


@pytest.mark.parametrize(
    ("name", "pattern", "number"),
    [
        ("2228303p.fits", None, "-2228303"),
        ("2228303p.fits.fz", None, "-2228303"),
        ("2214439p.flag.fits", None, "-2214439"),
        ("image-2079614-9.fits", None, "-2079614-9"),
        ("CFIS_image-51.fits", None, "-51"),
        ("CFIS_image-254-286.fits", None, "-254-286"),
        ("field_0042_r2.fits", r"_(\d+)_", "-0042"),
        ("CFIS.254.286.r.fits", r"CFIS\.(\d+)\.(\d+)", "-254-286"),
        ("t-7.fits", r"(?:t-(\d+)|s(\d+))", "-7"),
    ],
)
def test_numbers(tmp_path, name, pattern, number):
    assert Naming(pattern=pattern).number(tmp_path / name) == number


@pytest.mark.parametrize("text", ["a b\n", "a\0", "a/b"])
def test_names_of_files_are_one_line(tmp_path, text):
    with pytest.raises(UsageError, match="the prefix of file names cannot hold"):
        Naming(text)
    with pytest.raises(UsageError, match="the number cannot hold"):
        Naming(pattern="(?s)(.+)").number(tmp_path / "t\n.fits")


@pytest.mark.parametrize("pattern", ["image", "(", r"image-(\d+)"])
def test_numbers_that_are_not_there(tmp_path, pattern):
    with pytest.raises(UsageError, match=r"no group|no regular expression|no number"):
        Naming(pattern=pattern).number(tmp_path / "r.fits")
