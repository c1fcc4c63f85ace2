"""Self-checks: real rows pass, shifted columns are refused by name."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmatch_hats.catalogs._check_rows import failing_rows, parse_designations
from xmatch_hats.catalogs.definition import definition_for, load_definition
from xmatch_hats.catalogs.selfcheck import SelfChecker, SelfCheckReport
from xmatch_hats.errors import SelfCheckError
from xmatch_hats.sphere import separation_arcsec, unit_vectors
from xmatch_hats.tables.read import open_table

ROWS = 4000


@pytest.fixture(scope="module")
def allwise():
    return load_definition("allwise")


def designation(ra, dec):
    """The IAU's: digits cut off, not rounded; in whole units so that no float decides a digit."""
    centisec = np.floor(ra * 24000 + 1e-7).astype(int)
    tenths = np.floor(np.abs(dec) * 36000 + 1e-7).astype(int)
    return [
        f"J{c // 360000:02d}{c // 6000 % 60:02d}{c % 6000 / 100:05.2f}{'-' if s else '+'}"
        f"{t // 36000:02d}{t // 600 % 60:02d}{t % 600 / 10:04.1f}"
        for c, t, s in zip(centisec, tenths, dec < 0, strict=True)
    ]


@pytest.fixture(scope="module")
def sky(allwise):
    """All 298 columns of a made sky, each with values of its kind, gaps where the catalogue has them."""
    rng = np.random.default_rng(7)
    ra = np.round(rng.uniform(0, 360, ROWS), 7)
    dec = np.round(np.degrees(np.arcsin(rng.uniform(-1, 1, ROWS))), 7)
    columns = {}
    for column in allwise.bulk_columns:
        name, type_ = column.name, column.arrow_type
        if pa.types.is_string(type_):
            columns[name] = pa.array([f"w{i}" for i in range(ROWS)])
        elif pa.types.is_integer(type_):
            columns[name] = pa.array(rng.integers(0, 90, ROWS), type_)
        elif "sig" in name or name.endswith("err"):
            columns[name] = pa.array(rng.uniform(0.02, 0.5, ROWS))
        else:
            columns[name] = pa.array(rng.uniform(3, 18, ROWS))
    columns |= {"designation": pa.array(designation(ra, dec)), "ra": pa.array(ra), "dec": pa.array(dec)}
    columns |= dict(zip("xyz", (pa.array(c) for c in unit_vectors(ra, dec).T), strict=True))
    columns["cntr"] = pa.array(rng.integers(2**58, 2**60, ROWS))
    for flag, marks in (("cc_flags", "0dDhP"), ("var_flg", "0159n")):
        columns[flag] = pa.array(["".join(four) for four in rng.choice(list(marks), (ROWS, 4))])
    columns["ext_flg"] = pa.array(rng.integers(0, 6, ROWS), pa.int32())
    letters = rng.choice(list("ABCU"), (ROWS, 4))
    columns["ph_qual"] = pa.array(["".join(four) for four in letters])
    for band in range(4):
        name = f"w{band + 1}sigmpro"
        columns[name] = pa.array(columns[name].to_numpy(), mask=letters[:, band] == "U")
        frames = rng.integers(10, 40, ROWS)
        columns[f"w{band + 1}m"] = pa.array(frames, pa.int32())
        columns[f"w{band + 1}nm"] = pa.array(rng.integers(0, frames + 1), pa.int32())
    for name, other in (("w2mpro", "w1mpro"), ("h_m_2mass", "j_m_2mass"), ("k_m_2mass", "h_m_2mass")):
        columns[name] = pa.array(columns[other].to_numpy() - rng.uniform(-0.5, 1.0, ROWS))
    columns["r_2mass"] = pa.array(rng.uniform(0, 3, ROWS))
    without = rng.random(ROWS) < 0.7
    for name in [c.name for c in allwise.bulk_columns if c.name.endswith("_2mass")]:
        columns[name] = pa.array(columns[name].to_numpy(), columns[name].type, mask=without)
    return pa.table(columns)


