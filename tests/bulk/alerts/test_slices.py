"""Archives cut into slices: every member in one, wherever reading begins, whatever is damaged."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from tests.bulk.alerts.nights import write_archive
from tests.catalogs.remote_sky import FAST, Server, now_and_then
from xmatch_hats.bulk.alerts import slices as cutting
from xmatch_hats.bulk.alerts.archives import open_archive
from xmatch_hats.bulk.alerts.inflate import can_begin_anywhere
from xmatch_hats.bulk.alerts.slice_book import SliceBook
from xmatch_hats.bulk.alerts.slices import read_slices, slice_packets

MEMBERS = [(f"folder/{number}.avro", b"%d," % number * (number % 3_000)) for number in range(3_500)]
"""Eleven megabytes in four slices, which end by number and by size."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Points lie 16 MiB apart: more bytes than that, of members that compress well."""
    members = [*MEMBERS, *((f"big/{number}.avro", bytes(5 << 20)) for number in range(5))]
    return write_archive(tmp_path_factory.mktemp("slices") / "ztf_public_20200101.tar.gz", members), members


def cut(place, folder, done=(), said=None, night=None):
    book = SliceBook(folder)
    found = open_archive(str(place), night, FAST)
    return book, list(read_slices(found, book, done, (said if said is not None else []).append))


def packets(cuts):
    """All packets of slices, by fresh readers."""
    return [
        (raw.name, raw.read())
        for piece, data in cuts
        for _, raw in slice_packets(data, piece.members, "x")
        if raw is not None
    ]


def test_every_member_is_in_one_slice(archive, tmp_path):
    place, members = archive
    book, cuts = cut(place, tmp_path / "book")
    assert packets(cuts) == members
    assert [piece.members for piece, _ in cuts[:2]] == [1000, 1000]
    assert all(len(data) <= cutting.SLICE_BYTES + (5 << 20) + 1024 for _, data in cuts)
    assert [piece.first_member for piece, _ in cuts] == [sum(p.members for p, _ in cuts[:i]) for i in range(len(cuts))]
    assert book.end.members == len(members)
    assert book.end.damage is None
    assert 0 < sum(piece.compressed for piece, _ in cuts) <= place.stat().st_size + len(cuts)


@pytest.mark.skipif(not can_begin_anywhere(), reason="there is no zlib to be taken up in the middle")
def test_what_is_done_is_not_read(archive, tmp_path):
    place, _ = archive
    _, cuts = cut(place, tmp_path / "book")
    wanted = {cuts[1][0].name, cuts[-1][0].name}
    said = []
    book, again = cut(place, tmp_path / "book", {piece.name for piece, _ in cuts} - wanted, said)
    assert book.end is not None
    assert [(piece, data if piece.name in wanted else None) for piece, data in cuts] == again
    assert "read again from its beginning" in said[0]
    assert "going on at byte" in said[1]
    said.clear()
    assert all(data is None for _, data in cut(place, tmp_path / "book", {piece.name for piece, _ in cuts}, said)[1])
    assert not said


