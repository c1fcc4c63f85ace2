"""What is read, and what happens when it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.matching.skies import clump, partition_files, write_copy
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.crossmatcher import ENGINES, CatalogTarget, Crossmatcher
from xmatch_hats.matching.partitions import PartitionIndex


def bytes_read() -> int:
    """Bytes that this process has read so far by system calls, whoever made them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4 : len(data) - 200] = b"\xff" * (len(data) - 204)
    path.write_bytes(data)


def change_type(path: Path) -> None:
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index("w1mpro")
    pq.write_table(table.set_column(place, "w1mpro", table["designation"]), path)


@pytest.fixture
def own_copy(copy_path, tmp_path):
    return shutil.copytree(copy_path, tmp_path / "copy")


def match_all(path, sky, engine, **keywords):
    with Crossmatcher([CatalogTarget(path, radius_arcsec=5.0, **keywords)], workers=0, engine=engine) as matcher:
        return matcher.match(sky.ra, sky.dec)["sky"]


@pytest.mark.parametrize("damage", [Path.unlink, truncate, overwrite], ids=["deleted", "truncated", "overwritten"])
@pytest.mark.parametrize(("engine", "kind"), [("resident", "main"), ("lsdb", "main"), ("lsdb", "margin")])
def test_a_file_that_cannot_be_read_fails_the_batch_by_name(sky, own_copy, engine, kind, damage):
    path = max(partition_files(own_copy, kind), key=lambda p: p.stat().st_size)
    damage(path)
    with pytest.raises(PartitionReadError) as caught:
        match_all(own_copy, sky, engine)
    assert str(path) in str(caught.value)
    assert "Norder=" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("engine", ENGINES)
def test_also_on_a_cluster(sky, own_copy, dask_client, engine):
    path = partition_files(own_copy)[3]
    truncate(path)
    with (
        Crossmatcher([CatalogTarget(own_copy, radius_arcsec=5.0)], client=dask_client, engine=engine) as matcher,
        pytest.raises(PartitionReadError, match=path.name),
    ):
        matcher.match(sky.ra, sky.dec)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_with_another_type_fails_the_batch(sky, own_copy, engine):
    path = partition_files(own_copy)[0]
    change_type(path)
    with pytest.raises(PartitionReadError, match="Norder="):
        match_all(own_copy, sky, engine)
    assert len(match_all(own_copy, sky, engine, columns=["cntr"]).left)


@pytest.mark.parametrize("engine", ENGINES)
def test_untouched_partitions_are_not_even_opened(sky, own_copy, engine):
    """All other files are deleted, and the answer is the same."""
    copy = open_copy(own_copy)
    rng = np.random.default_rng(1)
    near = clump(rng, 45.0, 0.0, 300, 0.2)
    target = CatalogTarget(copy, radius_arcsec=5.0)
    with Crossmatcher([target], workers=0, engine=engine) as matcher:
        before = matcher.match(*near)["sky"]
    index = PartitionIndex.from_pixels(copy.partitions)
    _, touched = index.touched(cells_of(*near), 5.1)
    kept = {(f"Norder={index.pixels[i][0]}", f"Npix={index.pixels[i][1]}") for i in touched}
    untouched = [
        path
        for path in [*partition_files(own_copy), *partition_files(own_copy, "margin")]
        if (path.parts[-3], path.stem) not in kept
    ]
    assert len(untouched) > 40
    for path in untouched:
        path.unlink()
    with Crossmatcher([target], workers=0, engine=engine) as matcher:
        after = matcher.match(*near)["sky"]
    assert before.rows.equals(after.rows)
    np.testing.assert_array_equal(before.status, after.status)


@pytest.mark.parametrize("engine", ENGINES)
def test_only_asked_columns_are_read(sky, tmp_path, engine):
    """The text column is most of the bytes of a copy; matching without it reads less than the rest."""
    rng = np.random.default_rng(2)
    frame = sky.frame.assign(note=[rng.bytes(1000).hex() for _ in range(len(sky.frame))])
    path = write_copy(frame, tmp_path, name="wide", partition_rows=3000)
    metadata = [pq.read_metadata(p) for kind in ("main", "margin") for p in partition_files(path, kind)]
    sizes: dict[str, int] = {}
    for m in metadata:
        for group in range(m.num_row_groups):
            for i in range(m.num_columns):
                chunk = m.row_group(group).column(i)
                sizes[chunk.path_in_schema] = sizes.get(chunk.path_in_schema, 0) + chunk.total_compressed_size
    # Each footer is read twice at most, 64 KiB at a time.
    allowed = sizes["ra"] + sizes["dec"] + sizes["cntr"] + sizes["_healpix_29"] + 2 * 65_536 * len(metadata)
    assert sizes["note"] > allowed
    with Crossmatcher([CatalogTarget(path, radius_arcsec=5.0, columns=["cntr"])], workers=0, engine=engine) as matcher:
        matcher.match(sky.ra[:10], sky.dec[:10])
        start = bytes_read()
        matcher.match(sky.ra, sky.dec)
        assert bytes_read() - start < allowed


def _forget_partitions():
    from xmatch_hats.matching.resident.work import CACHE

    for key in list(CACHE._held):
        CACHE._give_up(key)


def test_both_workers_work(sky, copy_path, dask_client):
    with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=5.0)], client=dask_client, cache_bytes=0) as matcher:
        matcher.match(sky.ra, sky.dec)
        # What other tests have left open in these workers would be read by nobody.
        dask_client.run(_forget_partitions)
        before = dask_client.run(bytes_read)
        matcher.match(sky.ra, sky.dec)
        after = dask_client.run(bytes_read)
    files = sum(path.stat().st_size for path in partition_files(copy_path))
    assert len(before) == 2
    assert all(after[worker] - before[worker] > files / 20 for worker in before)


def test_the_catalogue_is_opened_once(sky, copy_path, monkeypatch):
    from xmatch_hats.catalogs.copy import LocalCopy

    opened = []
    original = LocalCopy.open_lsdb
    monkeypatch.setattr(LocalCopy, "open_lsdb", lambda self, columns: opened.append(columns) or original(self, columns))
    with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=5.0, columns=["w1mpro"])], workers=0) as matcher:
        for start in range(0, 300, 100):
            matcher.match(sky.ra[start : start + 100], sky.dec[start : start + 100])
    assert opened == [["w1mpro", "cntr"]]
