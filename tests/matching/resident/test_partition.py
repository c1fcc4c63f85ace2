"""An open partition gives the rows that its files hold, however it was opened and whatever was asked before."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.matching.resident.conftest import ROWS, plain, source_of
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import build_side_copy
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.resident.partition import MappedPartition, ParquetPartition, Source, open_partition

HERE = (0, 0)


def write_partition(folder: Path, *tables: pa.Table, suffix: str = ".parquet", **settings):
    """A lone partition of a catalogue that nobody has recorded anything of."""
    path = folder / "dataset" / "Norder=0" / "Dir=0" / f"Npix=0{suffix if suffix != '/' else ''}"
    paths = [path / f"part{i}.parquet" for i in range(len(tables))] if suffix == "/" else [path]
    for path, table in zip(paths, tables, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, **settings)
    schema = pa.schema([(field.name, field.type) for field in tables[0].schema])
    return Source(folder, suffix, "0", "ra", "dec", has_index=False), schema


def scattered(n: int, seed: int = 0) -> pa.Table:
    """Rows in no order."""
    rng = np.random.default_rng(seed)
    return pa.table({"ra": rng.uniform(50, 60, n), "dec": rng.uniform(20, 30, n), "number": np.arange(n)})


def assert_whole(partition, table: pa.Table) -> None:
    """The sky is that of the table, and every place of it leads to its row."""
    sky = partition.sky
    assert (np.diff(sky.index) >= 0).all()
    np.testing.assert_array_equal(sky.index, cells_of(sky.ra, sky.dec))
    schema = pa.schema([("number", pa.int64())])
    numbers = partition.take(np.arange(len(sky)), schema)["number"].to_numpy()
    for name, values in (("ra", sky.ra), ("dec", sky.dec)):
        np.testing.assert_array_equal(table[name].to_numpy()[numbers], values)


@pytest.mark.parametrize("kind", ["parquet", "mapped"])
def test_any_columns_of_any_rows_in_any_order(own, side, kind):
    copy = own.copy
    schema = plain(copy, "name", "source_id", "flux")
    partition = open_partition(source_of(copy), copy.partitions[0], schema, side if kind == "mapped" else None)
    assert isinstance(partition, MappedPartition if kind == "mapped" else ParquetPartition)
    whole = pq.read_table(copy.partition_file(copy.partitions[0]), partitioning=None)
    np.testing.assert_array_equal(partition.sky.index, whole["_healpix_29"].to_numpy())
    np.testing.assert_array_equal(partition.sky.ra, whole["ra"].to_numpy())
    rng = np.random.default_rng(4)
    for names in (["name"], ["source_id", "name"], ["flux"], ["name", "source_id", "flux"], []):
        # Few rows first, in one row group; later all.
        for places in ([5], [6, 3, 3], rng.integers(0, ROWS, 200), rng.permutation(ROWS)):
            places = np.asarray(places, dtype=np.int64)
            taken = partition.take(places, plain(copy, *names) if names else pa.schema([]))
            assert taken.schema.names == names
            for name in names:
                assert taken[name].equals(whole[name].combine_chunks().take(pa.array(places)))


def test_only_row_groups_that_are_met_again_become_resident(own):
    copy = own.copy
    schema = plain(copy)
    partition = ParquetPartition(source_of(copy), copy.partitions[0], schema)
    positions = partition.bytes
    assert positions == 24 * ROWS
    sizes = []
    for places in ([], [1, 2], [100], [3], [ROWS - 1], [ROWS - 2, 1], [9000, 1], range(ROWS), range(ROWS)):
        partition.take(np.array(places, dtype=np.int64), schema)
        sizes.append(partition.bytes)
    assert sizes[0] == sizes[1] == positions
    assert positions < sizes[2] == sizes[3] == sizes[4] < sizes[5] == sizes[6] < sizes[7] == sizes[8]


def test_mapped_bytes_are_those_of_the_file(own, side):
    partition = MappedPartition(source_of(own.copy), own.copy.partitions[0], plain(own.copy, "flux"), side)
    size = side.path(own.copy.partitions[0]).stat().st_size
    assert partition.bytes == size
    foreign = source_of(own.copy, has_index=False)
    sorted_anew = MappedPartition(foreign, own.copy.partitions[0], plain(own.copy, "flux"), side)
    assert sorted_anew.bytes == size + 32 * ROWS


def test_rows_in_no_order_and_rows_without_position(tmp_path):
    table = scattered(3000)
    ra, dec = table["ra"].to_numpy().copy(), table["dec"].to_numpy().copy()
    ra[[3, 4]], dec[[5, 6]] = [np.nan, np.inf], [np.nan, 90.5]
    broken = table.set_column(0, "ra", [ra]).set_column(1, "dec", [pa.array(dec, mask=np.arange(3000) == 7)])
    source, schema = write_partition(tmp_path, broken, row_group_size=700)
    partition = ParquetPartition(source, HERE, schema)
    assert len(partition.sky) == 3000 - 5
    assert_whole(partition, broken)


def test_a_folder_of_files(tmp_path):
    tables = [scattered(500, seed) for seed in range(3)]
    source, schema = write_partition(tmp_path, *tables, suffix="/", row_group_size=200)
    partition = ParquetPartition(source, HERE, schema)
    whole = pa.concat_tables(tables)
    sky = partition.sky
    order = np.argsort(cells_of(whole["ra"].to_numpy(), whole["dec"].to_numpy()), kind="stable")
    np.testing.assert_array_equal(sky.ra, whole["ra"].to_numpy()[order])
    places = np.random.default_rng(0).permutation(len(sky))[:400]
    taken = partition.take(places, schema)
    np.testing.assert_array_equal(taken["number"].to_numpy(), whole["number"].to_numpy()[order[places]])
    assert partition.is_current()
    pq.write_table(tables[0], tmp_path / "dataset" / "Norder=0" / "Dir=0" / "Npix=0" / "another.parquet")
    assert not partition.is_current()


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_rows(tmp_path, rows):
    table = scattered(rows)
    source, schema = write_partition(tmp_path, table)
    partition = ParquetPartition(source, HERE, schema)
    assert_whole(partition, table)
    assert partition.take(np.empty(0, np.int64), schema).num_rows == 0


def test_single_precision_and_text_ids(tmp_path):
    table = scattered(100)
    single = table.set_column(0, "ra", table["ra"].cast(pa.float32())).append_column("id", [list(map(str, range(100)))])
    source, schema = write_partition(tmp_path, single)
    partition = ParquetPartition(source, HERE, schema)
    assert_whole(partition, single)
    assert partition.take(np.arange(100), schema).schema == schema


def test_lists_structures_and_dictionaries(tmp_path):
    table = scattered(900)
    words = pa.array([f"word {i // 200}" for i in range(900)])
    odd = {
        "list": pa.array([[i] * (i % 3) if i % 5 else None for i in range(900)], pa.list_(pa.int32())),
        "structure": pa.array([{"a": i, "b": None if i % 4 else str(i)} for i in range(900)]),
        "dictionary": words.dictionary_encode(),
        "truth": pa.array([None if i % 3 else i % 2 == 0 for i in range(900)]),
        "none": pa.nulls(900),
    }
    for name, column in odd.items():
        table = table.append_column(name, column)
    source, schema = write_partition(tmp_path, table, row_group_size=250)
    partition = ParquetPartition(source, HERE, schema)
    for places in ([3], [800, 2], range(900)):
        taken = partition.take(np.array(places, dtype=np.int64), schema)
        assert taken.schema == schema
        numbers = taken["number"].to_numpy()
        for name in odd:
            assert taken[name].to_pylist() == table[name].take(pa.array(numbers)).to_pylist()


def test_a_file_that_is_exchanged_answers_no_more(tmp_path):
    table = scattered(2000)
    source, schema = write_partition(tmp_path, table, row_group_size=500)
    path = source.path(HERE)
    partition = ParquetPartition(source, HERE, schema)
    partition.take(np.arange(3), schema)
    times = path.stat()
    data = path.read_bytes()
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not partition.is_current()
    with pytest.raises(PartitionReadError, match="Norder=0, Npix=0 cannot be read: it was exchanged meanwhile"):
        partition.take(np.arange(2000), schema)
    path.unlink()
    assert not partition.is_current()


def narrow_number(path: Path) -> None:
    pq.write_table(scattered(3).cast(pa.schema([("ra", "f8"), ("dec", "f8"), ("number", "i4")])), path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read"),
        (lambda path: path.write_bytes(b"PAR1" + bytes(500)), "cannot be read"),
        (lambda path: (path.unlink(), path.mkdir()), "empty folder"),
        (lambda path: pq.write_table(scattered(3).drop_columns("dec"), path), "dec is no double"),
        (lambda path: pq.write_table(scattered(3).drop_columns("number"), path), "number is no int64"),
        (narrow_number, "number is no int64"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, damage, says):
    source, schema = write_partition(tmp_path, scattered(50))
    damage(source.path(HERE))
    with pytest.raises(PartitionReadError, match=says) as caught:
        ParquetPartition(source, HERE, schema)
    assert caught.value.place == str(source.path(HERE))
    assert caught.value.hint


def test_other_columns_are_checked_when_they_are_asked_for(own):
    copy = own.copy
    partition = ParquetPartition(source_of(copy), copy.partitions[0], plain(copy, "flux"))
    with pytest.raises(PartitionReadError, match="flux is no string"):
        partition.take(np.arange(3), pa.schema([("flux", pa.string())]))
    with pytest.raises(PartitionReadError, match="nothing is no int64"):
        partition.take(np.arange(3), pa.schema([("nothing", pa.int64())]))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:5000])])
def test_a_damaged_side_copy_is_left_aside(own, folder, damage, caplog):
    copy = LocalCopy.open(folder)
    side = build_side_copy(copy, ["flux"])
    path = side.path(copy.partitions[0])
    mapped = open_partition(source_of(copy), copy.partitions[0], plain(copy, "flux"), side)
    assert isinstance(mapped, MappedPartition)
    damage(path)
    assert not mapped.is_current()
    assert "from the catalogue itself" not in caplog.text
    partition = open_partition(source_of(copy), copy.partitions[0], plain(copy, "flux"), side)
    assert isinstance(partition, ParquetPartition)
    assert "from the catalogue itself" in caplog.text


def test_wrong_offsets_of_texts_are_found_before_any_is_used_and_wrong_texts_when_they_are(own, folder):
    copy = LocalCopy.open(folder)
    side, schema = build_side_copy(copy, ["name"]), plain(copy, "name")
    path = side.path(copy.partitions[0])
    rows, whole = side.read(copy.partitions[0]), path.read_bytes()
    _, offsets, texts = (None if part is None else part.to_pybytes() for part in rows["name"].buffers())
    # No letter of it is one of UTF-8, but its places are well.
    path.write_bytes(whole.replace(texts, b"\xff" + texts[1:]))
    mapped = open_partition(source_of(copy), copy.partitions[0], schema, side)
    assert isinstance(mapped, MappedPartition)
    assert len(mapped.take(np.arange(1, 4), schema)) == 3
    with pytest.raises(PartitionReadError, match="UTF8") as caught:
        mapped.take(np.arange(3), schema)
    assert str(path) in str(caught.value)
    path.write_bytes(whole.replace(offsets, offsets[:8] + b"\xff\xff\xff\x7f" + offsets[12:]))
    assert isinstance(open_partition(source_of(copy), copy.partitions[0], schema, side), ParquetPartition)
