"""The side copy holds the main table's rows, appears whole or not at all, and disturbs nothing."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.catalogs.importing import Listener
from tests.copies import make_copy, sky_table
from tests.folders import contents
from xmatch_hats.catalogs import _side_copy_build as building
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import STAGES, build_copy
from xmatch_hats.catalogs.side_copy import SideCopy, build_side_copy, remove_side_copy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, PartitionReadError, UsageError

ROWS = 600
INNER = ("_healpix_29", "ra", "dec", "_row")


def odd_table() -> pa.Table:
    """Values that a copy could lose: nulls, NaN, both zeros, large integers, empty and long text, equal positions."""
    table = sky_table(ROWS, 8)
    ra, dec = table["ra"].to_numpy().copy(), table["dec"].to_numpy().copy()
    ra[:4], dec[:4] = [0.0, 359.9999999999, 45.0, 45.0], [0.0, 0.0, 90.0, -90.0]
    ra[10:14], dec[10:14] = 7.0, 7.0
    number = np.arange(ROWS)
    columns = {
        "ra": ra,
        "dec": dec,
        "wide": pa.array([None if i % 7 == 0 else (1 << 62) + i for i in number.tolist()], pa.int64()),
        "flux": np.where(number % 5 == 0, np.nan, np.where(number % 5 == 1, -0.0, number)),
        "text": pa.array([None if i % 3 == 0 else "" if i % 3 == 1 else "é" * i for i in number.tolist()]),
        "flag": pa.array([None if i % 4 == 0 else i % 2 == 0 for i in number.tolist()]),
    }
    return pa.table(columns)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An imported copy without a side copy."""
    folder = tmp_path_factory.mktemp("side") / "sky"
    return make_copy(odd_table(), folder, partition_rows=80, side_copy=False).path


@pytest.fixture
def copy(made, tmp_path) -> LocalCopy:
    shutil.copytree(made, tmp_path / "sky")
    return LocalCopy.open(tmp_path / "sky")


def bits(column: pa.Array | pa.ChunkedArray) -> list:
    """Values that can be compared: NaN equals itself, and zero is not minus zero."""
    return [repr(value) for value in column.to_pylist()]


def check_rows(copy: LocalCopy, side: SideCopy) -> None:
    for partition in copy.partitions:
        rows = side.read(partition)
        expected = pq.read_table(copy.partition_file(partition), partitioning=None)
        order = np.argsort(expected["_healpix_29"].to_numpy(), kind="stable")
        assert tuple(rows.schema.names) == side.columns
        for name in side.columns:
            assert rows.schema.field(name).type == copy.schema.field(name).type
            assert bits(rows.column(name)) == bits(expected[name].take(pa.array(order))), (partition, name)


def rewrite(copy: LocalCopy, number: int, change) -> tuple[int, int]:
    """Change the rows of a partition of the main table."""
    partition = copy.partitions[number]
    path = copy.partition_file(partition)
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    return partition


def test_it_holds_every_row_of_the_main_table_with_its_bits(copy):
    assert SideCopy.find(copy) is None
    steps = []
    side = build_side_copy(copy, progress=lambda done, total: steps.append((done, total)))
    assert side.columns == (*INNER, "wide", "flux", "text", "flag")
    assert steps == [(n, len(copy.partitions)) for n in range(1, len(copy.partitions) + 1)]
    assert SideCopy.find(copy) == side
    assert sum(rows for rows, _ in side.sizes.values()) == ROWS
    check_rows(copy, side)
    on_disk = contents(copy.path / "side_copy")
    assert side.bytes == sum(len(data) for name, data in on_disk.items() if name != "side_copy.json")
    assert len(on_disk) == len(copy.partitions) + 1


def test_the_same_copy_gives_the_same_bytes(copy):
    build_side_copy(copy)
    first = contents(copy.path / "side_copy")
    build_side_copy(copy)
    assert contents(copy.path / "side_copy") == first
    assert not (copy.path / ".side_copy").exists()


def test_columns_are_chosen_and_positions_and_id_always_there(copy):
    assert build_side_copy(copy, ["text", "ra", "text"]).columns == (*INNER, "text")
    assert SideCopy.find(copy).columns == (*INNER, "text")
    assert build_side_copy(copy, []).columns == INNER
    with pytest.raises(CatalogError, match=r"has no column txt.*near names: text"):
        build_side_copy(copy, ["txt"])
    with pytest.raises(UsageError):
        build_side_copy(copy, "text")


def test_rows_are_sorted_where_the_main_table_is_not(copy):
    shuffled = np.random.default_rng(1)
    partition = rewrite(copy, 2, lambda table: table.take(shuffled.permutation(table.num_rows)))
    rows = build_side_copy(copy).read(partition)
    assert (np.diff(rows.column("_healpix_29").to_numpy()) >= 0).all()
    check_rows(copy, SideCopy.find(copy))


