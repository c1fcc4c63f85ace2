from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from tests.alerts.makers import ROWS, StandIn, pack, schema_of, small_alert, stand_in, unpack
from tests.folders import contents
from xmatch_hats.alerts.container import read_header
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.sinks import FolderSink
from xmatch_hats.errors import PartitionReadError, UsageError
from xmatch_hats.step import files, loop
from xmatch_hats.step.files import run_alerts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def night(tmp_path) -> Path:
    """Two good packets, one of five records with two bad positions, one with a bad position, and two that are none."""
    folder = tmp_path / "night"
    (folder / "sub").mkdir(parents=True)
    (folder / "1.avro").write_bytes(pack([small_alert(1, dec=-5.0)]))
    (folder / "2.avro").write_bytes(pack([small_alert(2, dec=85.0)], codec="deflate"))
    decs = [-6.0, math.nan, 0.0, 100.0, -5.0]
    (folder / "sub" / "many.avro").write_bytes(pack([small_alert(i, dec=dec) for i, dec in enumerate(decs)]))
    (folder / "sub" / "nowhere.avro").write_bytes(pack([small_alert(7, ra=math.inf)]))
    (folder / "page.html").write_bytes(b"<html>")
    (folder / "cut.avro").write_bytes(pack([small_alert(1)])[:-20])
    return folder


COUNTS = {"in": 10, "matched": 3, "unmatched": 1, "outside_coverage": 1, "rejected": 5}


def test_every_alert_is_counted_once(night, tmp_path):
    done = []
    report = run_alerts([night], stand_in(), tmp_path / "o", progress=done.append)
    figures = report.to_json()
    assert {key: figures[key] for key in COUNTS} == COUNTS
    assert figures["in"] == sum(done) == sum(list(COUNTS.values())[1:])
    assert {key: figures["catalogs"]["allwise"][key] for key in COUNTS} == COUNTS
    assert figures["packets"] == 6
    assert figures["rejects"] == str(tmp_path / "o.rejects")
    json.dumps(figures)


def test_outputs_keep_names_and_rejects_their_bytes(night, tmp_path):
    before = contents(night)
    run_alerts([night], stand_in(), tmp_path / "o")
    out, rejects = contents(tmp_path / "o"), contents(tmp_path / "o.rejects")
    assert list(out) == ["1.avro", "2.avro", "sub/many.avro"]
    assert [record["candid"] for record in unpack(out["sub/many.avro"])] == [0, 2, 4]
    assert read_header(out["2.avro"], FILE_LIMITS).codec == "deflate"
    reasons = {name: json.loads(rejects.pop(name)) for name in list(rejects) if name.endswith(".reason.json")}
    assert len(reasons) == 5
    for name in ("page.html", "cut.avro", "sub/nowhere.avro"):
        assert rejects.pop(name) == before[name]
        assert reasons[f"{name}.reason.json"]["source"] == str(night / name)
    assert sorted(rejects) == ["sub/many.record-1.avro", "sub/many.record-3.avro"]
    for number in (1, 3):
        (record,) = unpack(rejects[f"sub/many.record-{number}.avro"])
        assert record["candid"] == number
        reason = reasons[f"sub/many.record-{number}.avro.reason.json"]
        assert (reason["record"], reason["error"]) == (number, "PacketError")
        assert "declination" in reason["message"]
    assert schema_of(rejects["sub/many.record-1.avro"]) == schema_of(before["sub/many.avro"])
    assert contents(night) == before


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_batches_change_nothing(night, tmp_path, batch):
    matcher = stand_in()
    report = run_alerts([night], matcher, tmp_path / "o", batch=batch)
    assert report.to_json()["matched"] == 3
    assert max(matcher.batches) <= batch
    run_alerts([night], stand_in(), tmp_path / "p")
    assert contents(tmp_path / "o") == contents(tmp_path / "p")


