"""Headers of members, against those of the library."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmatch_hats.alerts.archive import QuickHeader, member_header

NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300), st.text("ab/.", max_size=120)
)
NUMBERS = st.one_of(st.integers(0, 1 << 20), st.sampled_from([8**11 - 1, 8**11, 1 << 40]))
FIELDS = ("name", "size", "mtime", "type", "chksum")


def library_header(name: str, size: int, modified: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.type = size, modified, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def fields_of(reader: type[tarfile.TarInfo], buf: bytes) -> list[object] | type[Exception]:
    try:
        header = reader.frombuf(buf, "utf-8", "surrogateescape")
    except (tarfile.TarError, TypeError) as error:
        return type(error)
    return [getattr(header, name) for name in FIELDS]


class TestMemberHeader:
    @given(NAMES, NUMBERS, NUMBERS)
    def test_writes_what_the_library_writes(self, name, size, modified):
        member = tarfile.TarInfo(name)
        member.size, member.mtime = size, modified
        assert member_header(name, size, modified) == member.tobuf()


class TestQuickHeader:
    @given(NAMES, NUMBERS, NUMBERS, st.sampled_from([*b"0127xgLKS", 0]))
    def test_reads_what_the_library_reads(self, name, size, modified, kind):
        for start in range(0, len(buf := library_header(name, size, modified, bytes([kind]))), 512):
            piece = buf[start : start + 512]
            assert fields_of(QuickHeader, piece) == fields_of(tarfile.TarInfo, piece)

    @given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
    def test_reads_damaged_headers_as_the_library_does(self, changes, mends_sum):
        buf = bytearray(library_header("folder/name.avro", 63_000, 1_543_000_000))
        for place, byte in changes:
            buf[place] = byte
        if mends_sum:
            buf[148:156] = b"%06o\0 " % (sum(buf) - sum(buf[148:156]) + 8 * 32)
        expected = fields_of(tarfile.TarInfo, bytes(buf))
        found = fields_of(QuickHeader, bytes(buf))
        owners = any(100 <= place < 124 or 329 <= place < 345 for place, _ in changes)
        # Owners are not looked at: what is no number there damages nothing.
        assert found == expected or (owners and expected is tarfile.InvalidHeaderError)

    def test_plain_headers_are_not_left_to_the_library(self, monkeypatch):
        monkeypatch.setattr(tarfile.TarInfo, "frombuf", None)
        buf = member_header("folder/name.avro", 63_000, 1_543_000_000)
        assert fields_of(QuickHeader, buf)[:3] == ["folder/name.avro", 63_000, 1_543_000_000]
        assert fields_of(QuickHeader, buf[:156] + b"1" + buf[157:]) is TypeError

    @pytest.mark.parametrize("buf", [b"", bytes(512), b"x" * 511])
    def test_refuses_what_the_library_refuses(self, buf):
        assert fields_of(QuickHeader, buf) == fields_of(tarfile.TarInfo, buf)
        assert isinstance(fields_of(QuickHeader, buf), type)
