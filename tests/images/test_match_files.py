from __future__ import annotations

import errno
import gc
import gzip
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from tests.images.ldac import EPOCHS, detections, objects, read_hdus, write_ldac
from tests.images.matched import matched_of, nearest, target
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.errors import OutputError, PartitionReadError, TableError, UsageError
from xmatch_hats.images import matched_files
from xmatch_hats.images.fits_images import Naming
from xmatch_hats.images.match_tables import MatchJob, TableOutcome, match_tables


class TestTables:
    """Which table of a file is meant, and files that are none."""

    def test_a_final_catalogue(self, stars, tmp_path):
        columns = detections(stars.table, n=80)
        path = tmp_path / "final_cat.fits"
        image = fits.ImageHDU(np.zeros((3, 3)), name="EXTRA")
        fits.HDUList([fits.PrimaryHDU(np.ones((5, 5))), image, objects(columns, "RESULTS")]).writeto(path)
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path / "out"))
        assert told.file == "cat_matched.fits"
        with fits.open(tmp_path / "out" / told.file) as made:
            assert [hdu.name for hdu in made] == ["PRIMARY", "MATCHED"]
            assert made[0].header["EXTEND"]
            assert made[1].data["NUMBER"].tolist() == (nearest(stars.table, columns)[0] + 1).tolist()

    def test_results_are_preferred(self, stars, tmp_path):
        columns = detections(stars.table, n=80)
        other = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])], name="OTHER")
        path = tmp_path / "final_cat-3.fits"
        fits.HDUList([fits.PrimaryHDU(), other, objects(columns, "RESULTS")]).writeto(path)
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path / "out"))
        assert told.counts["in"] == 80
        with pytest.raises(TableError, match=r"final_cat-3.fits\[1\]: no coordinate columns"):
            match_tables([path], target(stars.copy), MatchJob(tmp_path / "new", hdu=1))

    def test_the_hdu_and_the_columns_that_are_named(self, stars, tmp_path):
        columns = detections(stars.table, n=80)
        far = {**columns, "Y_WORLD": np.full(80, 20.0)}
        path = tmp_path / "c-3.fits"
        plain = objects(columns, "SECOND")
        for name, new in (("X_WORLD", "alpha"), ("Y_WORLD", "delta")):
            plain.columns.change_name(name, new)
        fits.HDUList([fits.PrimaryHDU(), objects(far, "FIRST"), plain]).writeto(path)
        job = MatchJob(tmp_path / "out", hdu=2, ra="ALPHA", dec="Delta")
        (told,) = match_tables([path], target(stars.copy), job)
        assert told.rows == len(nearest(stars.table, columns)[0])
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path / "first"))
        assert told.rows == 0
        with pytest.raises(TableError, match=r"c-3.fits\[2\]: no column 'RA' \(the columns are: NUMBER"):
            match_tables([path], target(stars.copy), replace(job, ra="RA", overwrite=True))

    def test_of_several_lists_of_objects_one_must_be_named(self, stars, tmp_path):
        columns = detections(stars.table, n=20)
        path = write_ldac(tmp_path / "s-1.fits", columns)
        with fits.open(path) as hdus:
            fits.HDUList([*(hdu.copy() for hdu in hdus[:3]), *(hdu.copy() for hdu in hdus[1:3])]).writeto(
                tmp_path / "two-1.fits"
            )
        with pytest.raises(TableError, match="has 2 tables LDAC_OBJECTS, of HDUs 2 to 4"):
            match_tables([tmp_path / "two-1.fits"], target(stars.copy), MatchJob(tmp_path))
        match_tables([tmp_path / "two-1.fits"], target(stars.copy), MatchJob(tmp_path, hdu=4))
        hdus = read_hdus(tmp_path / "cat_matched-1.fits")
        assert [hdu.name for hdu in hdus] == ["", "LDAC_IMHEAD", "MATCHED"]

    def test_a_compressed_file(self, stars, tmp_path, monkeypatch):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=60))
        match_tables([path], target(stars.copy), MatchJob(tmp_path / "a"))
        (tmp_path / "s-1.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        match_tables([tmp_path / "s-1.fits.gz"], target(stars.copy), MatchJob(tmp_path / "b"))
        made = [(tmp_path / which / "cat_matched-1.fits").read_bytes() for which in "ab"]
        assert made[0] == made[1]
        (tmp_path / "s-2.fits.gz").write_bytes(gzip.compress(path.read_bytes())[:4000])
        with pytest.raises(TableError, match=r"s-2.fits.gz: not a whole compressed FITS file"):
            match_tables([tmp_path / "s-2.fits.gz"], target(stars.copy), MatchJob(tmp_path / "b"))
        gc.collect()
        assert list(scratch.iterdir()) == []

    @pytest.mark.parametrize("part", [0.0, 0.02, 0.1, 0.3, 0.4, 0.7, 0.9])
    def test_a_file_that_is_cut_short(self, stars, tmp_path, part):
        whole = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=60)).read_bytes()
        (tmp_path / "s-2.fits").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(TableError, match=r"cut short|not a whole FITS file|is empty or no FITS file"):
            match_tables([tmp_path / "s-2.fits"], target(stars.copy), MatchJob(tmp_path))

    def test_a_header_that_is_cut_short_is_not_left_out(self, stars, tmp_path):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=60))
        with fits.open(path) as hdus:
            place = hdus[4].fileinfo()["hdrLoc"]
        path.write_bytes(path.read_bytes()[: place + 800])
        with pytest.raises(TableError, match=r"the header of HDU 4 is broken or cut short|not a whole FITS file"):
            match_tables([path], target(stars.copy), MatchJob(tmp_path))

    def test_tables_that_are_not_copied_row_by_row(self, stars, tmp_path):
        text = [fits.Column("X_WORLD", "F12.7", array=[1.5], ascii=True)]
        fits.HDUList([fits.PrimaryHDU(), fits.TableHDU.from_columns(text)]).writeto(tmp_path / "a-1.fits")
        packed = objects(detections(stars.table, n=10))
        packed.header["ZTABLE"] = True
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(tmp_path / "z-1.fits")
        for name, problem in (("a-1.fits", "HDU 1 is a table of text"), ("z-1.fits", "HDU 1 is compressed by fpack")):
            with pytest.raises(TableError, match=problem):
                match_tables([tmp_path / name], target(stars.copy), MatchJob(tmp_path))

    def test_one_that_is_none_does_not_stop_the_others(self, stars, tmp_path):
        good = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=60))
        (tmp_path / "s-2.fits").write_text("this is no table")
        (tmp_path / "s-3.sqlite").write_bytes(b"SQLite format 3\x00 and more")
        paths = [tmp_path / "s-2.fits", tmp_path / "s-3.sqlite", tmp_path / "s-4.fits", good]
        told = match_tables(paths, target(stars.copy), MatchJob(tmp_path / "out"))
        assert [file.outcome for file in told] == [TableOutcome.FAILED] * 3 + [TableOutcome.WRITTEN]
        assert "hold pickles" in told[1].reason
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["cat_matched-1.fits"]


