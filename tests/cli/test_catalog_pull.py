"""``catalog pull`` as people type it."""

from __future__ import annotations

import pytest

from tests.catalogs.remote_sky import Server, made_rows, write_hats
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.cli.app import run
from xmatch_hats.errors import CatalogError


@pytest.fixture(scope="module")
def rows():
    return made_rows(4000)


@pytest.fixture(scope="module")
def sky(tmp_path_factory, rows):
    return write_hats(tmp_path_factory.mktemp("cli") / "sky", rows, order=4)


def test_a_cone_by_name(sky, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    with Server(sky) as server:
        command = ["catalog", "pull", server.url, "--cone", "0.5", "-0.25", "1", "--as", "made", "--workers", "0"]
        assert run([*command, "--columns", "source,mag", "--margin", "5"]) == 0
    told = capsys.readouterr()
    assert "coverage region" in told.out
    assert "made is now at version" in told.out
    assert " to fetch" in told.err
    copy = open_copy("made")
    mask = Cone(0.5, -0.25, 1).row_mask(rows["ra"].to_numpy(), rows["dec"].to_numpy(), 5)
    assert copy.total_rows == mask.sum()
    assert copy.margin_arcsec == 5


def test_an_interrupted_pull_by_name_keeps_its_version(sky, tmp_path, monkeypatch, capsys):
    root = tmp_path / "root"
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(root))
    command = ["catalog", "pull", str(sky), "--box", "359", "0.5", "-1", "1", "--as", "made", "--workers", "0"]

    def broken(*_args, **_kwargs):
        raise CatalogError("the disk vanished")

    with monkeypatch.context() as patch:
        patch.setattr("xmatch_hats.catalogs.pull.build_copy", broken)
        assert run(command) == 1
    (left,) = (root / "made").glob(".*.pulling")
    capsys.readouterr()
    assert run(command) == 0
    assert "resuming the pull" in capsys.readouterr().err
    assert open_copy("made").path.name == left.name.removeprefix(".").removesuffix(".pulling")


def test_a_map_as_region_and_a_map_as_coverage(sky, tmp_path, capsys):
    (tmp_path / "region.txt").write_text("3/304")
    command = ["catalog", "pull", str(sky), "--moc", str(tmp_path / "region.txt"), "--out", str(tmp_path / "out")]
    assert run([*command, "--coverage", str(tmp_path / "region.txt"), "--workers", "0", "--no-side-copy"]) == 0
    copy = open_copy(str(tmp_path / "out"))
    assert copy.coverage.kind == "region"
    assert copy.coverage.order == 3
    assert not (copy.path / "side_copy").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--cone", "0", "0", "1", "--box", "0", "1", "0", "1"], 2, "give one region"),
        (["--cone", "0", "95", "1"], 2, "declination 95"),
        (["--cone", "0", "0", "0"], 2, "above 0"),
        (["--box", "0", "1", "5", "4"], 2, "second declination"),
        (["--moc", "nosuch.fits"], 1, "nosuch.fits"),
        (["--columns", "a,all"], 2, "all alone"),
        (["--cone", "180", "45", "1"], 1, "nothing in this region"),
        (["--as", "made"], 2, "say where the copy goes"),
    ],
)
def test_wrong_use_in_one_line(sky, tmp_path, capsys, arguments, code, reason):
    assert run(["catalog", "pull", str(sky), "--out", str(tmp_path / "out"), *arguments]) == code
    told = capsys.readouterr().err
    assert reason in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_a_url_without_a_catalogue(tmp_path, capsys):
    with Server(tmp_path) as server:
        assert run(["catalog", "pull", f"{server.url}/nothing", "--out", str(tmp_path / "out")]) == 1
        told = capsys.readouterr().err
    assert f"{server.url}/nothing: is not a HATS catalogue" in told
