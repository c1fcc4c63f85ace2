"""Names and sources."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from xmatch_hats.alerts.names import NameBook, is_hidden, safe_name
from xmatch_hats.alerts.sources import PacketSources, is_small
from xmatch_hats.errors import PacketError, UsageError


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

    def test_deep_and_long_paths_are_cut_and_stay_apart(self):
        for deep in ("a/" * 3000, "é" * 90 + "/", ("é" * 90 + "/") * 8):
            names = {safe_name(f"{end}/{deep}x.avro") for end in "ab"}
            assert len(names) == 2
            assert all(len(name.encode()) < 1100 and name.count("/") < 32 for name in names)

    def test_one_name_many_times_costs_no_more_each_time(self):
        book = NameBook()
        given = [book.claim("a.avro") for _ in range(20_000)]
        assert given[:2] == ["a.avro", "a.2.avro"]
        assert given[-1] == "a.20000.avro"


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
        # Of the hidden folder's files none is counted, the folder is.
        assert sources.skipped == 5

    def test_linked_folders_are_passed_over_and_counted(self, tmp_path):
        folder = tmp_path / "night"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "a.avro").write_bytes(b"a")
        (folder / "again").symlink_to("sub")
        (folder / "b.avro").symlink_to("sub/a.avro")
        sources = PacketSources([folder])
        assert [packet.name for packet in sources] == ["b.avro", "sub/a.avro"]
        assert sources.skipped == 1

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

    @pytest.mark.skipif(shutil.which("tar") is None, reason="tar makes archives of files with holes")
    def test_members_with_holes_are_read_whole(self, tmp_path):
        with (tmp_path / "a.avro").open("wb") as file:
            file.seek(1 << 20)
            file.write(b"end")
        (tmp_path / "b.avro").write_bytes(b"b")
        subprocess.run(["tar", "-Scf", "o.tar", "a.avro", "b.avro"], cwd=tmp_path, check=True)
        assert (tmp_path / "o.tar").stat().st_size < 1 << 19
        found = [packet.read() for packet in PacketSources([tmp_path / "o.tar"])]
        assert found == [bytes(1 << 20) + b"end", b"b"]

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
        "data",
        [b"", b"<html>", os.urandom(5000), gzip.compress(b"<html>" * 1000), b"\x1f\x8b", bytes(100)],
        # By these the processes of one run agree on the tests; bytes would not do, as gzip writes the time into them.
        ids=["empty", "text", "random", "gzip of text", "start of gzip", "zeros"],
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

    @pytest.mark.parametrize("zipped", [False, True])
    def test_what_stands_behind_the_end_is_not_lost_in_silence(self, tmp_path, zipped):
        first, second = (archive(tmp_path / f"{n}.tar", {f"{n}.avro": b"x"}, "w").read_bytes() for n in "ab")
        pack = gzip.compress if zipped else bytes
        for name, data in {
            "two.tar": pack(first) + pack(second),
            "more.tar": pack(first) + b"more",
            "checksum.tar": pack(first)[:-8] + bytes(8) if zipped else first + b"\0\1",
            "cut.tar": pack(first)[:-8] if zipped else first[:1024],
        }.items():
            (tmp_path / name).write_bytes(data)
            good, message = self.damaged(tmp_path / name)
            assert good == ["a.avro"]
            assert "after 1 members" in message
        (tmp_path / "padded.tar").write_bytes(pack(first + bytes(5000)) + bytes(100))
        assert listed(tmp_path / "padded.tar") == [("a.avro", b"x")]

    @pytest.mark.parametrize("name", ["x.tar.bz2", "x.avro.gz", "x.ZIP"])
    def test_other_archives_are_refused_by_name_and_not_copied(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"BZh9")
        for source in (tmp_path, tmp_path / name):
            (packet,) = PacketSources([source])
            with pytest.raises(PacketError, match=r"of a kind that is not read; \.tar\.gz, \.tgz, \.tar are"):
                packet.read()

    def test_large_packets_are_refused_unread(self, tmp_path):
        (tmp_path / "big.avro").write_bytes(bytes(101))
        gz = archive(tmp_path / "x.tar.gz", {"big.avro": bytes(5000), "small.avro": b"s"})
        for path in (tmp_path / "big.avro", gz):
            packet = next(iter(PacketSources([path], max_bytes=100)))
            with pytest.raises(PacketError, match="at most 100 are read"):
                packet.read()

    def headers(self, kind: str) -> bytes:
        """What stands before a member, 3 MiB of it: a single header, many small ones, or a sparse member's map."""
        member = tarfile.TarInfo("pax")
        member.type = tarfile.XHDTYPE
        if kind == "one header":
            member.size = 3 << 20
            return member.tobuf() + bytes(member.size)
        if kind == "many headers":
            body = b"".join(b"%d %05d=1\n" % (len("11 00000=1\n"), i) for i in range(40_000))
            member.size = len(body)
            return (member.tobuf() + body + bytes(-len(body) % 512)) * 8
        member = tarfile.TarInfo("a.avro")
        member.size = 3 << 20
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        return member.tobuf(tarfile.PAX_FORMAT) + b"3000000\n" + b"1\n" * (3 << 19)

    def test_a_negative_size_does_not_read_all_that_follows(self, tmp_path):
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            add(tar, "a.avro", pax_headers={"size": "-1"})
            add(tar, "b.avro")
        packet = next(iter(PacketSources([path])))
        with pytest.raises(PacketError, match="a negative number of bytes"):
            packet.read()

    @pytest.mark.parametrize("kind", ["one header", "many headers", "sparse map"])
    def test_headers_cannot_claim_memory(self, tmp_path, kind):
        path = tmp_path / "bomb.tar.gz"
        path.write_bytes(gzip.compress(self.headers(kind)))
        (packet,) = PacketSources([path])
        with pytest.raises(PacketError, match=r"damaged after 0 members.*claims more bytes"):
            packet.read()

    def test_what_is_said_of_all_members_is_not_gathered(self, tmp_path, monkeypatch):
        path = tmp_path / "said.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            add(tar, "a.avro")
        data, said = path.read_bytes()[:1024], b""
        for i in range(3):
            pax = tarfile.TarInfo.create_pax_global_header({f"key{i}": "value"})
            said += pax + data
        path.write_bytes(said + bytes(1024))
        opened, open_archive = [], tarfile.open
        monkeypatch.setattr(tarfile, "open", lambda **options: opened.append(open_archive(**options)) or opened[0])
        gathered = [len(opened[0].pax_headers) for _ in PacketSources([path])]
        assert len(gathered) == 3
        assert max(gathered) == 1

    def test_missing_inputs_are_wrong_use(self, tmp_path):
        with pytest.raises(UsageError, match="does not exist"):
            PacketSources([tmp_path / "gone"])
        with pytest.raises(UsageError, match="cannot be read: File name too long"):
            PacketSources([tmp_path / ("x" * 300)])
        with pytest.raises(UsageError, match="neither a file nor a folder"):
            PacketSources(["/dev/zero"])
        with pytest.raises(UsageError, match="no packets"):
            PacketSources([])

    def test_how_much_there_is(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(bytes(50))
        assert is_small([tmp_path], 101)
        assert not is_small([tmp_path], 100)
        assert not is_small([tmp_path / "a"], 50)
        assert is_small([tmp_path / ("x" * 300)], 1)
