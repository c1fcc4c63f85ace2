from __future__ import annotations

import csv
import io
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits

from tests.copies import make_copy, patch_table
from tests.images.ldac import EPOCHS, detections, read_hdus, write_ldac
from tests.images.matched import RADIUS, brute, matched_of, nearest, statuses, target
from tests.images.skies import FIELDS
from xmatch_hats.errors import TableError
from xmatch_hats.images import match_answers, matched_files
from xmatch_hats.images import match_tables as match_tables_module
from xmatch_hats.images.match_tables import MatchJob, TableOutcome, match_tables
from xmatch_hats.tables.fits_stored import open_stored
from xmatch_hats.tables.metadata import make_field
from xmatch_hats.tables.read import open_table


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


class TestRows:
    def test_all_rows_and_what_became_of_them(self, part, stars, tmp_path):
        columns = detections(stars.table, n=300, size_deg=1.3)
        columns["X_WORLD"][[3, 8]], columns["Y_WORLD"][11] = np.nan, 99.0
        path = write_ldac(tmp_path / "s-1.fits", columns)
        job = MatchJob(tmp_path / "out", keep_unmatched=True)
        (told,) = match_tables([path], target(part, "gmag", "source_id", "name"), job)
        data = matched_of(tmp_path / "out" / told.file)
        assert data["NUMBER"].tolist() == list(range(1, 301))
        good = np.setdiff1d(np.arange(300), [3, 8, 11])
        i, j, separation = nearest(stars.table, {name: values[good] for name, values in columns.items()})
        expected = np.full(300, "unmatched", dtype=object)
        left = SkyCoord(columns["X_WORLD"][good], columns["Y_WORLD"][good], unit="deg")
        away = left.separation(SkyCoord(*FIELDS["plain"], unit="deg")).deg
        assert not (np.abs(away - 0.9) < RADIUS / 3600.0).any()
        expected[good[away > 0.9]] = "outside-coverage"
        i, j, separation = (values[away[i] < 0.9] for values in (i, j, separation))
        expected[good[i]] = "matched"
        expected[[3, 8, 11]] = "rejected"
        near = np.flatnonzero(np.abs(away - 0.9) < 0.03)
        # The recorded coverage may end a cell before the cone does.
        wrong = np.flatnonzero(np.array(statuses(data), dtype=object) != expected)
        assert set(wrong) <= set(good[near])
        assert {text: statuses(data).count(text) for text in set(statuses(data))} == {
            key.replace("_", "-"): number for key, number in told.counts.items() if key != "in" and number
        }
        assert min(told.counts.values()) > 0
        ids = data["source_id"].filled(-1)
        assert ids[good[i]].tolist() == j.tolist()
        assert (ids == -1).tolist() == (np.array(statuses(data)) != "matched").tolist()
        np.testing.assert_allclose(data["distance"][good[i]], separation, rtol=0, atol=1e-8)
        header = fits.getheader(tmp_path / "out" / told.file, "MATCHED")
        assert header["XMOUTSID"] == told.counts["outside_coverage"]
        assert header["XMREJECT"] == 3

    def test_without_them_the_sky_that_was_not_searched_is_told(self, part, stars, tmp_path):
        columns = detections(stars.table, n=50, size_deg=0.2)
        columns["Y_WORLD"] += 30.0
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (told,) = match_tables([path], target(part), MatchJob(tmp_path))
        assert (told.outcome, told.rows) == (TableOutcome.WRITTEN, 0)
        assert (told.counts["outside_coverage"], told.counts["unmatched"]) == (50, 0)
        with fits.open(tmp_path / told.file) as made:
            assert len(made["MATCHED"].data) == 0
            assert "gmag" in made["MATCHED"].columns.names
            assert (made["MATCHED"].header["XMOUTSID"], made["MATCHED"].header["XMCOVER"]) == (50, part.coverage.kind)
            assert len(made["EPOCH_0"].data) == 50

    def test_a_copy_without_recorded_coverage(self, unrecorded, stars, tmp_path):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=40))
        (told,) = match_tables([path], target(unrecorded), MatchJob(tmp_path))
        assert told.rows >= 20
        assert fits.getheader(tmp_path / told.file, "MATCHED")["XMCOVER"] == "not recorded, estimated"

    @pytest.mark.parametrize("keep", [False, True])
    @pytest.mark.parametrize("n", [0, 1, 2])
    def test_few_rows(self, stars, tmp_path, n, keep):
        columns = {name: values[:n] for name, values in detections(stars.table, n=100).items()}
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path, keep_unmatched=keep))
        data = matched_of(tmp_path / told.file)
        assert len(data) == told.rows == (n if keep else len(nearest(stars.table, columns)[0]))
        assert told.counts["in"] == n
        names = data.colnames
        assert names[:3] == ["NUMBER", "FLAGS", "X_WORLD"]
        assert names[-2:] == (["distance", "status"] if keep else ["_row", "distance"])

    @pytest.mark.parametrize("keep", [False, True])
    def test_nothing_matches(self, stars, tmp_path, keep):
        columns = detections(stars.table, n=30)
        columns["Y_WORLD"] = np.full(30, 20.0)
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path, keep_unmatched=keep))
        assert (told.outcome, told.rows, told.counts["unmatched"]) == (TableOutcome.WRITTEN, 30 * keep, 30)
        data = matched_of(tmp_path / told.file)
        assert len(data) == 30 * keep
        assert not keep or set(statuses(data)) == {"unmatched"}
        assert not keep or np.ma.getmaskarray(data["distance"]).all()

    def test_nothing_but_what_has_no_position(self, stars, tmp_path):
        columns = detections(stars.table, n=5)
        columns["X_WORLD"] = np.full(5, np.nan)
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path, keep_unmatched=True))
        assert (told.rows, told.counts["rejected"]) == (5, 5)
        assert set(statuses(matched_of(tmp_path / told.file))) == {"rejected"}

    @pytest.mark.parametrize("keep", [False, True])
    def test_all_pairs(self, stars, tmp_path, keep):
        columns = detections(stars.table, n=120)
        for values in columns.values():
            values[60:] = values[:60]
        path = write_ldac(tmp_path / "s-1.fits", columns)
        job = MatchJob(tmp_path, every=True, keep_unmatched=keep)
        (told,) = match_tables([path], target(stars.copy, "source_id", radius=9.9), job)
        data = matched_of(tmp_path / told.file)
        i, j, separation = brute(stars.table, columns, 9.9)
        assert len(i) >= len(set(i)) > 40
        found = data if not keep else data[np.array(statuses(data)) == "matched"]
        assert (found["NUMBER"] - 1).tolist() == i.tolist()
        assert found["source_id"].tolist() == j.tolist()
        np.testing.assert_allclose(found["distance"], separation, rtol=0, atol=1e-8)
        assert found["rank"].tolist() == [int((i[: at + 1] == row).sum()) for at, row in enumerate(i)]
        assert told.rows == len(data) == len(i) + (120 - len(set(i))) * keep
        assert fits.getheader(tmp_path / told.file, "MATCHED")["XMPAIRS"] == "all"

    def test_all_pairs_of_rows_that_are_there_twice(self, tmp_path):
        patch = patch_table(200, *FIELDS["zero"], 0.3, seed=4)
        table = pa.concat_tables([patch, patch]).set_column(2, "source_id", pa.array(np.arange(400)))
        copy = make_copy(table, tmp_path / "twice", coverage="all-sky")
        columns = {"X_WORLD": patch["ra"].to_numpy(), "Y_WORLD": patch["dec"].to_numpy(), "MAG_AUTO": np.zeros(200)}
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (told,) = match_tables([path], target(copy, "source_id", radius=1e-3), MatchJob(tmp_path, every=True))
        data = matched_of(tmp_path / told.file)
        assert data["NUMBER"].tolist() == np.repeat(np.arange(1, 201), 2).tolist()
        assert data["source_id"].tolist() == [number for row in range(200) for number in (row, row + 200)]
        assert data["rank"].tolist() == [1, 2] * 200
        assert (data["distance"] == 0.0).all()
        (told,) = match_tables([path], target(copy, "source_id", radius=1e-3), MatchJob(tmp_path / "one"))
        assert matched_of(tmp_path / "one" / told.file)["source_id"].tolist() == list(range(200))

    def test_pieces_make_no_difference(self, stars, tmp_path, monkeypatch):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=500))
        for every, keep in ((False, False), (True, True)):
            job = MatchJob(tmp_path / "whole", every=every, keep_unmatched=keep, overwrite=True)
            (whole,) = match_tables([path], target(stars.copy), job)
            with monkeypatch.context() as changed:
                changed.setattr(match_tables_module, "CHUNK_ROWS", 37)
                changed.setattr(match_tables_module, "CHUNK_ROWS_ALL", 41)
                changed.setattr(matched_files, "PIECE_BYTES", 7_000)
                changed.setattr(match_answers, "IN_MEMORY", 1)
                job = replace(job, out=tmp_path / "pieces", cache_bytes=0)
                (pieces,) = match_tables([path], target(stars.copy), job)
            assert pieces.counts == whole.counts
            assert (tmp_path / "pieces" / pieces.file).read_bytes() == (tmp_path / "whole" / whole.file).read_bytes()


