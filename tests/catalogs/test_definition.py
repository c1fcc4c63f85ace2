"""Definitions: the shipped ones, a user's own, names, types and missing values."""

import math

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from xmatch_hats.catalogs.definition import Definition, definition_for, list_definitions, load_definition
from xmatch_hats.errors import DefinitionError
from xmatch_hats.tables.metadata import texts_of
from xmatch_hats.tables.read import open_table

VIZIER_TO_CANONICAL = {
    "AllWISE": "designation", "RAJ2000": "ra", "DEJ2000": "dec", "ID": "cntr", "d2M": "r_2mass", "ccf": "cc_flags",
    "ex": "ext_flg", "var": "var_flg", "qph": "ph_qual", "pmRA": "pmra", "e_pmRA": "sigpmra", "pmDE": "pmdec",
    "e_pmDE": "sigpmdec", "eeMaj": "eeMaj",
    **{f"W{b}mag": f"w{b}mpro" for b in range(1, 5)}, **{f"e_W{b}mag": f"w{b}sigmpro" for b in range(1, 5)},
    **{f"{b}mag": f"{b.lower()}_m_2mass" for b in "JHK"}, **{f"e_{b}mag": f"{b.lower()}_msig_2mass" for b in "JHK"},
}  # fmt: skip
CONTRACT = [
    "AllWISE",
    "RAJ2000",
    "DEJ2000",
    "W1mag",
    "W2mag",
    "W3mag",
    "W4mag",
    "Jmag",
    "Hmag",
    "Kmag",
    "e_W1mag",
    "e_W2mag",
    "e_W3mag",
    "e_W4mag",
    "e_Jmag",
    "e_Hmag",
    "e_Kmag",
]


@pytest.fixture(scope="module")
def allwise():
    return load_definition("allwise")


def batch(**columns):
    return pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})


class TestAllwise:
    def test_names(self, allwise):
        for vizier, canonical in VIZIER_TO_CANONICAL.items():
            assert allwise.canonical_name(vizier) == canonical
            assert allwise.canonical_name(canonical) == canonical
            assert allwise.vizier_name(canonical) == vizier
        assert allwise.vizier_name("w1snr") == "w1snr"
        assert allwise.canonical_name("nonsense") is None

    def test_the_stream_gets_the_columns_of_the_contract(self, allwise):
        assert [allwise.vizier_name(name) for name in allwise.xmatch_columns] == CONTRACT
        assert set(allwise.xmatch_columns) <= set(allwise.default_columns)
        assert "cntr" in allwise.default_columns

    def test_rules(self, allwise):
        assert (allwise.ra_column, allwise.dec_column, allwise.id_column) == ("ra", "dec", "cntr")
        assert (allwise.margin_arcsec, allwise.radius_arcsec, allwise.epoch, allwise.frame) == (10, 1, 2010.5, "ICRS")
        assert allwise.places
        assert allwise.citation

    def test_every_default_column_is_described(self, allwise):
        for name in allwise.default_columns:
            column = allwise.by_name[name]
            assert column.description, name
            assert column.ucd, name
        assert texts_of(allwise.field("ra"))["unit"] == "deg"

    def test_bulk_columns(self, allwise):
        names = [column.name for column in allwise.bulk_columns]
        assert len(names) == len(set(names)) == allwise.bulk.columns == 298
        assert (names[0], names[12], names[82], names[297]) == ("designation", "cntr", "best_use_cntr", "htm20")

    def test_the_public_list_with_one_column_too_many_agrees_otherwise(self, allwise, shared_data):
        listed = pq.read_schema(shared_data / "allwise_columns" / "allwise_schema.parquet").names
        assert [name for name in listed if name in allwise.by_name] == [c.name for c in allwise.bulk_columns]
        assert "use_src" in listed

    def test_upper_limits(self, allwise):
        table = pa.table({"w3mpro": [12.0, 12.5, None], "w3sigmpro": [0.1, None, None], "ra": [1.0, 2.0, 3.0]})
        assert allwise.upper_limits(table, "w3mpro").to_pylist() == [False, True, False]
        assert allwise.upper_limits(table, "ra").to_pylist() == [False] * 3


