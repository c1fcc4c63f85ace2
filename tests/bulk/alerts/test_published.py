"""What is under the name of an output: only an output is replaced, and only one that is whole is done."""

from __future__ import annotations

import shutil

import pytest

from tests.bulk.alerts.nights import read_output, write_archive
from tests.bulk.alerts.test_run import run
from tests.folders import contents
from xmatch_hats.bulk.alerts import packet_archive
from xmatch_hats.bulk.alerts.merge import merge_nights
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, UsageError

NIGHT, STEM = "night=20180619", "archive=ztf_public_20180619"


@pytest.fixture(scope="module")
def small(sky, tmp_path_factory):
    """The first fifty alerts of the sky."""
    return write_archive(tmp_path_factory.mktemp("small") / "ztf_public_20180619.tar.gz", sky.packets(0, 50))


@pytest.fixture(scope="module")
def done(small, sky, tmp_path_factory):
    """Outputs of both forms, with packets, to be copied."""
    folder = tmp_path_factory.mktemp("done")
    for kind in ("hats", "parquet"):
        run([small], sky.catalog, folder / kind, kind=kind, packets=folder / f"{kind}_packets")
    return folder


@pytest.fixture
def outputs(done, tmp_path):
    """The same, to be spoilt."""
    return shutil.copytree(done, tmp_path / "done")


def data_of(folder):
    return {name: data for name, data in contents(folder).items() if name.endswith((".parquet", ".tar.gz"))}


@pytest.mark.parametrize("kind", ["hats", "parquet"])
@pytest.mark.parametrize("redo", [False, True])
def test_what_is_no_output_is_left_alone(small, sky, tmp_path, kind, redo):
    theirs = tmp_path / NIGHT / STEM
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("precious")
    with pytest.raises(CatalogError, match="archive=ztf_public_20180619: exists already"):
        run([small], sky.catalog, tmp_path, kind=kind, redo=redo)
    assert contents(tmp_path) == {f"{NIGHT}/{STEM}/thesis.txt": b"precious"}


def test_all_outputs_are_looked_at_before_anything_is_done(small, sky, tmp_path):
    theirs = tmp_path / "night=20180620" / "archive=ztf_public_20180620"
    theirs.mkdir(parents=True)
    second = shutil.copy(small, tmp_path / "ztf_public_20180620.tar.gz")
    with pytest.raises(CatalogError, match="exists already"):
        run([small, second], sky.catalog, tmp_path)
    assert not (tmp_path / NIGHT).exists()


@pytest.mark.parametrize("within", ["out", "packets"])
def test_nothing_is_put_into_a_catalogue(small, sky, tmp_path, within):
    before = contents(sky.catalog)
    places = {"out": tmp_path / "out", "packets": tmp_path / "packets", within: sky.catalog / "nights"}
    with pytest.raises(UsageError, match="would lie in the catalogue"):
        run([small], sky.catalog, places["out"], packets=places["packets"])
    assert contents(sky.catalog) == before
    assert not list(tmp_path.iterdir())


def spoil_missing(path):
    path.unlink()


def spoil_short(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("kind", ["hats", "parquet"])
@pytest.mark.parametrize("spoil", [spoil_missing, spoil_short])
@pytest.mark.parametrize("pattern", ["*.parquet", "_bulk/summary.json"])
def test_a_damaged_output_is_not_done(small, sky, outputs, kind, spoil, pattern):
    out = outputs / kind
    whole = data_of(outputs)
    victim = sorted((out / NIGHT / STEM).rglob(pattern))[0]
    spoil(victim)
    said = []
    if pattern.startswith("_bulk") and spoil is spoil_missing:
        # Without its summary it is no output that this package knows.
        with pytest.raises(CatalogError, match="exists already"):
            run([small], sky.catalog, out, kind=kind, packets=outputs / f"{kind}_packets")
        return
    (report,) = run([small], sky.catalog, out, kind=kind, packets=outputs / f"{kind}_packets", said=said)
    assert not report.was_done
    assert f"was done, but {victim}" in said[0]
    assert data_of(outputs) == whole
    (report,) = run([small], sky.catalog, out, kind=kind, packets=outputs / f"{kind}_packets")
    assert report.was_done


def test_a_merge_of_what_is_damaged_names_the_way_out(outputs):
    victim = next((outputs / "parquet").rglob("part-00000.parquet"))
    victim.unlink()
    with pytest.raises(CatalogError, match=r"part-00000\.parquet: cannot be read.*bulk alerts.*made anew"):
        merge_nights(outputs / "parquet", workers=0)


def test_packets_are_known_again(small, sky, outputs):
    words = {"kind": "hats", "packets": outputs / "hats_packets"}
    (target,) = (outputs / "hats_packets").iterdir()
    assert run([small], sky.catalog, outputs / "hats", **words)[0].was_done
    assert verify_copy(outputs / "hats" / NIGHT / STEM).passed
    whole = target.read_bytes()
    target.unlink()
    assert not run([small], sky.catalog, outputs / "hats", **words)[0].was_done
    assert target.read_bytes() == whole
    # Of other settings, they are replaced with the output.
    run([small], sky.catalog, outputs / "hats", columns=["rcid"], **words)
    assert "rcid" in read_output(outputs / "hats").column_names


@pytest.mark.parametrize("data", [b"garbage", None], ids=["garbage", "other bytes of that size"])
def test_packets_that_are_not_ours_are_left_alone(small, sky, outputs, tmp_path, data):
    (target,) = (outputs / "hats_packets").iterdir()
    data = data or bytes(target.stat().st_size)
    target.write_bytes(data)
    for out, redo in ((outputs / "hats", False), (outputs / "hats", True), (tmp_path / "new", False)):
        with pytest.raises(CatalogError, match=r"ztf_public_20180619\.tar\.gz: exists already, and is not what was"):
            run([small], sky.catalog, out, packets=outputs / "hats_packets", redo=redo)
    assert target.read_bytes() == data
    assert not (tmp_path / "new").exists()


def test_large_packets_are_known_by_their_size(small, sky, outputs, monkeypatch):
    monkeypatch.setattr(packet_archive, "CHECKED_BYTES", 10)
    (target,) = (outputs / "hats_packets").iterdir()
    target.write_bytes(bytes(target.stat().st_size))
    assert run([small], sky.catalog, outputs / "hats", packets=outputs / "hats_packets")[0].was_done


def test_packets_of_a_call_that_was_killed_before_its_output_was_there(small, sky, tmp_path, monkeypatch):
    from xmatch_hats.catalogs.staging import Staging

    def killed(self, built):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            run([small], sky.catalog, tmp_path / "out", kind="parquet", packets=tmp_path / "packets")
    assert (tmp_path / "packets" / small.name).exists()
    (report,) = run([small], sky.catalog, tmp_path / "out", kind="parquet", packets=tmp_path / "packets")
    assert report.is_whole
    assert len(report.skipped) == 1
