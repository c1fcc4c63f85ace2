from __future__ import annotations

import pytest

from xmatch_hats.catalogs.definition import definition_for, load_definition
from xmatch_hats.catalogs.magnitudes import BANDS, Magnitude, parse_map, split_map
from xmatch_hats.catalogs.where import Condition
from xmatch_hats.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g", Magnitude("g")),
        ("w1mpro+2.7", Magnitude("w1mpro", 2.7)),
        (" g - 1e-1 ", Magnitude("g", -0.1)),
        ("`BP-RP`+.5", Magnitude("BP-RP", 0.5)),
    ],
)
def test_expressions(text, expected):
    assert Magnitude.parse(text) == expected


@pytest.mark.parametrize("text", ["", "+1", "g+", "g*2", "g+r", "g+nan", "g+1+1", "g 1", "BP-RP"])
def test_what_is_none(text):
    with pytest.raises(UsageError, match=r"offset"):
        Magnitude.parse(text)


def test_maps():
    assert split_map(["Vmag=g, Nmag=w1+2.7", "Fmag=r"], "m") == {"Vmag": "g", "Nmag": "w1+2.7", "Fmag": "r"}
    for texts, told in ((["Vmag"], "maps no column"), (["Vmag=g,Vmag=r"], "twice"), ([""], "maps no column")):
        with pytest.raises(UsageError, match=told):
            split_map(texts, "m")
    with pytest.raises(UsageError, match=r"there is no magnitude Gmag \(there are Fmag"):
        parse_map({"Gmag": "g"}, "m")


@pytest.mark.parametrize("name", ["allwise", "gaia_dr3"])
def test_presets_fit_their_definitions(name):
    import pyarrow as pa

    definition = load_definition(name)
    preset = definition.star_catalog
    assert preset is not None
    assert set(preset.magnitudes) <= set(BANDS)
    assert set(preset.columns) <= set(definition.default_columns)
    schema = pa.schema([definition.field(column) for column in definition.default_columns])
    if preset.stars:
        assert set(Condition.parse(preset.stars, schema, "stars").columns) <= set(definition.default_columns)
    assert definition_for(schema) == definition
    vizier = pa.schema([(definition.vizier_name(column), pa.string()) for column in definition.default_columns])
    assert definition_for(vizier) == definition