class TestWhichDefinition:
    def test_real_sources(self, shared_data):
        for name, expected in (
            ("allwise_vizier_rows.csv", "allwise"), ("allwise_vizier_patch.csv", "allwise"),
            ("w5_field/allwise_w5.tbl", "allwise"), ("gcvs.parquet", "gcvs"), ("w5_field/spitzer_w5.csv", None),
            ("cds_oracle/positions.csv", None),
        ):  # fmt: skip
            found = definition_for(open_table(shared_data / name).schema)
            assert (found.name if found else None) == expected, name

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["designation", "ra", "dec"], "allwise"),
            (["DESIGNATION", "RA", "DEC"], "allwise"),
            (["AllWISE", "RAJ2000", "DEJ2000", "whatever"], "allwise"),
            (["ra", "dec", "VarType"], "gcvs"),
            (["designation", "ra", "dec", "w1mpro", "VarType"], "allwise"),
            (["AllWISE", "ra", "dec"], None),
            (["designation", "RAJ2000", "DEJ2000"], None),
            (["solution_id", "designation", "source_id", "ra", "dec"], "gaia_dr3"),
            (["ra", "dec"], None),
            ([], None),
        ],
    )
    def test_by_names(self, names, expected):
        found = definition_for(pa.schema([(name, pa.float64()) for name in names]))
        assert (found.name if found else None) == expected

    def test_listed(self):
        assert list_definitions() == ["allwise", "gaia_dr3", "gcvs"]
        assert load_definition("gcvs").id_column is None


class TestNames:
    def test_one_set_for_a_source(self, allwise):
        # A survey's own ID and var beside the canonical names are not VizieR's.
        schema = pa.schema([(name, pa.int64()) for name in ("designation", "ra", "dec", "ID", "var", "w1mpro")])
        assert allwise.canonical_names(schema) == {
            "designation": "designation",
            "ra": "ra",
            "dec": "dec",
            "w1mpro": "w1mpro",
        }

    def test_an_exact_name_wins_over_another_case(self, allwise):
        schema = pa.schema([(name, pa.float64()) for name in ("RA", "ra", "dec", "designation")])
        assert allwise.canonical_names(schema)["ra"] == "ra"
        assert "RA" not in allwise.canonical_names(schema)

    def test_columns_of_a_source(self, allwise):
        schema = pa.schema(
            [(n, pa.float64()) for n in ("mine", "W1mag", "AllWISE", "ID", "DEJ2000", "RAJ2000", "eeMaj")]
        )
        assert allwise.source_columns(schema) == ["AllWISE", "RAJ2000", "DEJ2000", "ID", "W1mag"]
        assert allwise.source_columns(schema, "all") == schema.names
        assert allwise.source_columns(schema, ["w1mpro", "eeMaj"]) == ["W1mag", "eeMaj", "RAJ2000", "DEJ2000", "ID"]
        for columns, problem in (
            (["nonsense"], "unknown columns: nonsense"),
            (["W2mag"], "no column w2mpro"), (["ra", "RAJ2000"], "twice: ra"),
            ("some", "list of names"),
        ):  # fmt: skip
            with pytest.raises(DefinitionError, match=problem):
                allwise.source_columns(schema, columns)
        with pytest.raises(DefinitionError, match="no column ra and dec"):
            allwise.source_columns(pa.schema([("x", pa.int64())]))


