"""Sinks and rejects."""

from __future__ import annotations

import json
import os
import resource
import tarfile

import pytest

from xmatch_hats.alerts.rejects import Rejects
from xmatch_hats.alerts.sinks import FolderSink, TarSink, open_sink
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.errors import PacketError, UsageError, XmatchError


class TestSinks:
    @pytest.mark.parametrize("name", ["out", "out.tar", "out.tar.gz", "out.tgz"])
    def test_written_aside_and_named_at_the_end(self, tmp_path, name):
        out = tmp_path / "new" / name
        sink = open_sink(out)
        packets = [("a.avro", b"1"), ("b/c.avro", b"2" * 10_000), ("a.avro", b"3")]
        given = [sink.write(name, [data[:1], data[1:]], 1_600_000_000) for name, data in packets]
        assert given == ["a.avro", "b/c.avro", "a.2.avro"]
        assert not out.exists()
        sink.commit()
        assert [path.name for path in out.parent.iterdir()] == [name]
        if name == "out":
            found = [(str(path.relative_to(out)), path.read_bytes()) for path in out.rglob("*.avro")]
            assert (out / "a.avro").stat().st_mtime == 1_600_000_000
            assert out.stat().st_mode & 0o777 == 0o777 & ~_umask()
        else:
            with tarfile.open(out) as tar:
                found = [(member.name, tar.extractfile(member).read()) for member in tar]
                assert [name for name, _ in found] == given
            assert [(packet.name, packet.read()) for packet in PacketSources([out])] == found
        assert sorted(found) == [("a.2.avro", b"3"), ("a.avro", b"1"), ("b/c.avro", b"2" * 10_000)]

    @pytest.mark.parametrize("name", ["o.tar", "o.tar.gz"])
    def test_packets_that_are_written_together_stay_in_order(self, tmp_path, name):
        sizes = [10] * 1500 + [700_000, 3, 0, 2_500_000] + [1000] * 1500
        packets = {f"{i}.avro": bytes([i % 251]) * size for i, size in enumerate(sizes)}
        sink = TarSink(tmp_path / name)
        for packet, data in packets.items():
            sink.write(packet, [data[:5], data[5:]], 0)
        sink.commit()
        with tarfile.open(tmp_path / name) as tar:
            found = [(member.name, tar.extractfile(member).read()) for member in tar]
        assert found == list(packets.items())

    def test_archives_are_the_same_every_time(self, tmp_path):
        for name in ("a.tar.gz", "b.tar.gz"):
            sink = TarSink(tmp_path / name)
            sink.write("x/é" * 40 + ".avro", [b"data"], 12345)
            sink.commit()
        assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()

    @pytest.mark.parametrize("name", ["out", "out.tar.gz"])
    def test_an_aborted_sink_leaves_nothing(self, tmp_path, name):
        sink = open_sink(tmp_path / name)
        sink.write("a/b.avro", [b"1"], 0)
        sink.abort()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["out", "out.tar"])
    def test_packets_in_any_number_of_pieces_are_written_whole(self, tmp_path, name, monkeypatch):
        writev = os.writev
        # As systems may: only some of the bytes.
        monkeypatch.setattr(os, "writev", lambda file, chunks: writev(file, [b"".join(chunks)[:1000]]))
        packets = {"a.avro": [b"%d" % i for i in range(3000)], "b.avro": [b"1", memoryview(b"0234")[1:]]}
        sink = open_sink(tmp_path / name)
        for given, chunks in packets.items():
            sink.write(given, chunks, 7)
        sink.commit()
        found = {packet.name: packet.read() for packet in PacketSources([tmp_path / name])}
        assert found == {given: b"".join(chunks) for given, chunks in packets.items()}
        monkeypatch.undo()
        sink = open_sink(tmp_path / f"again-{name}")
        sink.write("a.avro", packets["a.avro"], 7)
        sink.commit()
        assert [packet.read() for packet in PacketSources([tmp_path / f"again-{name}"])] == [found["a.avro"]]

    def test_a_compressed_archive_has_no_hole_where_the_system_took_less(self, tmp_path):
        limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        sink = TarSink(tmp_path / "o.tar.gz")
        # A disk that is full for a moment takes some of the bytes, and refuses the rest only when it is tried.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(XmatchError, match="cannot be written"):
                sink.write("a.avro", [os.urandom(1_000_000)], 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        sink.abort()
        assert list(tmp_path.iterdir()) == []

    def test_existing_outputs_are_refused(self, tmp_path):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "x").touch()
        (tmp_path / "file").touch()
        (tmp_path / "x.tar.gz").mkdir()
        for name in ("full", "file", "x.tar.gz"):
            with pytest.raises(UsageError, match="exists already"):
                open_sink(tmp_path / name)
        (tmp_path / "empty").mkdir()
        sink = FolderSink(tmp_path / "empty")
        sink.write("a", [b"1"], 0)
        sink.commit()
        assert (tmp_path / "empty" / "a").read_bytes() == b"1"

    @pytest.mark.parametrize("name", ["o.tar.bz2", "o.gz", "O.ZIP"])
    def test_archives_of_other_kinds_are_not_written(self, tmp_path, name):
        with pytest.raises(UsageError, match="of a kind that is not written"):
            open_sink(tmp_path / name)

    def test_what_cannot_be_written_is_told(self, tmp_path):
        for name in ("x" * 300, "x" * 300 + ".tar"):
            with pytest.raises(XmatchError, match="cannot be written: File name too long"):
                open_sink(tmp_path / name)
        (tmp_path / "file").touch()
        with pytest.raises(XmatchError, match="cannot be written"):
            open_sink(tmp_path / "file" / "below" / "out.tar")
        with pytest.raises(XmatchError, match="cannot be written"):
            open_sink(tmp_path / "file" / "below" / "out").write("a", [b""], 0)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class TestRejects:
    def test_kept_with_their_reasons(self, tmp_path):
        rejects = Rejects(tmp_path / "r")
        error = PacketError("is broken", place="byte 3", hint="mend it")
        rejects.add("a/b.avro", b"data", error, source="/in/a/b.avro", modified=7)
        rejects.add("a/b.avro", b"one", error, source="/in/a/b.avro", modified=7, record=4)
        rejects.add("big.tar", None, error, source="/in/big.tar", modified=7)
        rejects.commit()
        files = {str(path.relative_to(tmp_path / "r")): path.read_bytes() for path in (tmp_path / "r").rglob("*.*")}
        assert files["a/b.avro"] == b"data"
        assert files["a/b.record-4.avro"] == b"one"
        assert "big.tar" not in files
        assert json.loads(files["a/b.avro.reason.json"]) == {
            "error": "PacketError",
            "message": "byte 3: is broken (mend it)",
            "source": "/in/a/b.avro",
            "record": None,
            "kept": True,
        }
        assert json.loads(files["a/b.record-4.avro.reason.json"])["record"] == 4
        assert json.loads(files["big.tar.reason.json"])["kept"] is False
        assert len(files) == 5

    def test_no_folder_without_rejects(self, tmp_path):
        Rejects(tmp_path / "r").commit()
        assert list(tmp_path.iterdir()) == []