@pytest.mark.parametrize("rows", [0, 1])
def test_a_partition_of_hardly_any_rows(copy, rows):
    partition = rewrite(copy, 0, lambda table: table.slice(0, rows))
    assert build_side_copy(copy).read(partition).num_rows == rows
    check_rows(copy, SideCopy.find(copy))


def test_a_foreign_copy_whose_partitions_are_folders(copy):
    (copy.path / "xmatch_hats.json").unlink()
    for partition in copy.partitions:
        path = copy.partition_file(partition)
        table = pq.read_table(path, partitioning=None)
        path.unlink()
        folder = path.with_suffix("")
        folder.mkdir()
        half = table.num_rows // 2
        pq.write_table(table.slice(0, half), folder / "a.parquet")
        pq.write_table(table.slice(half), folder / "b.parquet")
    for name in ("hats.properties", "properties"):
        path = copy.main_path / name
        path.write_text(path.read_text() + "hats_npix_suffix=/\n")
    foreign = LocalCopy.open(copy.path)
    assert foreign.manifest is None
    side = build_side_copy(foreign)
    check_rows(foreign, side)
    assert verify_copy(copy.path)["side-copy"].state == "passed"
    shutil.rmtree(foreign.partition_file(foreign.partitions[0]))
    foreign.partition_file(foreign.partitions[0]).mkdir()
    with pytest.raises(PartitionReadError, match="cannot be read"):
        build_side_copy(foreign)


def described(copy: LocalCopy, **values) -> None:
    path = copy.path / "side_copy" / "side_copy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda copy: described(copy, version="another"), "of another version"),
        (lambda copy: described(copy, format=2), "not the description of a side copy that this version understands"),
        (lambda copy: described(copy, partitions=[[0, 1, 2, 3]]), "other partitions"),
        (lambda copy: (copy.path / "side_copy" / "side_copy.json").write_bytes(b"\xff{"), "not the description"),
        (lambda copy: (copy.path / "side_copy" / "side_copy.json").unlink(), "is missing"),
    ],
)
def test_one_that_does_not_belong_to_its_copy_is_not_found_and_told_once(copy, caplog, spoil, message):
    build_side_copy(copy, [])
    spoil(copy)
    with caplog.at_level(logging.WARNING, "xmatch_hats"):
        assert SideCopy.find(copy) is None
        assert SideCopy.find(copy) is None
    assert [message in text for text in caplog.messages] == [True]
    assert "`xmatch-hats catalog side-copy` makes it anew" in caplog.text
    build_side_copy(copy, [])
    assert SideCopy.find(copy) is not None


def test_a_damaged_file_is_named(copy):
    side = build_side_copy(copy)
    first, second, third, fourth = (side.path(partition) for partition in copy.partitions[:4])
    first.unlink()
    second.write_bytes(second.read_bytes()[:-20])
    third.write_bytes(b"")
    shutil.copy(side.path(copy.partitions[4]), fourth)
    for partition in copy.partitions[:4]:
        with pytest.raises(PartitionReadError, match="catalog side-copy") as caught:
            side.read(partition)
        assert caught.value.place == str(side.path(partition))
    described(copy, version=copy.version, columns=[*INNER, "flux"])
    with pytest.raises(PartitionReadError, match="other columns"):
        SideCopy.find(copy).read(copy.partitions[5])


def test_a_file_of_another_version_is_refused(copy, made, tmp_path):
    side = build_side_copy(copy)
    shutil.copytree(made, tmp_path / "other")
    other = build_side_copy(replace(LocalCopy.open(tmp_path / "other"), version="another"))
    shutil.copy(other.path(copy.partitions[0]), side.path(copy.partitions[0]))
    with pytest.raises(PartitionReadError, match="of another version"):
        side.read(copy.partitions[0])


def test_what_is_mapped_stays_through_a_rebuild_and_a_removal(copy):
    before = contents(copy.path)
    rows = build_side_copy(copy).read(copy.partitions[1])
    expected = bits(rows.column("wide"))
    build_side_copy(copy, [])
    assert bits(rows.column("wide")) == expected
    remove_side_copy(copy)
    assert bits(rows.column("wide")) == expected
    assert SideCopy.find(copy) is None
    assert contents(copy.path) == before
    remove_side_copy(copy)