def check(definition, table, batch_rows=999, place="made.csv"):
    checker = SelfChecker(definition)
    for batch in table.to_batches(max_chunksize=batch_rows):
        checker.check(batch)
    return checker.finish(place)


def shifted(table, first, steps=1):
    """Names from ``first`` on stand over the values of their neighbours; the last are lost, the first doubled."""
    at = table.schema.names.index(first)
    order = list(range(at)) + [min(max(i + steps, 0), table.num_columns - 1) for i in range(at, table.num_columns)]
    return pa.table([table.column(i) for i in order], names=table.schema.names)


class TestRealRows:
    @pytest.mark.parametrize(
        "name",
        [
            "w5_field/allwise_w5.tbl",
            "allwise_vizier_rows.csv",
            "allwise_vizier_patch.csv",
            "gcvs.parquet",
            "cds_oracle/answers.csv",
        ],
    )
    def test_they_pass(self, shared_data, name):
        source = open_table(shared_data / name)
        definition = definition_for(source.schema)
        checker = SelfChecker(definition)
        for batch in source.batches():
            checker.check(batch)
        report = checker.finish(source.path)
        assert report.failed == 0
        assert report.rows > 0
        assert {"designation", "magnitudes", "errors"} <= {r.name for r in report.results} or definition.name == "gcvs"

    @pytest.mark.parametrize("name", ["w5_field/allwise_w5.tbl", "allwise_vizier_patch.csv"])
    @pytest.mark.parametrize("steps", [1, -1])
    def test_shifted_they_do_not(self, shared_data, allwise, name, steps):
        table = open_table(shared_data / name).read()
        photometry = [
            n for n in table.schema.names if allwise.canonical_names(table.schema).get(n, "")[:2] in ("w1", "w2", "w3")
        ]
        for first in [*photometry[:6], table.schema.names[0], table.schema.names[1], table.schema.names[2]]:
            if steps == -1 and first == table.schema.names[0]:
                continue  # nothing stands before the first column
            with pytest.raises(SelfCheckError, match="self-check"):
                check(allwise, shifted(table, first, steps))

    def test_designations_are_cut_off(self, shared_data, allwise):
        for name in ("w5_field/allwise_w5.tbl", "allwise_vizier_rows.csv"):
            batches = open_table(shared_data / name).batches()
            table = pa.Table.from_batches([allwise.canonicalise(batch) for batch in batches])
            ra, dec = parse_designations(table["designation"].combine_chunks())
            past_ra = (table["ra"].to_numpy() - ra) * 240
            past_dec = (np.abs(table["dec"].to_numpy()) - np.abs(dec)) * 3600
            assert past_ra.min() > -1e-6
            assert past_ra.max() < 0.01
            assert past_dec.min() > -1e-6
            assert past_dec.max() < 0.1


