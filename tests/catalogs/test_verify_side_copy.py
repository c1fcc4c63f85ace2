"""Every fault of a side copy is found by its own check, and by no other."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from tests.catalogs.tampering import failed, quick, twice, with_value, without_row
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import SideCopy, build_side_copy
from xmatch_hats.catalogs.verify import verify_copy, verify_side_copy
from xmatch_hats.errors import CatalogError


@pytest.fixture
def sided(copy, intact):
    """A copy with its side copy, and a partition of it with some rows."""
    shutil.copytree(intact / "side_copy", copy.path / "side_copy")
    opened = LocalCopy.open(copy.path)
    side = SideCopy.find(opened)
    return copy, opened, side, max(side.sizes, key=lambda partition: side.sizes[partition][0])


def rewrite(path, change) -> None:
    """Change the rows of a file of a side copy."""
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    changed = change(table).combine_chunks()
    rows = pa.record_batch([column.combine_chunks() for column in changed.columns], schema=changed.schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_batch(rows)


def swapped(table: pa.Table) -> pa.Table:
    order = np.arange(table.num_rows)
    order[[3, -1]] = order[[-1, 3]]
    return table.take(order)


def renamed(table: pa.Table) -> pa.Table:
    named = table.rename_columns([*table.column_names[:-1], "other"])
    return named.replace_schema_metadata(table.schema.metadata)


def nothing(table: pa.Table) -> pa.Table:
    return table.slice(0, 0)


@pytest.mark.parametrize(
    ("change", "detail", "row"),
    [
        (lambda table: with_value(table, "source", 5, 7), "differs from the row of the main table", 5),
        (lambda table: with_value(table, "ra", 6, 1e-300), "differs from the row of the main table", 6),
        (lambda table: with_value(table, "source", 7, None), "bytes, its description says", None),
        (swapped, "comes after a row of a higher HEALPix index", 4),
        (lambda table: twice(table, 2), "rows, its side copy says", None),
        (lambda table: without_row(table, 2), "rows, its side copy says", None),
        (nothing, "has 0 rows, its side copy says", None),
        (renamed, "has other columns", None),
        (lambda table: table.replace_schema_metadata({}), "is of another version", None),
    ],
    ids=["value", "position", "null", "unsorted", "twice", "lost", "empty", "columns", "version"],
)
def test_wrong_rows(sided, change, detail, row):
    copy, _, side, partition = sided
    rewrite(side.path(partition), change)
    report = quick(copy)
    assert failed(report) == {"side-copy"}
    place = report["side-copy"].places[0]
    assert place.file == side.path(partition).relative_to(copy.path).as_posix()
    assert place.partition == f"Norder={partition[0]},Npix={partition[1]}"
    assert detail in place.detail
    assert place.row == row
    assert "`xmatch-hats catalog side-copy` makes it anew" in report["side-copy"].note


def test_lost_damaged_and_stray_files(sided):
    copy, opened, side, _ = sided
    lost, garbled, cut = (side.path(partition) for partition in opened.partitions[:3])
    lost.unlink()
    garbled.write_bytes(b"x" * 5000)
    cut.write_bytes(cut.read_bytes()[:-30])
    (lost.parent / "Npix=99999.arrow").write_bytes(b"")
    check = verify_copy(copy.path)["side-copy"]
    assert check.faults == 4
    assert {place.file.rpartition("/")[2] for place in check.places} == {
        lost.name, garbled.name, cut.name, "Npix=99999.arrow"
    }  # fmt: skip
    assert failed(verify_copy(copy.path)) == {"side-copy"}
    build_side_copy(opened)
    assert verify_copy(copy.path).passed


def test_a_flipped_byte(sided):
    copy, _, side, partition = sided
    path = side.path(partition)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert failed(quick(copy)) == {"side-copy"}


def test_one_of_another_version_or_unreadable(sided):
    copy, opened, _, _ = sided
    info = copy.path / "side_copy" / "side_copy.json"
    text = info.read_text()
    info.write_text(json.dumps(json.loads(text) | {"version": "another"}))
    report = quick(copy)
    assert failed(report) == {"side-copy"}
    assert report["side-copy"].places[0].detail == "is of another version of the copy"
    with pytest.raises(CatalogError, match="is of another version of the copy") as caught:
        report.raise_if_failed()
    assert caught.value.hint == "`xmatch-hats catalog side-copy` makes it anew"
    with pytest.raises(CatalogError, match="does not verify: side-copy"):
        verify_side_copy(opened).raise_if_failed()
    info.unlink()
    assert failed(quick(copy)) == {"side-copy"}


def test_a_broken_main_table_is_not_the_side_copys_fault(sided):
    copy, opened, _, partition = sided
    opened.partition_file(partition).write_bytes(b"")
    report = quick(copy)
    assert "side-copy" not in failed(report)
    assert report["side-copy"].note == "partitions that cannot be read were not compared"


def test_none_at_all_is_no_fault(copy):
    assert quick(copy)["side-copy"].state == "skipped"
    assert quick(copy)["side-copy"].note == "there is none"