@pytest.mark.parametrize("known", [1, 3, 4])
def test_another_reader_goes_on_where_one_was_killed(archive, tmp_path, known):
    place, _ = archive
    whole_book, cuts = cut(place, tmp_path / "whole")
    notes = (tmp_path / "whole" / "slices.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "slices.jsonl").write_bytes(b"".join(notes[:known]) + notes[known][: len(notes[known]) // 2])
    for point in (tmp_path / "whole").glob("*.point"):
        (tmp_path / "book" / point.name).write_bytes(point.read_bytes())
    book, again = cut(place, tmp_path / "book", {piece.name for piece, _ in cuts[:known]})
    assert [data for _, data in again] == [None] * known + [data for _, data in cuts[known:]]
    assert book.end == whole_book.end


def test_an_archive_that_is_not_compressed(tmp_path):
    place = write_archive(tmp_path / "ztf_public_20200101.tar", MEMBERS)
    _, cuts = cut(place, tmp_path / "book")
    assert packets(cuts) == MEMBERS
    said = []
    _, again = cut(place, tmp_path / "book", {cuts[0][0].name, cuts[1][0].name}, said)
    assert again[2:] == cuts[2:]
    assert "going on at byte" in said[0]


@pytest.mark.parametrize("ranges", [True, False])
def test_over_the_network(archive, tmp_path, ranges):
    place, members = archive
    with Server(place.parent, ranges=ranges, fault=now_and_then()) as server:
        _, cuts = cut(f"{server.url}/{place.name}", tmp_path / "book")
        assert packets(cuts) == members
        sent = server.sent_bytes
        said = []
        done = {piece.name for piece, _ in cuts[:-1]}
        assert cut(f"{server.url}/{place.name}", tmp_path / "book", done, said)[1][-1] == cuts[-1]
        assert server.faults
    if ranges and can_begin_anywhere():
        assert "going on at byte" in said[0]
        assert server.sent_bytes - sent < place.stat().st_size
    else:
        assert "gives no parts of files" in said[0]


@pytest.mark.parametrize("at", [0.3, 0.9, 0.9999])
def test_a_truncated_archive_gives_what_is_there(archive, tmp_path, at):
    place, members = archive
    short = tmp_path / place.name
    short.write_bytes(place.read_bytes()[: int(place.stat().st_size * at)])
    book, cuts = cut(short, tmp_path / "book")
    assert "what follows is lost" in book.end.damage
    assert book.end.members == sum(piece.members for piece, _ in cuts)
    whole = [(name, data) for name, data in _readable(cuts) if data is not None]
    assert whole == members[: len(whole)]
    assert book.end.members - len(whole) in (0, 1)
    _, again = cut(short, tmp_path / "book", {piece.name for piece, _ in cuts[:1]})
    assert again[1:] == cuts[1:]


def _readable(cuts):
    from xmatch_hats.errors import PacketError

    for piece, data in cuts:
        for _, raw in slice_packets(data, piece.members, "x"):
            try:
                yield raw.name, raw.read()
            except PacketError:
                yield raw.name, None


def test_a_member_that_is_too_large_is_passed_by(tmp_path):
    place = tmp_path / "ztf_public_20200101.tar.gz"
    size = (256 << 20) + 1
    with gzip.open(place, "wb", 1) as file:
        for name, length in (("a.avro", 3), ("b.avro", size), ("c.avro", 4)):
            member = tarfile.TarInfo(name)
            member.size = length
            file.write(member.tobuf())
            for _ in range(length >> 20):
                file.write(bytes(1 << 20))
            file.write(bytes(length % (1 << 20) + -length % 512))
        file.write(bytes(1024))
    book, cuts = cut(place, tmp_path / "book")
    assert [piece.members for piece, _ in cuts] == [2, 1]
    assert [len(data) for _, data in cuts] == [1536, 1024]
    assert book.end.damage is None
    names = [raw.name for piece, data in cuts for _, raw in slice_packets(data, piece.members, "x")]
    assert names == ["a.avro", "b.avro", "c.avro"]


def test_what_is_no_archive(tmp_path):
    place = tmp_path / "ztf_public_20200101.tar.gz"
    for content, words in ((b"", "empty file"), (b"hello" * 200, "damaged"), (gzip.compress(b"x" * 600), "damaged")):
        place.write_bytes(content)
        book, cuts = cut(place, tmp_path / f"book{len(content)}")
        assert cuts == []
        assert words in book.end.damage
        assert book.end.members == 0


def test_hidden_members_folders_and_links(tmp_path):
    place = tmp_path / "ztf_public_20200101.tar"
    with tarfile.open(place, "w") as tar:
        for name, kind in ((".hidden", tarfile.REGTYPE), ("folder", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            tar.addfile(member)
        member = tarfile.TarInfo("x" * 300)
        member.size = 5
        tar.addfile(member, io.BytesIO(b"12345"))
    _, cuts = cut(place, tmp_path / "book")
    ((piece, data),) = cuts
    assert piece.members == 4
    found = list(slice_packets(data, 4, "x"))
    assert [(number, raw is None) for number, raw in found] == [(0, True), (2, True), (3, False)]