class TestMadeSky:
    def test_it_passes(self, allwise, sky):
        report = check(allwise, sky)
        assert report.failed == 0
        assert report.rows == ROWS
        assert report.skipped == ()

    @pytest.mark.parametrize("steps", [1, -1])
    @pytest.mark.parametrize(
        "first",
        [
            "ra",
            "w1mpro",
            "w1sigmpro",
            "w2mpro",
            "w4sigmpro",
            "best_use_cntr",
            "w1flux",
            "tmass_key",
            "n_2mass",
            "j_m_2mass",
            "k_msig_2mass",
            "x",
            "y",
        ],
    )
    def test_every_shift_is_refused(self, allwise, sky, first, steps):
        with pytest.raises(SelfCheckError, match=r"made\.csv: self-check '[a-z-]+' fails in \d+ of 4000 rows"):
            check(allwise, shifted(sky, first, steps))

    def test_the_public_list_that_is_out_of_step(self, allwise, sky, shared_data):
        listed = pq.read_schema(shared_data / "allwise_columns" / "allwise_schema.parquet").names
        assert len(listed) == 299
        # Read by position, the 298 columns of a bulk file get the first 298 names of the 299.
        with pytest.raises(SelfCheckError, match="unit-vector"):
            check(allwise, sky.rename_columns(listed[:298]))

    def test_few_bad_rows_are_counted_and_listed(self, allwise, sky):
        values = sky["w3mpro"].to_pylist()
        values[1234] = 99.0
        table = sky.set_column(sky.schema.get_field_index("w3mpro"), "w3mpro", pa.array(values))
        report = check(allwise, table)
        (result,) = [r for r in report.results if r.failed]
        assert (result.name, result.failed, result.rows) == ("magnitudes", 1, ROWS)
        assert result.examples[0].row == 1234
        assert result.examples[0].values["w3mpro"] == "99.0"
        (sentence,) = report.sentences()
        assert sentence.startswith("self-check 'magnitudes' fails in 1 of 4000 rows (0.025 %), first row 1234")
        assert SelfCheckReport.model_validate_json(report.model_dump_json()) == report

    def test_the_bound_is_a_tenth_of_a_per_cent(self, allwise, sky):
        for bad, refused in ((4, False), (5, True)):
            values = sky["w2sigmpro"].to_pylist()
            for row in [i for i, value in enumerate(values) if value is not None][:bad]:
                values[row] = 2.5
            table = sky.set_column(sky.schema.get_field_index("w2sigmpro"), "w2sigmpro", pa.array(values))
            if refused:
                with pytest.raises(SelfCheckError, match="'errors' fails in 5 of 4000") as caught:
                    check(allwise, table)
                assert caught.value.value.results
            else:
                assert check(allwise, table).failed == bad

    def test_names_of_either_set_and_text_values(self, allwise, sky):
        names = ["designation", "ra", "dec", "w1mpro", "w1sigmpro"]
        table = sky.select(names).rename_columns([allwise.vizier_name(n) for n in names])
        assert check(allwise, table).failed == 0
        text = pa.table({n: c.cast(pa.string()) for n, c in zip(table.schema.names, table.columns, strict=True)})
        assert check(allwise, text).failed == 0
        words = table.set_column(3, "W1mag", pa.array(["AAAA"] * ROWS))
        with pytest.raises(SelfCheckError, match=r"'magnitudes'.*w1mpro=AAAA"):
            check(allwise, words)

    def test_checks_without_their_columns_are_skipped(self, allwise, sky):
        report = check(allwise, sky.select(["ra", "dec", "w1mpro"]))
        assert [result.name for result in report.results] == ["magnitudes"]
        assert "designation" in report.skipped

    def test_no_rows(self, allwise, sky):
        assert SelfChecker(allwise).finish("none").rows == 0
        assert check(allwise, sky.slice(0, 0)).failed == 0