class TestCanonicalise:
    def test_the_real_patch(self, allwise, shared_data):
        path = shared_data / "allwise_vizier_patch.csv"
        source = pa.csv.read_csv(path).combine_chunks().to_batches()[0]
        found = allwise.canonicalise(source)
        assert found.schema.names == [
            VIZIER_TO_CANONICAL.get(n) or {"eeMin": "eeMin", "eePA": "eePA"}[n] for n in source.schema.names
        ]
        assert found["cntr"].to_pylist() == source["ID"].to_pylist()
        assert found["cc_flags"].to_pylist() == ["0000"] * 99
        assert found["pmra"].type == pa.int32()
        assert texts_of(found.schema.field("pmra"))["unit"] == "mas/yr"
        assert found["r_2mass"].null_count == 91

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([-565, None], [-565, None]),
            ([-565.0, math.nan], [-565, None]),
            (["-565", ""], [-565, None]),
            ([" -565 ", "null"], [-565, None]),
            (["-565.0", None], [-565, None]),
        ],
    )
    def test_integers_from_anything(self, allwise, values, expected):
        assert allwise.canonicalise(batch(pmra=values))["pmra"].to_pylist() == expected

    def test_text(self, allwise):
        found = allwise.canonicalise(
            batch(cc_flags=["dd00", "0", " ", None], var_flg=[211, 8700, None, 0], ph_qual=["AAAA ", "B", "", None])
        )
        assert found["cc_flags"].to_pylist() == ["dd00", "0000", None, None]
        assert found["var_flg"].to_pylist() == ["0211", "8700", None, "0000"]
        assert found["ph_qual"].to_pylist() == ["AAAA", "B", None, None]

    def test_floats(self, allwise):
        found = allwise.canonicalise(
            batch(w1mpro=[12.5, math.nan, None], w2mpro=["12.5", "", "nan"], w3mpro=[12, 13, None])
        )
        assert [found[name].to_pylist() for name in found.schema.names] == [
            [12.5, None, None], [12.5, None, None], [12.0, 13.0, None],
        ]  # fmt: skip

    def test_what_cannot_be(self, allwise):
        for columns, problem in (
            ({"pmra": [1.5]}, "column pmra cannot be int32.*1.5"),
            ({"w1mpro": ["AAAA"]}, "column w1mpro cannot be float64.*AAAA"),
            ({"cntr": [4.381000013510499e17]}, "column cntr.*passed through a float"),
            ({"cntr": ["438100001351049925.0"]}, "passed through a float"),
            ({"pmra": [2**40]}, "column pmra cannot be int32"),
            ({"w1mpro": [[1.0]]}, "column w1mpro cannot be float64: its values are list"),
        ):
            with pytest.raises(DefinitionError, match=problem) as caught:
                allwise.canonicalise(batch(**columns), place="some.csv")
            assert caught.value.place == "some.csv"

    def test_integers_never_pass_a_float(self, allwise):
        values = [438100001351049925, None, 2**63 - 1]
        for array in (pa.array(values), pa.array([None if v is None else str(v) for v in values])):
            found = allwise.canonicalise(pa.RecordBatch.from_arrays([array], names=["cntr"]))
            assert found["cntr"].to_pylist() == values

    def test_unknown_columns_are_kept_and_never_shadow(self, allwise):
        assert allwise.canonicalise(batch(ra=[1.0], mine=["x"])).to_pylist() == [{"ra": 1.0, "mine": "x"}]
        with pytest.raises(DefinitionError, match="two columns of the source would be called ra"):
            allwise.canonicalise(
                pa.RecordBatch.from_pydict({"AllWISE": ["J"], "RAJ2000": [1.0], "DEJ2000": [2.0], "ra": [3]})
            )

    def test_no_rows_and_nulls(self, allwise):
        assert allwise.canonicalise(batch(ra=[1.0]).slice(0, 0)).num_rows == 0
        found = allwise.canonicalise(pa.RecordBatch.from_arrays([pa.nulls(2)], names=["ph_qual"]))
        assert found.schema.field("ph_qual").type == pa.string()


OWN = """
name = "mine"
ra_column = "a"
dec_column = "d"
label_column = "tag"
default_columns = ["a", "d", "m_g"]

[repeats]
band = [{ b = "g" }, { b = "r" }]

[[groups]]
columns = [
  { name = "a", type = "float64", unit = "deg", aliases = ["alpha"] },
  { name = "d", type = "float64", unit = "deg" },
  { name = "tag", type = "string", missing = ["-", "none"] },
  { name = "n", type = "int16", missing = [-99] },
]

[[groups]]
repeat = ["band"]
columns = [
  { name = "m_{b}", type = "float32", missing = [99.0], error = "e_{b}" },
  { name = "e_{b}", type = "float32" },
]

[[self_checks]]
name = "mags"
kind = "range"
columns = ["m_g", "m_r"]
minimum = 0
maximum = 40
"""


