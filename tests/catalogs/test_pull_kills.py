"""Pulls that are killed or interrupted: taken up where they were, or begun anew, and never believed too early."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.catalogs.remote_sky import CONE, FAST, Server, Told, made_rows, now_and_then, rows_of, write_hats
from xmatch_hats.catalogs.pull import pull_catalog
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError
from xmatch_hats.healpix import cells_of


@pytest.fixture(scope="module")
def rows():
    return made_rows(20_000)


@pytest.fixture(scope="module")
def sky(tmp_path_factory, rows):
    return write_hats(tmp_path_factory.mktemp("pull") / "sky", rows, order=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sky):
    """The copy that nobody interrupted."""
    return pull_catalog(sky, tmp_path_factory.mktemp("whole") / "out", region=CONE, workers=0)


KILLED = """
import os, signal, sys
from xmatch_hats.catalogs.pull import SilentPull, pull_catalog
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.catalogs.remote import Retry

class Killer(SilentPull):
    parts = 0
    def stage(self, name, total=0):
        if name == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)
    def fetched(self, bytes_, rows):
        self.parts += rows > 0
        if sys.argv[3] == "fetched" and self.parts == 3:
            os.kill(os.getpid(), signal.SIGKILL)

pull_catalog(sys.argv[1], sys.argv[2], region=Cone(0.1, -0.2, 1.0), workers=0, progress=Killer(),
             retry=Retry(8, 0.001, 0.005))
"""


def killed_in(stage, url, out):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(out), stage], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()


def check_kills(stages, sky, out, whole):
    with Server(sky, fault=now_and_then(9)) as server:
        for stage in stages:
            killed_in(stage, server.url, out)
        server.gets.clear()
        progress = Told()
        copy = pull_catalog(server.url, out, region=CONE, workers=0, progress=progress, retry=FAST)
        assert any("resuming the pull" in text for text in progress.said)
        fetched = [path for path, count in server.gets.items() if "Npix" in path]
    assert verify_copy(copy.path).passed
    assert rows_of(copy).equals(rows_of(whole))
    assert copy.total_rows == whole.total_rows
    assert not list(out.parent.glob(".*"))
    return fetched


def test_killed_while_fetching_and_while_converting(tmp_path, sky, whole):
    check_kills(["fetched", "converting"], sky, tmp_path / "out", whole)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "stage",
    [
        "planning",
        "fetching",
        "fetched",
        "reading",
        "converting",
        "coverage",
        "checksums",
        "verifying",
        "side copy",
        "publishing",
    ],
)
def test_killed_in_every_stage(tmp_path, sky, whole, stage):
    check_kills([stage, stage], sky, tmp_path / "out", whole) if stage != "planning" else killed_in(
        stage, str(sky), tmp_path / "out"
    )


def interrupted(sky, out, monkeypatch):
    """A pull that ends when all is fetched and nothing is imported."""

    def broken(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xmatch_hats.catalogs.pull.build_copy", broken)
        with pytest.raises(KeyboardInterrupt):
            pull_catalog(sky, out, region=CONE, workers=0)
    assert list(out.parent.glob(f".{out.name}.pulling/parts/*.parquet"))


def test_another_region_does_not_take_over_what_was_fetched_for_the_first(tmp_path, sky, rows, monkeypatch):
    out = tmp_path / "out"
    interrupted(sky, out, monkeypatch)
    progress = Told()
    copy = pull_catalog(sky, out, region=Cone(1.2, 0.5, 0.4), workers=0, progress=progress)
    assert any("starting clean" in text for text in progress.said)
    alone = pull_catalog(sky, tmp_path / "alone", region=Cone(1.2, 0.5, 0.4), workers=0)
    assert rows_of(copy).equals(rows_of(alone))


def test_a_catalogue_that_changed_meanwhile_comes_as_it_is_now(tmp_path, sky, monkeypatch):
    """Of one file the version changed: that one is fetched anew. Then the catalogue changed: all of it is."""
    changing, out = shutil.copytree(sky, tmp_path / "sky"), tmp_path / "out"
    interrupted(changing, out, monkeypatch)
    centre = cells_of([CONE.ra], [CONE.dec], 5)[0]
    path = next(changing.rglob(f"Npix={centre}.parquet"))
    table = pq.read_table(path, partitioning=None)
    flags = pa.array(["new"] * len(table))
    pq.write_table(table.set_column(table.schema.get_field_index("flag"), "flag", flags), path)
    progress = Told()
    copy = pull_catalog(changing, out, region=CONE, workers=0, progress=progress)
    assert any("resuming the pull" in text for text in progress.said)
    expected = pull_catalog(changing, tmp_path / "expected", region=CONE, workers=0)
    assert rows_of(copy).equals(rows_of(expected))
    assert pc.any(pc.equal(rows_of(copy)["flag"], "new")).as_py()
    interrupted(changing, tmp_path / "third", monkeypatch)
    with (changing / "made" / "hats.properties").open("a") as properties:
        properties.write("hats_release_date=tomorrow\n")
    progress = Told()
    pull_catalog(changing, tmp_path / "third", region=CONE, workers=0, progress=progress)
    assert any("starting clean" in text for text in progress.said)


def test_what_a_kill_left_beside_a_finished_copy_goes(tmp_path, sky):
    left = tmp_path / ".out.pulling" / "parts"
    left.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        pull_catalog(sky, tmp_path / "out", workers=0)
    assert not left.exists()