class TestKinds:
    """Each kind of check on rows made to fail it alone."""

    @pytest.mark.parametrize(
        ("columns", "name", "failing"),
        [
            ({"w1mpro": [-10.0, 30.0, 30.1, -10.1, None]}, "magnitudes", [2, 3]),
            ({"w1sigmpro": [0.0, 2.0, 2.1, -0.1, None]}, "errors", [2, 3]),
            ({"j_m_2mass": [10.0, None, None], "j_msig_2mass": [None, 0.1, None]}, "error-without-magnitude", [1]),
            (
                {"x": [1.0, 0.9, None], "y": [0.0] * 3, "z": [0.0] * 3, "ra": [0.0] * 3, "dec": [0.0] * 3},
                "unit-vector",
                [1],
            ),
            ({"x": [1.0, 0.0], "y": [0.0, 1.0], "z": [0.0] * 2, "ra": [0.0] * 2, "dec": [0.0] * 2}, "unit-vector", [1]),
            ({"ph_qual": ["ABCU", "AAA", "AAAN", None]}, "quality-letters", [1, 2]),
            (
                {"ph_qual": ["AUUU", "UUUU", "AUUU", None], "w1sigmpro": [0.1, 0.1, None, 0.1]},
                "detections-have-errors",
                [1, 2],
            ),
            ({"h_m_2mass": [12.0, 12.0, None], "k_m_2mass": [2.0, 1.9, 0.0]}, "colours", [1]),
            ({"w1nm": [5, 6, None], "w1m": [5, 5, 5]}, "detected-frames", [1]),
            ({"sigpmra": [5, -1, None]}, "motion-errors", [1]),
            ({"r_2mass": [3.0, 3.5, None]}, "distance-to-2mass", [1]),
            ({"cc_flags": ["0000", "dDhP", "00x0", None]}, "confusion-letters", [2]),
            ({"var_flg": ["01n9", "x000", None]}, "variability-digits", [1]),
            ({"ext_flg": [0, 5, 6, None]}, "extension-flag", [2]),
            ({"sigra": [0.1, -0.1, 31.0]}, "position-errors", [1, 2]),
        ],
    )
    def test_rows(self, allwise, columns, name, failing):
        (rule,) = [check for check in allwise.self_checks if check.name == name]
        arrays = {key: pa.array(values, allwise.by_name[key].arrow_type) for key, values in columns.items()}
        assert np.flatnonzero(failing_rows(rule, arrays)).tolist() == failing


class TestDesignations:
    def test_parsing(self):
        ra, dec = parse_designations(
            pa.array(["J224840.67-003303.6", "WISEA J000000.00+900000.0", "235959.99-000000.1", "J12", None, "J1-2"])
        )
        assert ra[:3] == pytest.approx([342.169458333, 0.0, 359.999958333], abs=1e-8)
        assert dec[:3] == pytest.approx([-0.551, 90.0, -1 / 36000], abs=1e-12)
        assert np.isnan(ra[3:]).all()

    def test_everywhere_on_the_sky(self):
        rng = np.random.default_rng(3)
        ra = np.concatenate([rng.uniform(0, 360, 3000), rng.uniform(0, 1e-4, 50), 360 - rng.uniform(1e-6, 1e-4, 50)])
        dec = np.concatenate(
            [
                np.degrees(np.arcsin(rng.uniform(-1, 1, 3000))),
                rng.uniform(-1e-4, 1e-4, 50),
                rng.uniform(-90, -89.99, 50),
            ]
        )
        found = parse_designations(pa.array(designation(ra, dec)))
        assert separation_arcsec(unit_vectors(*found), unit_vectors(ra, dec)).max() < 0.19

    def test_a_word_that_is_none_fails_and_a_gap_does_not(self, allwise):
        table = pa.table({"designation": ["J000000.00+000000.0", "none", None], "ra": [0.0] * 3, "dec": [0.0] * 3})
        checker = SelfChecker(allwise)
        checker.check(table.to_batches()[0])
        with pytest.raises(SelfCheckError, match=r"'designation' fails in 1 of 3 rows.*designation=none"):
            checker.finish("x")


class TestBulkFiles:
    def test_the_definition_tells_names_and_types(self, allwise, sky, tmp_path):
        path = tmp_path / "wise-allwise-cat-part01"
        rows = sky.slice(0, 50).to_pylist()
        path.write_text("".join("|".join("" if v is None else str(v) for v in row.values()) + "|\n" for row in rows))
        columns = allwise.bulk_columns
        types = {column.name: column.arrow_type for column in columns}
        source = open_table(path, names=[column.name for column in columns], column_types=types)
        table = pa.Table.from_batches([allwise.canonicalise(batch) for batch in source.batches()])
        assert table.to_pylist() == rows
        assert check(allwise, table).failed == 0
