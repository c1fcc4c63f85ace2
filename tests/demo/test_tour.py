from __future__ import annotations

import json

import pytest

from xmatch_hats.demo import tour
from xmatch_hats.demo.tour import MARKER, DemoSettings, check_sizes, command_line, prepare_folder, remove_folder
from xmatch_hats.errors import UsageError


def test_a_new_folder_is_marked(tmp_path):
    settings = DemoSettings(tmp_path / "a" / "b", seed=7)
    prepare_folder(settings)
    assert json.loads((settings.folder / MARKER).read_text()) == {"seed": 7, "rows": 200_000, "alerts": 1_500}


def test_an_earlier_demo_is_replaced(tmp_path):
    settings = DemoSettings(tmp_path / "demo")
    prepare_folder(settings)
    (settings.folder / "packets").mkdir()
    (settings.folder / "packets" / "old.avro").write_text("old")
    prepare_folder(settings)
    assert [path.name for path in settings.folder.iterdir()] == [MARKER]


def test_an_empty_folder_is_taken(tmp_path):
    prepare_folder(DemoSettings(tmp_path))
    assert (tmp_path / MARKER).is_file()


def test_nothing_else_is_ever_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="something else than a demo"):
        prepare_folder(DemoSettings(tmp_path))
    remove_folder(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    with pytest.raises(UsageError, match="not a folder"):
        prepare_folder(DemoSettings(tmp_path / "thesis.tex"))
    marked = DemoSettings(tmp_path / "marked")
    prepare_folder(marked)
    (tmp_path / "link").symlink_to(marked.folder)
    with pytest.raises(UsageError, match="not a folder"):
        prepare_folder(DemoSettings(tmp_path / "link"))


def test_no_demo_in_a_catalogue(tmp_path):
    sky = tmp_path / "sky"
    sky.mkdir()
    (sky / "collection.properties").touch()
    with pytest.raises(UsageError, match="would lie in the catalogue"):
        prepare_folder(DemoSettings(sky / "demo"))
    assert not (sky / "demo").exists()


@pytest.mark.parametrize(
    ("changes", "place"),
    [({"rows": 10}, "--rows"), ({"rows": 10**8}, "--rows"), ({"alerts": 1}, "--alerts"), ({"seed": -1}, "--seed")],
)
def test_sizes_that_make_no_demo(tmp_path, changes, place):
    with pytest.raises(UsageError) as caught:
        check_sizes(DemoSettings(tmp_path, **changes))
    assert caught.value.place == place


def test_commands_are_quoted():
    assert command_line(["cone", "1", "-2", "--catalog", "my demo/allwise"]) == (
        "xmatch-hats cone 1 -2 --catalog 'my demo/allwise'"
    )


def test_the_field_is_a_camera_s_and_reaches_beyond_the_sky():
    from xmatch_hats.demo.sky import SkyBox

    field = SkyBox(*tour._FIELD)
    assert field.area_deg2 == pytest.approx(47, abs=1)
    assert not SkyBox(*tour._SKY).contains(field.ra_max - 0.01, field.dec_min + 0.01)
