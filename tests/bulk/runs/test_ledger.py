"""Records that outlive whatever kills a run."""

from __future__ import annotations

import pickle

import pytest

from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.bulk.runs.task import Failure
from xmatch_hats.errors import OutputError


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


def test_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        Ledger(tmp_path / "file").begin()


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