class TestFiles:
    def test_files_that_exist_are_kept(self, stars, tmp_path):
        paths = [write_ldac(tmp_path / f"s-{n}.fits", detections(stars.table, n=20, seed=n)) for n in (1, 2)]
        out = tmp_path / "out"
        out.mkdir()
        (out / "cat_matched-2.fits").write_text("mine")
        told = match_tables(paths, target(stars.copy), MatchJob(out))
        assert [file.outcome for file in told] == [TableOutcome.WRITTEN, TableOutcome.KEPT]
        assert (out / "cat_matched-2.fits").read_text() == "mine"
        told = match_tables(paths, target(stars.copy), MatchJob(out, overwrite=True))
        assert [file.outcome for file in told] == [TableOutcome.WRITTEN] * 2
        assert len(matched_of(out / "cat_matched-2.fits")) == told[1].rows

    def test_two_tables_never_make_one_file(self, stars, tmp_path):
        first = write_ldac(tmp_path / "a-1.fits", detections(stars.table, n=20))
        second = write_ldac(tmp_path / "b-1.fits", detections(stars.table, n=20))
        with pytest.raises(UsageError, match=r"b-1.fits: has the number 1, as .*a-1.fits has"):
            match_tables([first, second], target(stars.copy), MatchJob(tmp_path))
        with pytest.raises(UsageError, match=r"b.fits: has no number in its name, nor .*a.fits has"):
            match_tables([tmp_path / "a.fits", tmp_path / "b.fits"], target(stars.copy), MatchJob(tmp_path))
        with pytest.raises(UsageError, match="its file would replace it"):
            match_tables([first], target(stars.copy), MatchJob(tmp_path, naming=Naming("a"), overwrite=True))
        assert len(read_hdus(first)) == 3 + EPOCHS

    def test_whole_or_not_at_all(self, stars, tmp_path, monkeypatch):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=20))
        out = tmp_path / "out"
        match_tables([path], target(stars.copy), MatchJob(out))
        before = (out / "cat_matched-1.fits").read_bytes()

        def full(*_):
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr(matched_files, "records_of", full)
        with pytest.raises(OutputError, match=r"cat_matched-1.fits: cannot be written: No space left"):
            match_tables([path], target(stars.copy, radius=5.0), MatchJob(out, overwrite=True))
        assert [path.name for path in out.iterdir()] == ["cat_matched-1.fits"]
        assert (out / "cat_matched-1.fits").read_bytes() == before

    def test_a_damaged_partition_calls_nothing_unmatched(self, stars, tmp_path):
        shutil.copytree(stars.copy.path, tmp_path / "bad")
        shutil.rmtree(tmp_path / "bad" / "side_copy")
        for partition in (tmp_path / "bad").rglob("Npix=*.parquet"):
            partition.write_bytes(b"PAR1 no more")
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=20))
        with pytest.raises(PartitionReadError):
            match_tables([path], target(open_copy(tmp_path / "bad")), MatchJob(tmp_path / "out"))
        assert list((tmp_path / "out").iterdir()) == []