def test_batches_are_bounded_by_bytes_too(night, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BATCH_BYTES", 1)
    matcher = stand_in()
    run_alerts([night], matcher, tmp_path / "o")
    assert len(matcher.batches) == 4


def test_archives_in_and_out(night, tmp_path):
    first = tmp_path / "one.tar.gz"
    run_alerts([night], stand_in(), first)
    assert (tmp_path / "one.tar.gz.rejects").is_dir()
    with tarfile.open(first) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    run_alerts([night], stand_in(), tmp_path / "o")
    assert members == contents(tmp_path / "o")
    again = run_alerts([first], stand_in(), tmp_path / "two.tar")
    assert again.to_json()["in"] == 5
    with tarfile.open(tmp_path / "two.tar") as tar:
        # Already crossmatched: xmatches is replaced, so nothing changes.
        assert {member.name: tar.extractfile(member).read() for member in tar} == members


def test_a_truncated_archive_is_one_reject_with_its_reason(tmp_path):
    path = tmp_path / "cut.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(3):
            (tmp_path / "p").write_bytes(pack([small_alert(i)]))
            tar.add(tmp_path / "p", f"{i}.avro")
            (tmp_path / "p").unlink()
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2]
    path.write_bytes(path.read_bytes()[: third.offset + 100])
    report = run_alerts([path], stand_in(), tmp_path / "o")
    assert (report.alerts, report.rejected) == (3, 1)
    (reason,) = contents(tmp_path / "o.rejects").values()
    assert "what follows is lost" in json.loads(reason)["message"]


def test_the_output_schema_is_chosen_by_name(tmp_path):
    data = pack([small_alert(i) for i in range(3)], {"type": "record", "name": "x", "fields": source_fields()})
    (tmp_path / "x.avro").write_bytes(data)
    with pytest.raises(UsageError, match="no output schema"):
        run_alerts([tmp_path / "x.avro"], stand_in(), tmp_path / "o", output_schema="ztf-4")
    report = run_alerts([tmp_path / "x.avro"], stand_in(), tmp_path / "o", output_schema="ztf-3.3")
    assert report.to_json()["matched"] == 3
    assert report.dropped == {"tags": 3}
    (record, *_) = unpack((tmp_path / "o" / "x.avro").read_bytes())
    assert list(record)[-1] == "xmatches"
    assert record["prv_candidates"] is None


def source_fields() -> list:
    return schema_of(pack([small_alert()]))["fields"]


class Failing(StandIn):
    """A catalogue whose partition breaks with the second batch."""

    def match(self, ra, dec):
        if self.batches:
            raise PartitionReadError("cannot be read", place="Npix=5.parquet")
        return super().match(ra, dec)


@pytest.mark.parametrize("name", ["o", "o.tar.gz"])
def test_a_failed_run_leaves_nothing_behind(night, tmp_path, name):
    with pytest.raises(PartitionReadError):
        run_alerts([night], Failing(ROWS, []), tmp_path / name, batch=1)
    assert [path.name for path in tmp_path.iterdir()] == ["night"]


