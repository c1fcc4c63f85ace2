"""Nights of alerts by command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.bulk.alerts.nights import alert, make_sky, packet, read_output, write_archive
from tests.catalogs.remote_sky import Server
from xmatch_hats.catalogs.manifest import SIDE_COPY_NAME
from xmatch_hats.cli.app import run
from xmatch_hats.matching.scheduling import Scheduler


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return make_sky(tmp_path_factory.mktemp("sky"), 300, rows=2_000)


@pytest.fixture(scope="module")
def nights(sky, tmp_path_factory):
    """Two archives that share fifty alerts."""
    folder = tmp_path_factory.mktemp("nights")
    first = write_archive(folder / "ztf_public_20180619.tar.gz", sky.packets(0, 200))
    return [str(first), str(write_archive(folder / "ztf_public_20180620.tar.gz", sky.packets(150, 150)))]


def words(nights, sky, out, *more):
    return ["bulk", "alerts", *nights, "--catalog", f"stars={sky.catalog}", "--radius", "1", "--out", str(out), *more]


def test_nights_one_by_one_and_together(nights, sky, tmp_path, capsys):
    assert run(words(nights, sky, tmp_path / "out", "--json")) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["summary"]["in"] for one in told] == [200, 150]
    assert [one["night"] for one in told] == ["20180619", "20180620"]
    assert run(["bulk", "merge", str(tmp_path / "out"), "--json"]) == 0
    merged = json.loads(capsys.readouterr().out)
    assert (merged["rows"], merged["duplicates"], merged["duplicates_removed"]) == (350, 50, 0)
    assert run(["bulk", "merge", str(tmp_path / "out"), "--dedup"]) == 0
    assert "300 alerts of 2 archives" in capsys.readouterr().out
    table = read_output(tmp_path / "out" / "merged")
    assert table["candid"].to_pylist() == list(range(300))
    assert table["archive_name"].to_pylist() == ["ztf_public_20180619"] * 200 + ["ztf_public_20180620"] * 100
    assert run(words(nights, sky, tmp_path / "out")) == 0
    assert "(done before)" in capsys.readouterr().out


def test_what_is_damaged_ends_with_1(nights, sky, tmp_path, capsys):
    place = tmp_path / "ztf_public_20180619.tar.gz"
    place.write_bytes(Path(nights[0]).read_bytes()[:-50])
    assert run(words([str(place)], sky, tmp_path / "out", "--format", "parquet")) == 1
    assert "what follows is lost" in capsys.readouterr().out
    # Nor do those that add up nights call it whole.
    assert run(words(nights[1:], sky, tmp_path / "out", "--format", "parquet")) == 0
    for verb in ("merge", "report"):
        capsys.readouterr()
        assert run(["bulk", verb, str(tmp_path / "out")]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if "what follows is lost" in line)
        assert line.strip().startswith("ztf_public_20180619: the archive is damaged after"), verb
    assert run(["bulk", "merge", str(tmp_path / "out"), "--json"]) == 0
    (text,) = json.loads(capsys.readouterr().out)["damaged"]
    assert text == line.strip()
    assert "Complete but for what archives have lost: " in (tmp_path / "out_report" / "report.html").read_text()


def test_a_night_that_the_name_does_not_tell(sky, tmp_path, capsys):
    place = write_archive(tmp_path / "alerts.tar", [("a.avro", packet(alert(1, 0.0, 0.0)))])
    assert run(words([str(place)], sky, tmp_path / "out")) == 2
    assert "its name tells no night (give --night YYYYMMDD)" in capsys.readouterr().err
    assert run(words([str(place)], sky, tmp_path / "out", "--night", "20190101", "--format", "parquet")) == 0
    assert (tmp_path / "out" / "night=20190101" / "archive=alerts" / "part-00000.parquet").exists()


def test_a_dry_run_does_nothing(nights, sky, tmp_path, capsys):
    assert run(words(nights, sky, tmp_path / "out", "--dry-run")) == 0
    told = capsys.readouterr().out
    assert "2 units to do" in told
    assert "disk needed" in told
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--night", "20181345"], "20181345 is not a night"),
        (["--alert-columns", "magpsff"], "near names: magpsf"),
        (["--columns", "w9"], "w9"),
        (["--radius", "-1"], "radius"),
        (["--radius", "60"], "margin"),
        (["--memory-per-worker", "much"], "is no size"),
        (["--memory-per-worker", "200MiB"], "a worker needs 640 MiB of memory at least, not 200 MiB"),
        (["--memory-per-worker", "1GiB", "--workers", "0"], "threads of this process cannot be bounded"),
        (["--memory-per-worker", "1GiB", "--scheduler", "tcp://127.0.0.1:1"], "dask worker --memory-limit"),
    ],
)
def test_wrong_use(nights, sky, tmp_path, capsys, more, told):
    assert run(words(nights, sky, tmp_path / "out", *more)) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_memory_of_workers_is_kept(nights, sky, tmp_path, monkeypatch):
    seen = []

    def spy(address, workers, tls, *, memory, dashboard):
        seen.append((workers, memory))
        return Scheduler(workers=0)

    monkeypatch.setattr("xmatch_hats.cli.bulk_alerts.bulk_scheduler", spy)
    monkeypatch.setattr("xmatch_hats.cli.bulk_alerts.begin_workers", lambda *_: None)
    for more in (["--memory-per-worker", "640MiB"], []):
        assert run(words(nights, sky, tmp_path / "out", "--format", "parquet", *more)) == 0
    # Processes are bounded, threads are not; the small archives alone would have been left to these.
    assert seen == [(None, 640 << 20), (0, None)]


def test_slices_that_failed_are_told_with_their_place(nights, tmp_path, capsys):
    sky = make_sky(tmp_path / "sky", 300, rows=2_000)
    shutil.rmtree(sky.catalog / SIDE_COPY_NAME)
    for path in sky.catalog.rglob("Npix=*.parquet"):
        path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    assert run(words(nights[:1], sky, tmp_path / "out")) == 1
    told = capsys.readouterr().out
    assert "1 slice failed, no output; the same command goes on" in told
    folder = tmp_path / "out" / "night=20180619" / ".archive=ztf_public_20180619.matching"
    assert f"what is done lies in {folder}" in told
    assert folder.is_dir()


def test_nothing_to_merge(tmp_path, capsys):
    assert run(["bulk", "merge", str(tmp_path)]) == 2
    assert "there are no matched archives here" in capsys.readouterr().err


def test_a_night_over_https(nights, sky, tmp_path, capsys):
    with Server(Path(nights[0]).parent) as server:
        place = f"{server.url}/{Path(nights[0]).name}"
        assert run(words([place], sky, tmp_path / "far", "--format", "parquet")) == 0
        assert run(words([place.replace("0619", "0719")], sky, tmp_path / "other")) == 1
        assert "there is no such file" in capsys.readouterr().err
    assert run(words(nights[:1], sky, tmp_path / "near", "--format", "parquet")) == 0
    assert read_output(tmp_path / "far").equals(read_output(tmp_path / "near"))
