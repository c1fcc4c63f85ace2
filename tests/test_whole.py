"""Files that appear whole or never, and what it means that they cannot be written."""

from __future__ import annotations

import errno
import os

import pytest

from xmatch_hats.errors import CatalogError, OutputError
from xmatch_hats.whole import output_fault, written_whole


def test_a_file_is_whole_or_not_there(tmp_path):
    path, scratch = tmp_path / "deep" / "file", tmp_path / "scratch"
    with written_whole(path, scratch) as file:
        file.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    with pytest.raises(TypeError), written_whole(path, scratch) as file:
        file.write("no bytes")
    assert path.read_bytes() == b"first"
    assert list(scratch.iterdir()) == []


def test_two_may_write_one_file(tmp_path):
    path, scratch = tmp_path / "file", tmp_path / "scratch"
    with written_whole(path, scratch) as one, written_whole(path, scratch) as other:
        one.write(b"same")
        other.write(b"same")
    assert path.read_bytes() == b"same"


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(OutputError, match=r"file/below: cannot be written: .*(Not a directory|File exists)"),
        written_whole(tmp_path / "file" / "below", tmp_path / "scratch"),
    ):
        pass
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(OutputError, match=r"whole: cannot be written: No space left on device \(make room"),
        written_whole(tmp_path / "whole", tmp_path / "scratch"),
    ):
        raise full
    assert not (tmp_path / "whole").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_device_that_is_full():
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError, match="No space") as caught:
        file.write(b"x")
    fault = output_fault(caught.value, "a/place")
    assert str(fault).startswith("a/place: cannot be written: No space left on device")


def test_what_means_that_there_is_no_room():
    def chained(cause):
        try:
            raise CatalogError("cannot be written", place="out/part") from cause
        except CatalogError as error:
            return error

    for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        assert output_fault(chained(OSError(code, "text")), "there").place == "out/part"
        assert output_fault(OSError(code, "text", "name"), "there").place == "name"
    assert output_fault(chained(OSError(errno.EIO, "text")), "there") is None
    assert output_fault(ValueError("x"), "there") is None
    own = OutputError("cannot be written", place="x")
    assert output_fault(own, "there") is own