class TestColumns:
    def test_names_that_both_have_are_told_apart_in_any_case(self, stars, tmp_path):
        more = [
            fits.Column("GMAG", "1E", array=np.arange(60.0)),
            fits.Column("ir_stars", "1E", array=np.arange(60.0)),
            fits.Column("Distance", "1D", array=np.arange(60.0)),
            fits.Column("IR", "1E", array=np.arange(60.0)),
        ]
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=60), more=more)
        (told,) = match_tables([path], target(stars.copy, "gmag", "ir", "ra"), MatchJob(tmp_path))
        data = matched_of(tmp_path / told.file)
        assert data.colnames[-8:] == [
            "GMAG", "ir_stars", "Distance", "IR", "gmag_stars", "ir_stars_stars", "ra", "distance_stars"
        ]  # fmt: skip
        for name in ("GMAG", "Distance", "IR"):
            assert data[name].tolist() == (data["NUMBER"] - 1.0).tolist()
        assert (data["distance_stars"] <= RADIUS).all()
        header = fits.getheader(tmp_path / told.file, "MATCHED")
        assert (header["XMDIST"], header["XMCATRA"], header["XMCATDEC"]) == ("distance_stars", "ra", "")

    def test_one_match_after_another(self, stars, part, tmp_path):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=60))
        (first,) = match_tables([path], target(stars.copy, "gmag"), MatchJob(tmp_path / "a"))
        again = target(part, "gmag", name="part")
        (second,) = match_tables([tmp_path / "a" / first.file], again, MatchJob(tmp_path / "b"))
        with fits.open(tmp_path / "b" / second.file) as made:
            assert [hdu.name for hdu in made][:3] == ["PRIMARY", "LDAC_IMHEAD", "MATCHED"]
            data = made["MATCHED"].data
            assert made["MATCHED"].columns.names[-4:] == ["gmag", "distance", "gmag_part", "distance_part"]
            np.testing.assert_array_equal(data["gmag"], data["gmag_part"])
            np.testing.assert_array_equal(data["distance"], data["distance_part"])
            header = made["MATCHED"].header
            assert (header["XMCATLOG"], header.count("XMCATLOG")) == ("part", 1)
            history = " ".join(header["HISTORY"])
            assert history.index("made for a test") < history.index("of stars within") < history.index("of part within")
        assert second.rows == first.rows

    def test_the_next_match_is_of_the_same_positions(self, stars, tmp_path):
        columns = detections(stars.table, n=200)
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (first,) = match_tables([path], target(stars.copy, "ra", "dec"), MatchJob(tmp_path / "a"))
        again = target(stars.copy, "source_id", name="two", radius=0.3)
        (second,) = match_tables([tmp_path / "a" / first.file], again, MatchJob(tmp_path / "b"))
        i, j, separation = nearest(stars.table, columns, 0.3)
        data = matched_of(tmp_path / "b" / second.file)
        assert data["NUMBER"].tolist() == (i + 1).tolist()
        assert data["source_id"].tolist() == j.tolist()
        np.testing.assert_allclose(data["distance_two"], separation, rtol=0, atol=1e-8)
        assert fits.getheader(tmp_path / "b" / second.file, "MATCHED")["XMRA"] == "X_WORLD"
        with fits.open(tmp_path / "a" / first.file, mode="update") as hdus:
            hdus["MATCHED"].columns.del_col("X_WORLD")
        with pytest.raises(TableError, match=r"cat_matched-1.fits\[2\]: no column 'X_WORLD'"):
            match_tables([tmp_path / "a" / first.file], again, MatchJob(tmp_path / "c"))

    def test_cards_of_columns_that_are_no_more_describe_none_of_the_catalogue(self, stars, tmp_path):
        path = write_ldac(tmp_path / "s-1.fits", detections(stars.table, n=20))
        with fits.open(path, mode="update") as hdus:
            header = hdus["LDAC_OBJECTS"].header
            last = header["TFIELDS"]
            header[f"TTYPE{last + 1}"], header[f"TUNIT{last + 2}"] = "old " * 30, "kg"
            header[f"TNULL{last + 2}"], header[f"TDIM{last + 9}"], header["TILE254"] = -99, "(2,3)", "mine"
        (told,) = match_tables([path], target(stars.copy, "source_id", "gmag"), MatchJob(tmp_path))
        with fits.open(tmp_path / told.file) as made:
            columns, header = made["MATCHED"].columns, made["MATCHED"].header
            assert columns.names[last:] == ["source_id", "gmag", "distance"]
            assert columns["gmag"].unit is None
            assert not {f"TNULL{last + 2}", f"TDIM{last + 9}", "CONTINUE"} & set(header)
            assert header["TILE254"] == "mine"

    def test_columns_of_the_catalogue_keep_their_types_units_and_gaps(self, tmp_path):
        rng = np.random.default_rng(2)
        ra, dec = rng.uniform(10.0, 10.2, 200), rng.uniform(-5.1, -4.9, 200)
        gap = [k % 3 == 0 for k in range(200)]
        kinds = {
            "b": pa.array(np.arange(200) % 2 == 0, mask=np.array(gap)),
            "i8": pa.array((np.arange(200) - 100).astype("i1"), mask=np.array(gap)),
            "u1": pa.array(np.arange(200).astype("u1"), mask=np.array(gap)),
            "i4": pa.array(np.arange(200).astype("i4")),
            "i64": pa.array(np.arange(200) + 2**62, mask=np.array(gap)),
            "f4": pa.array(np.arange(200).astype("f4"), mask=np.array(gap)),
            "text": pa.array([None if missing else "x" * (k % 9) for k, missing in enumerate(gap)]),
        }
        table = pa.table({"ra": ra, "dec": dec} | kinds)
        units = {"f4": make_field("f4", pa.float32(), unit="mag", ucd="phot.mag", description="A magnitude")}
        table = table.cast(pa.schema([units.get(field.name, field) for field in table.schema]))
        copy = make_copy(table, tmp_path / "kinds", coverage="all-sky")
        columns = {"X_WORLD": ra, "Y_WORLD": dec, "MAG_AUTO": ra}
        path = write_ldac(tmp_path / "s-1.fits", columns)
        (told,) = match_tables([path], target(copy, *kinds, name="kinds"), MatchJob(tmp_path))
        assert told.rows == 200
        found = open_stored(tmp_path / told.file)
        records = found.records(0, 200)
        data = matched_of(tmp_path / told.file)
        for name, values in kinds.items():
            expected = [None if value == "" else value for value in values.to_pylist()]
            assert found.columns[name].convert(records).to_pylist() == expected, name
            if name not in ("b", "text"):
                assert data[name].tolist() == expected, name
        with pytest.raises(TableError, match="BITS holds bits"):
            open_table(tmp_path / told.file).read()
        assert data["f4"].unit == u.mag
        assert fits.getheader(tmp_path / told.file, "MATCHED")["TCOMM16"] == "A magnitude"

    def test_arrays_of_varying_length_and_complex_numbers(self, stars, tmp_path):
        columns = detections(stars.table, n=40)
        varying = np.array([np.arange(k % 5, dtype="f4") for k in range(40)], dtype=object)
        more = [
            fits.Column("VAR", "PE()", array=varying),
            fits.Column("Z", "2M", array=np.arange(80.0).reshape(40, 2) * 1j),
        ]
        path = write_ldac(tmp_path / "s-1.fits", columns, more=more)
        (told,) = match_tables([path], target(stars.copy), MatchJob(tmp_path))
        i, _, _ = nearest(stars.table, columns)
        with fits.open(tmp_path / told.file) as made:
            data = made["MATCHED"].data
            assert [list(values) for values in data["VAR"]] == [list(varying[row]) for row in i]
            np.testing.assert_array_equal(data["Z"], np.arange(80.0).reshape(40, 2)[i] * 1j)
            assert len(made["EPOCH_2"].data) == 40

    def test_what_fits_has_no_place_for_is_told(self, tmp_path):
        table = pa.table({"ra": [10.0], "dec": [5.0], "name": ["é Ori"]})
        copy = make_copy(table, tmp_path / "odd", coverage="all-sky")
        path = write_ldac(tmp_path / "s-1.fits", {"X_WORLD": [10.0], "Y_WORLD": [5.0], "MAG_AUTO": [1.0]})
        with pytest.raises(TableError, match=r"text that is not ASCII.*naming others with --columns"):
            match_tables([path], target(copy), MatchJob(tmp_path / "out"))
        assert list((tmp_path / "out").iterdir()) == []
        assert match_tables([path], target(copy, "ra"), MatchJob(tmp_path / "out"))[0].rows == 1