class TestOwn:
    def load(self, tmp_path, text=OWN):
        path = tmp_path / "own.toml"
        path.write_text(text)
        return load_definition(path)

    def test_a_file(self, tmp_path):
        own = self.load(tmp_path)
        assert [column.name for column in own.columns] == ["a", "d", "tag", "n", "m_g", "e_g", "m_r", "e_r"]
        assert own.by_name["m_r"].error == "e_r"
        assert load_definition(str(tmp_path / "own.toml")) == own
        found = own.canonicalise(batch(alpha=[1.0, 2.0], tag=["x", "-"], n=[-99, 5], m_g=[99.0, 20.0]))
        assert found.schema.names == ["a", "tag", "n", "m_g"]
        assert [found[n].to_pylist() for n in ("tag", "n", "m_g")] == [["x", None], [None, 5], [None, 20.0]]

    def test_through_json(self, tmp_path, allwise):
        for definition in (allwise, self.load(tmp_path)):
            assert Definition.from_json(definition.to_json()) == definition
        with pytest.raises(DefinitionError, match="definition snapshot"):
            Definition.from_json("{}")
        with pytest.raises(DefinitionError, match="definition snapshot"):
            Definition.from_json("not json")

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ('name = "mine"', "", "name: Field required"),
            ('name = "mine"', 'name = "a/b"', "name: "),
            ('ra_column = "a"', 'ra_column = "x"', "ra_column names no column of the definition: x"),
            ('"m_g"]', '"m_z"]', "default_columns names no column"),
            ('type = "int16"', 'type = "int17"', r"columns.3.type: "),
            ('unit = "deg", aliases', 'units = "deg", aliases', "columns.0.units: Extra inputs"),
            ('{ name = "d"', '{ name = "a"', "columns: columns defined twice: a"),
            ('columns = ["m_g", "m_r"]', 'columns = ["m_q"]', "self_checks.mags names no column"),
            ('kind = "range"', 'kind = "vibes"', "self_checks.0: "),
            ('repeat = ["band"]', 'repeat = ["bend"]', r"groups\[1\].repeat: repeat must list names"),
            ("e_{b}", "e_{z}", r"groups\[1\].columns: a substitution in braces"),
            ('name = "mine"', 'name = mine"', "not a TOML file"),
            ("[[groups]]\ncolumns", "[[groups]]\ncolums", r"groups\[0\]: a group needs"),
            ('name = "mine"', 'name = "mine"\nbulk = {columns = 5}', "bulk.columns says 5, the groups define 8"),
            ('name = "mine"', 'name = "mine"\nmargin_arcsec = -1', "margin_arcsec: "),
            ('name = "mine"', 'name = "mine"\nmargin_arcsec = inf', "margin_arcsec: "),
            ('name = "d", type = "float64"', 'name = "d", type = "string"', "the coordinate column d must be float64"),
            ('name = "mine"', 'name = "mine"\nid_column = "tag"', "the id column tag must be of an integer type"),
            ('name = "n"', 'name = "_row"', "columns: names that a copy needs for itself: _row"),
            ('["m_g", "m_r"]', '["tag"]', "self_checks.mags needs a number and tag is string"),
            ('"range"', '"pattern"\npattern = "x"', "self_checks.0.pattern.minimum: Extra"),
        ],
    )
    def test_mistakes_name_file_and_key(self, tmp_path, old, new, problem):
        assert old in OWN
        with pytest.raises(DefinitionError, match=problem) as caught:
            self.load(tmp_path, OWN.replace(old, new))
        assert "own.toml" in str(caught.value)

    def test_a_pattern_must_be_one_that_arrow_takes(self, tmp_path):
        text = OWN.replace('kind = "range"', 'kind = "pattern"').replace('["m_g", "m_r"]', '["tag"]')
        text = text.replace("minimum = 0\nmaximum = 40", "pattern = '^(?=s)'")
        with pytest.raises(DefinitionError, match=r"self_checks.0.pattern.pattern: not a regular expression"):
            self.load(tmp_path, text)

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(DefinitionError, match=r"no definition is named 'twomass'.*allwise, gaia_dr3, gcvs"):
            load_definition("twomass")
        with pytest.raises(DefinitionError, match="does not exist"):
            load_definition(tmp_path / "none.toml")
        with pytest.raises(DefinitionError, match="cannot be read"):
            load_definition(tmp_path)