def test_an_interrupted_run_leaves_nothing_behind(night, tmp_path):
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_alerts([night], stand_in(), tmp_path / "o", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["night"]


def test_the_next_batch_is_read_while_one_is_matched(night, tmp_path, monkeypatch):
    read, second = PacketReader.read, threading.Event()

    def reading(self, data):
        packet = read(self, data)
        if packet.alerts[0].candid == 2:
            second.set()
        return packet

    class Waiting(StandIn):
        def match(self, ra, dec):
            assert second.wait(30)
            return super().match(ra, dec)

    monkeypatch.setattr(PacketReader, "read", reading)
    report = run_alerts([night / "1.avro", night / "2.avro"], Waiting(ROWS, [-5.0]), tmp_path / "o", batch=1)
    assert report.packets == 2


def test_no_packet_is_lost_while_a_batch_takes_long(night, tmp_path, monkeypatch):
    """The next batch is full meanwhile, and the source paused."""
    monkeypatch.setattr(loop, "_PATIENCE_SECONDS", 0.0)

    class Slow(StandIn):
        def match(self, ra, dec):
            time.sleep(0.05)
            return super().match(ra, dec)

    report = run_alerts([night / "1.avro"] * 10, Slow(ROWS, [-5.0]), tmp_path / "o", batch=1)
    assert report.packets == len(contents(tmp_path / "o")) == 10


def test_a_run_that_is_interrupted_while_it_reads_leaves_nothing_behind(night, tmp_path, monkeypatch):
    matching = threading.Event()

    class Slow(StandIn):
        def match(self, ra, dec):
            matching.set()
            time.sleep(0.2)
            return super().match(ra, dec)

    def interrupt(self, data):
        if data != (night / "2.avro").read_bytes():
            return read(self, data)
        assert matching.wait(30)
        raise KeyboardInterrupt

    read = PacketReader.read
    monkeypatch.setattr(PacketReader, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_alerts([night / "1.avro", night / "2.avro"], Slow(ROWS, [-5.0]), tmp_path / "o", batch=1)
    assert [path.name for path in tmp_path.iterdir()] == ["night"]
    assert not [thread for thread in threading.enumerate() if thread.name == "worker"]


def test_a_run_that_is_interrupted_while_it_writes_leaves_nothing_behind(night, tmp_path, monkeypatch):
    writing, write, read = threading.Event(), FolderSink.write, PacketReader.read

    def slow(self, name, chunks, modified):
        writing.set()
        time.sleep(0.1)
        return write(self, f"{time.monotonic()}/{name}", chunks, modified)

    def interrupt(self, data):
        if data == (night / "1.avro").read_bytes():
            return read(self, data)
        assert writing.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderSink, "write", slow)
    monkeypatch.setattr(PacketReader, "read", interrupt)
    monkeypatch.setattr(files, "_GIVE_UP_SECONDS", 1.0)
    with pytest.raises(KeyboardInterrupt):
        run_alerts([night / "1.avro"] * 30 + [night / "2.avro"], stand_in(), tmp_path / "o", batch=30)
    assert not [thread for thread in threading.enumerate() if thread.name == "worker"]
    assert [path.name for path in tmp_path.iterdir()] == ["night"]


def test_outputs_in_the_way_are_refused_before_anything_is_read(night, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "x").touch()
    matcher = stand_in()
    for out, rejects, message in (
        (taken, None, "exists already"),
        (tmp_path / "o", taken, "exists already"),
        (night / "o", None, "lies in the input"),
        (tmp_path / "o", night / "r", "lies in the input"),
        (night, None, "lies in the input"),
        (tmp_path / "o", tmp_path / "o" / "r", "in one another"),
        (tmp_path / "r" / "o", tmp_path / "r", "in one another"),
    ):
        with pytest.raises(UsageError, match=message):
            run_alerts([night], matcher, out, rejects)
    with pytest.raises(UsageError, match="at least one alert"):
        run_alerts([night], matcher, tmp_path / "o", batch=0)
    assert matcher.batches == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["night", "taken"]


def test_an_output_has_a_name(night, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(UsageError, match="cannot be an output"):
        run_alerts([night], stand_in(), "/")
    run_alerts([night / "1.avro"], stand_in(), ".")
    assert sorted(contents(here)) == ["1.avro"]


FULL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from tests.alerts.makers import stand_in
from xmatch_hats.step.files import run_alerts
from xmatch_hats.errors import XmatchError

night, out, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    run_alerts([night], stand_in(), out)
except XmatchError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["o", "o.tar", "o.tar.gz"])
def test_a_full_disk_is_told(tmp_path, name):
    # A limit on the size of files stands in for the disk: 12 kB of packets, and no more than 4 kB a file.
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "1.avro").write_bytes(pack([small_alert(1, tags=[os.urandom(6000).hex()])]))
    (tmp_path / "night" / "2.avro").write_bytes(b"broken")
    child = [sys.executable, "-W", "error", "-c", FULL_DISK, str(tmp_path / "night"), str(tmp_path / name), "4096"]
    result = subprocess.run(child, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT)
    assert result.stdout == f"{tmp_path / name}: cannot be written: File too large\n"
    assert "Exception ignored" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["night"]


def test_packets_of_one_name_are_all_written(night, tmp_path):
    report = run_alerts([night / "1.avro", night / "1.avro"], stand_in(), tmp_path / "o")
    assert report.packets == 2
    assert sorted(contents(tmp_path / "o")) == ["1.2.avro", "1.avro"]


def test_a_name_beyond_the_file_system_stops_nothing(tmp_path):
    path = tmp_path / "deep.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a/" * 3000 + "x.avro", "é" * 300 + "/" + "b/" * 900 + "y.avro", "ok.avro"):
            data = pack([small_alert()])
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    report = run_alerts([path], stand_in(), tmp_path / "o")
    assert (report.alerts, report.rejected) == (3, 0)
    assert sorted(Path(name).name for name in contents(tmp_path / "o")) == ["ok.avro", "x.avro", "y.avro"]
