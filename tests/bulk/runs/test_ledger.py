"""Records that outlive whatever kills a run, and files that appear whole or never."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.bulk.runs.task import Failure
from xmatch_hats.bulk.runs.whole import output_fault, written_whole
from xmatch_hats.errors import CatalogError, OutputError


def test_what_is_written_is_read(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "ledger")
    assert ledger.done() == ledger.set_aside() == {}
    ledger.write("Norder=1,Npix=4", {"rows": 3, "nested": {"a": [1, None, "ä"]}})
    ledger.write_failure("other", Failure("cannot be read", 3, "trace"))
    again = Ledger(tmp_path / "deep" / "ledger")
    assert again.done() == {"Norder=1,Npix=4": {"rows": 3, "nested": {"a": [1, None, "ä"]}}}
    assert again.record("Norder=1,Npix=4") == {"rows": 3, "nested": {"a": [1, None, "ä"]}}
    assert again.record("other") is None
    assert again.set_aside() == {"other": Failure("cannot be read", 3, "trace")}
    again.begin()
    assert again.set_aside() == {}
    assert len(again.done()) == 1


def test_names_with_dots(tmp_path):
    ledger = Ledger(tmp_path)
    names = ["ztf_public_20240101.0001", "ztf_public_20240101.0001.json", "a"]
    for number, name in enumerate(names):
        ledger.write(name, {"number": number})
    assert {name: record["number"] for name, record in ledger.done().items()} == dict(zip(names, range(3), strict=True))


@pytest.mark.parametrize("record", [{"a": float("nan")}, {"a": {1, 2}}])
def test_only_json_is_a_record(tmp_path, record):
    ledger = Ledger(tmp_path)
    with pytest.raises((TypeError, ValueError)):
        ledger.write("a", record)
    assert ledger.done() == {}


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
    with pytest.raises(OutputError, match="cannot be written"):
        Ledger(tmp_path / "file").begin()
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


def test_a_value_that_is_shared(tmp_path):
    first = Shared.write({"many": list(range(10_000))}, tmp_path / "plan")
    assert len(pickle.dumps(first)) < 1000
    travelled = pickle.loads(pickle.dumps(first))
    assert travelled.value == {"many": list(range(10_000))}
    assert travelled.value is first.value
    # Another value under the same name is not taken for the one that was read.
    second = Shared.write("other", tmp_path / "plan")
    assert second.value == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]