@pytest.mark.skipif(shutil.which("stilts") is None, reason="STILTS is not installed")
@pytest.mark.parametrize("keep", [False, True])
def test_stilts_reads_it(stars, tmp_path, keep):
    columns = detections(stars.table, n=200)
    path = write_ldac(tmp_path / "s-1.fits", columns)
    job = MatchJob(tmp_path, keep_unmatched=keep)
    (told,) = match_tables([path], target(stars.copy, "source_id", "gmag", "name"), job)
    words = ["stilts", "tpipe", f"in={tmp_path / told.file}#MATCHED", "ifmt=fits", "ofmt=csv"]
    words += ["cmd=keepcols 'NUMBER FLAGS MAG_AUTO FLUX_APER source_id gmag name distance'"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    i, j, separation = nearest(stars.table, columns)
    assert len(rows) == told.rows == (200 if keep else len(i))
    found = [row for row in rows if row["source_id"]]
    assert [int(row["NUMBER"]) - 1 for row in found] == i.tolist()
    assert [int(row["source_id"]) for row in found] == j.tolist()
    assert [row["name"] for row in found] == [f"s{k}" for k in j]
    np.testing.assert_allclose([float(row["distance"]) for row in found], separation, rtol=0, atol=1e-8)
    assert all((row["FLAGS"] == "") == (int(row["NUMBER"]) % 4 == 0) for row in rows)
    gmag = [stars.table["gmag"][int(k)].as_py() for k in j]
    assert [float(row["gmag"]) if row["gmag"] else None for row in found] == gmag
    with fits.open(path) as given:
        flux = given["LDAC_OBJECTS"].data["FLUX_APER"]
    for row in rows[:20]:
        values = [float(value) for value in row["FLUX_APER"].strip("()").split(",")]
        np.testing.assert_allclose(values, flux[int(row["NUMBER"]) - 1], rtol=1e-6)