def test_what_is_mapped_stays_when_another_version_is_written_over_the_copy(copy, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(copy.path, other)
    build_side_copy(replace(LocalCopy.open(other), version="another"), [])
    rows = build_side_copy(copy).read(copy.partitions[1])
    expected = bits(rows.column("wide"))
    for path in other.rglob("*"):
        if path.is_file():
            (copy.path / path.relative_to(other)).parent.mkdir(parents=True, exist_ok=True)
            (copy.path / path.relative_to(other)).write_bytes(path.read_bytes())
    assert bits(rows.column("wide")) == expected
    assert SideCopy.find(copy) is None
    assert SideCopy.find(replace(copy, version="another")) is not None


KILLED = """
import os, signal, sys
from pathlib import Path
from xmatch_hats.catalogs import _side_copy_build
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import build_side_copy
place, calls = sys.argv[2], int(sys.argv[3])
owner = Path if place == "rename" else _side_copy_build
original, count = getattr(owner, place), 0
def fatal(*arguments):
    global count
    result = original(*arguments)
    count += 1
    if count == calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, place, fatal)
build_side_copy(LocalCopy.open(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("place", "calls", "written"),
    [("_write_whole", 5, 5), ("rename", 1, None)],
    ids=["while files are written", "between the old one and the new"],
)
def test_killed_and_taken_up(copy, monkeypatch, place, calls, written):
    build_side_copy(copy, ["flux"])
    arguments = [sys.executable, "-c", KILLED, str(copy.path), place, str(calls)]
    died = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    found = SideCopy.find(copy)
    assert found is None or found.columns == (*INNER, "flux")
    assert verify_copy(copy.path).passed
    fresh = []
    monkeypatch.setattr(building, "_write_whole", counted(building._write_whole, fresh))
    check_rows(copy, build_side_copy(copy))
    assert len(fresh) == 1 + len(copy.partitions) - (len(copy.partitions) if written is None else written)
    assert not (copy.path / ".side_copy").exists()


def counted(original, calls: list):
    def write(path, *arguments):
        calls.append(path)
        return original(path, *arguments)

    return write


def test_other_columns_start_clean(copy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(building.Builder, "_write", interrupt_after(2))
        with pytest.raises(KeyboardInterrupt):
            build_side_copy(copy, ["text"])
    assert len(list((copy.path / ".side_copy").rglob("*.arrow"))) == 2
    check_rows(copy, build_side_copy(copy, ["flux"]))


def interrupt_after(calls: int):
    original, left = building.Builder._write, [calls]

    def write(self, path, rows):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(self, path, rows)

    return write


def test_two_at_once_are_refused(copy):
    def second(done, total):
        for call in (build_side_copy, remove_side_copy):
            with pytest.raises(CatalogError, match="being written by another process"):
                call(copy)

    check_rows(copy, build_side_copy(copy, progress=second))


@pytest.mark.parametrize("early", [True, False])
def test_a_full_disk_leaves_the_former_one(copy, monkeypatch, early):
    former = build_side_copy(copy, ["flux"])

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if early:
            patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
        else:
            patch.setattr(building.os, "fsync", full)
        message = "the disk has 0 B free, it needs about [0-9.]+ kB more" if early else "No space left on device"
        with pytest.raises(CatalogError, match=message) as caught:
            build_side_copy(copy)
    assert caught.value.place == str(copy.path)
    assert "without one" in caught.value.hint
    assert SideCopy.find(copy) == former
    assert not list((copy.path / ".side_copy").rglob("*.arrow*"))


def test_a_folder_that_cannot_be_written_to(copy, monkeypatch):
    def refuse(self, *arguments, **keywords):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    build_side_copy(copy, [])
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CatalogError, match="cannot be written: Read-only file system"):
        build_side_copy(copy)
    with pytest.raises(CatalogError, match="cannot be removed: Read-only file system"):
        remove_side_copy(copy)
    assert SideCopy.find(copy) is not None


def test_a_partition_that_cannot_be_read_is_named(copy):
    former = build_side_copy(copy, ["flux"])
    path = copy.partition_file(copy.partitions[3])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PartitionReadError) as caught:
        build_side_copy(copy)
    assert caught.value.place == str(path)
    assert SideCopy.find(copy) == former


def test_nobody_else_is_disturbed(copy):
    from xmatch_hats.matching.states import folder_state

    before, files = folder_state(copy.path), set(copy.manifest.files)
    build_side_copy(copy)
    again = LocalCopy.open(copy.path)
    assert (again.version, again.partitions, set(again.manifest.files)) == (copy.version, copy.partitions, files)
    assert folder_state(copy.path) == before
    assert again.open_lsdb(["flux"]).compute().shape[0] == ROWS
    report = verify_copy(copy.path)
    assert report.passed
    assert report["side-copy"].looked_at == len(copy.partitions)
    remove_side_copy(copy)
    assert folder_state(copy.path) == before


@pytest.mark.parametrize("side", [True, False])
def test_an_import_whose_side_copy_failed_is_taken_up(made, tmp_path, monkeypatch, side):
    source, out = made.parent / "sky.source.parquet", tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(building.Builder, "_write", interrupt_after(2) if side else refused)
        with pytest.raises(KeyboardInterrupt if side else CatalogError) as caught:
            build_copy([source], out, workers=0, partition_rows=300)
    assert side or "--no-side-copy" in caught.value.hint
    assert not out.exists()
    listener = Listener()
    copy = build_copy([source], out, workers=0, partition_rows=300, side_copy=side, progress=listener)
    assert "resuming the import that was interrupted" in listener.said
    assert listener.stages == [stage for stage in STAGES if side or stage != "side copy"]
    assert (SideCopy.find(copy) is not None) == side
    assert sorted(path.name for path in copy.path.iterdir() if "side" in path.name) == ["side_copy"] * side
    assert verify_copy(copy.path).passed


def refused(self, path, rows):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))
