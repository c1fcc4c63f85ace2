"""Sources, names, sinks and rejects."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from xmatch_hats.alerts.names import NameBook, is_hidden, safe_name
from xmatch_hats.alerts.rejects import Rejects
from xmatch_hats.alerts.sinks import FolderSink, TarSink, open_sink
from xmatch_hats.alerts.sources import PacketSources, is_small
from xmatch_hats.errors import PacketError, UsageError, XmatchError


def add(tar: tarfile.TarFile, name: str, data: bytes = b"x", **more) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in more.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


def archive(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            add(tar, name, data)
    return path


def listed(*paths: Path, **options) -> list[tuple[str, bytes]]:
    return [(packet.name, packet.read()) for packet in PacketSources(paths, **options)]


class TestNames:
    @pytest.mark.parametrize(
        ("name", "safe"),
        [
            ("a/b.avro", "a/b.avro"),
            ("./a//b.avro", "a/b.avro"),
            ("/etc/passwd", "etc/passwd"),
            ("../../up.avro", "up.avro"),
            ("a/../../b.avro", "a/b.avro"),
            ("a\nb\0c.avro", "a_b_c.avro"),
            ("caf\udce9.avro", "caf_.avro"),
            ("é☆.avro", "é☆.avro"),
            ("..", "unnamed"),
            ("", "unnamed"),
        ],
    )
    def test_names_become_safe(self, name, safe):
        assert safe_name(name) == safe

    def test_overlong_parts_are_cut_and_stay_apart(self):
        first, second = (safe_name("é" * 300 + end + ".avro") for end in "ab")
        assert first != second
        assert first.endswith(".avro")
        assert len(first.encode()) <= 200

    @pytest.mark.parametrize(
        ("name", "hidden"), [("a/.b", True), (".a/b", True), ("./a", False), ("../a", False), ("a/._b.avro", True)]
    )
    def test_hidden(self, name, hidden):
        assert is_hidden(name) == hidden

    def test_every_name_is_given_once(self):
        book = NameBook()
        names = ["a/b.avro", "a/b.avro", "a/b.avro", "a/b.2.avro", "a", "a/b.avro/c", "x"]
        given = [book.claim(name) for name in names]
        assert given == ["a/b.avro", "a/b.2.avro", "a/b.3.avro", "a/b.2.2.avro", "a.2", "a__b.avro__c", "x"]


class TestSources:
    def test_files_folders_and_archives_in_order(self, tmp_path):
        folder = tmp_path / "night"
        for name in ("b/2.avro", "b/1.avro", "a.avro", "c/.hidden", ".git/config", "._a.avro"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(name.encode())
        (folder / "dangling").symlink_to("nowhere")
        archive(folder / "b" / "old.tar", {"z/9.avro": b"9", "8.avro": b"8"}, "w")
        gz = archive(tmp_path / "ztf.tar.gz", {"./1.avro": b"1", "sub/2.avro": b"2", "sub/.3": b"3"})
        lone = folder / "a.avro"
        sources = PacketSources([gz, folder, lone])
        assert [(packet.name, packet.read()) for packet in sources] == [
            ("1.avro", b"1"),
            ("sub/2.avro", b"2"),
            ("a.avro", b"a.avro"),
            ("b/1.avro", b"b/1.avro"),
            ("b/2.avro", b"b/2.avro"),
            ("b/old/z/9.avro", b"9"),
            ("b/old/8.avro", b"8"),
            ("a.avro", b"a.avro"),
        ]
        assert sources.skipped == 4

    def test_nothing_but_regular_members_is_read(self, tmp_path):
        path = tmp_path / "odd.tar"
        with tarfile.open(path, "w") as tar:
            add(tar, "folder", b"", type=tarfile.DIRTYPE)
            add(tar, "../../etc/out.avro")
            add(tar, "link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
            add(tar, "hard", b"", type=tarfile.LNKTYPE, linkname="../../etc/out.avro")
            add(tar, "device", b"", type=tarfile.CHRTYPE)
            add(tar, "pipe", b"", type=tarfile.FIFOTYPE)
            add(tar, "late.avro", mtime=2**33 - 1)
        sources = PacketSources([path])
        assert [(packet.name, packet.modified) for packet in sources] == [
            ("etc/out.avro", 0),
            ("late.avro", 2**33 - 1),
        ]
        assert sources.skipped == 4

    @pytest.mark.parametrize("value", ["inf", "nan", "-5", "1e300"])
    def test_odd_times_do_no_harm(self, tmp_path, value):
        path = tmp_path / "odd.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            add(tar, "a.avro", pax_headers={"mtime": value})
        (packet,) = PacketSources([path])
        assert packet.modified == 0

    def damaged(self, path: Path) -> tuple[list[str], str]:
        good, faults = [], []
        for packet in PacketSources([path]):
            try:
                packet.read()
                good.append(packet.name)
            except PacketError as error:
                faults.append(error)
        assert packet.name == path.name
        return good, str(faults[-1])

    def test_a_truncated_archive_gives_what_it_has_and_says_so(self, tmp_path):
        members = {f"{i}.avro": os.urandom(3000) for i in range(5)}
        for name, mode in (("cut.tar", "w"), ("cut.tar.gz", "w:gz")):
            whole = archive(tmp_path / name, members, mode)
            # In the header after the third member, where a plain archive could also seem to end.
            whole.write_bytes(whole.read_bytes()[: 3 * 3584 if mode == "w" else 8000])
            good, message = self.damaged(whole)
            assert good[:2] == ["0.avro", "1.avro"]
            assert "is damaged after" in message

    def test_a_member_that_breaks_off_is_told_from_its_archive(self, tmp_path):
        path = archive(tmp_path / "cut.tar.gz", {"a.avro": os.urandom(100_000)})
        path.write_bytes(path.read_bytes()[:50_000])
        packets = PacketSources([path])
        reasons = []
        for packet in packets:
            with pytest.raises(PacketError) as caught:
                packet.read()
            reasons.append(str(caught.value))
        assert "cannot be read from its archive" in reasons[0]
        assert "is damaged after 1 members" in reasons[1]

    @pytest.mark.parametrize(
        "data", [b"", b"<html>", os.urandom(5000), gzip.compress(b"<html>" * 1000), b"\x1f\x8b", bytes(100)]
    )
    def test_what_is_no_archive(self, tmp_path, data):
        path = tmp_path / "x.tar.gz"
        path.write_bytes(data)
        good, message = self.damaged(path)
        assert good == []
        assert "after 0 members" in message

    def test_garbage_between_members_is_no_end(self, tmp_path):
        path = archive(tmp_path / "x.tar", {"a.avro": b"a", "b.avro": b"b"}, "w")
        data = bytearray(path.read_bytes())
        data[1024:1536] = os.urandom(512)
        path.write_bytes(data)
        assert self.damaged(path)[0] == ["a.avro"]

    def test_large_packets_are_refused_unread(self, tmp_path):
        (tmp_path / "big.avro").write_bytes(bytes(101))
        gz = archive(tmp_path / "x.tar.gz", {"big.avro": bytes(5000), "small.avro": b"s"})
        for path in (tmp_path / "big.avro", gz):
            packet = next(iter(PacketSources([path], max_bytes=100)))
            with pytest.raises(PacketError, match="at most 100 are read"):
                packet.read()

    def test_headers_cannot_claim_memory(self, tmp_path):
        path = tmp_path / "bomb.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            add(tar, "pax", bytes(30 << 20), type=tarfile.XHDTYPE)
        (packet,) = PacketSources([path], max_bytes=1 << 20)
        with pytest.raises(PacketError, match=r"damaged after 0 members.*piece of"):
            packet.read()

    def test_missing_inputs_are_wrong_use(self, tmp_path):
        with pytest.raises(UsageError, match="does not exist"):
            PacketSources([tmp_path / "gone"])
        with pytest.raises(UsageError, match="no packets"):
            PacketSources([])

    def test_how_much_there_is(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(bytes(50))
        assert is_small([tmp_path], 101)
        assert not is_small([tmp_path], 100)
        assert not is_small([tmp_path / "a"], 50)


class TestSinks:
    @pytest.mark.parametrize("name", ["out", "out.tar", "out.tar.gz", "out.tgz"])
    def test_written_aside_and_named_at_the_end(self, tmp_path, name):
        out = tmp_path / "new" / name
        sink = open_sink(out)
        packets = [("a.avro", b"1"), ("b/c.avro", b"2" * 10_000), ("a.avro", b"3")]
        given = [sink.write(*packet, 1_600_000_000) for packet in packets]
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

    def test_archives_are_the_same_every_time(self, tmp_path):
        for name in ("a.tar.gz", "b.tar.gz"):
            sink = TarSink(tmp_path / name)
            sink.write("x/é" * 40 + ".avro", b"data", 12345)
            sink.commit()
        assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()

    @pytest.mark.parametrize("name", ["out", "out.tar.gz"])
    def test_an_aborted_sink_leaves_nothing(self, tmp_path, name):
        sink = open_sink(tmp_path / name)
        sink.write("a/b.avro", b"1", 0)
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
        sink.write("a", b"1", 0)
        sink.commit()
        assert (tmp_path / "empty" / "a").read_bytes() == b"1"

    def test_what_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(XmatchError, match="cannot be written"):
            open_sink(tmp_path / "file" / "below" / "out.tar")
        with pytest.raises(XmatchError, match="cannot be written"):
            open_sink(tmp_path / "file" / "below" / "out").write("a", b"", 0)


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
