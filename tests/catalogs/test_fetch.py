"""Fetching rows: complete, exact, resumable, and never of two versions of a file."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.catalogs.remote_sky import Server, made_rows, now_and_then, write_hats
from xmatch_hats.catalogs import footer
from xmatch_hats.catalogs.fetch import Fetcher, Selection, plan_tasks
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.catalogs.remote import Retry
from xmatch_hats.catalogs.remote_catalog import open_remote
from xmatch_hats.errors import RemoteError

FAST = Retry(attempts=8, wait_initial_s=0.001, wait_max_s=0.005)
COLUMNS = ("ra", "dec", "source", "mag", "flag")
CONE = Cone(0.1, -0.2, 0.8)


class Counted:
    def __init__(self):
        self.bytes = self.rows = 0

    def fetched(self, bytes_, rows):
        self.bytes += bytes_
        self.rows += rows


@pytest.fixture(scope="module")
def rows():
    return made_rows(12_000)


@pytest.fixture(scope="module")
def sky(tmp_path_factory, rows):
    return write_hats(tmp_path_factory.mktemp("fetch") / "sky", rows, order=5, row_group_rows=300)


def in_cone(rows, cone, margin_arcsec):
    return rows.filter(pa.array(cone.row_mask(rows["ra"].to_numpy(), rows["dec"].to_numpy(), margin_arcsec)))


def selection(cone=None, columns=COLUMNS):
    if cone is None:
        return Selection(columns, "ra", "dec")
    return Selection(columns, "ra", "dec", cone.outer_ranges(10), lambda ra, dec: cone.row_mask(ra, dec, 10))


def fetch(url, folder, wanted, progress=None, workers=3, check=None):
    folder.mkdir(exist_ok=True)
    catalog = open_remote(str(url), FAST)
    tasks = plan_tasks(catalog, catalog.select(wanted.outer), wanted, workers)
    fetcher = Fetcher(catalog, wanted, folder, workers, progress or Counted(), check)
    parts = fetcher.run(tasks)
    tables = [pq.read_table(fetcher.file(t.name)) for t, p in zip(tasks, parts, strict=True) if p.rows_kept]
    return pa.concat_tables(tables).sort_by("source"), parts


def same(table, rows, columns=COLUMNS):
    assert table.equals(rows.select(columns).sort_by("source"))


@pytest.mark.parametrize("suffix", [".parquet", "/", ".parq"])
@pytest.mark.parametrize("cone", [None, CONE], ids=["whole", "cone"])
def test_rows_of_every_layout_come_as_they_are(tmp_path, rows, suffix, cone):
    folder = write_hats(tmp_path / "sky", rows, suffix=suffix, order=4)
    progress = Counted()
    table, parts = fetch(folder, tmp_path / "parts", selection(cone), progress)
    expected = rows if cone is None else in_cone(rows, cone, 10)
    same(table, expected)
    assert progress.rows == len(expected)
    assert sum(part.rows_read for part in parts) == len(rows) if cone is None else True
    assert not list((tmp_path / "parts").glob("*.fetching")) + list((tmp_path / "parts").glob("*.new"))


@pytest.mark.parametrize(
    ("column", "order", "narrows"), [("hp", 20, True), ("hp", 12, True), ("_hipscat_index", "", False)]
)
def test_an_index_of_another_order_loses_no_row(tmp_path, rows, column, order, narrows):
    index = np.asarray(rows["_healpix_29"]) >> 2 * (29 - (order or 3))
    table = rows.set_column(5, column, pa.array(index))
    folder = write_hats(tmp_path / "sky", table.append_column("_healpix_29", rows["_healpix_29"]), order=3)
    for path in folder.rglob("Npix=*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns("_healpix_29"), path, row_group_size=300)
    properties = folder / "made" / "hats.properties"
    text = properties.read_text().replace("healpix=_healpix_29", f"healpix={column}")
    properties.write_text(text.replace("order=29", f"order={order}"))
    table, parts = fetch(folder, tmp_path / "parts", selection(CONE))
    same(table, in_cone(rows, CONE, 10))
    assert (sum(part.rows_read for part in parts) < len(rows)) == narrows


def test_partitions_of_several_files_behind_a_web_server(tmp_path, rows):
    folder = write_hats(tmp_path / "sky", rows, suffix="/", order=4)
    with Server(folder, fault=now_and_then(5)) as server:
        table, parts = fetch(server.url, tmp_path / "parts", selection(CONE))
    same(table, in_cone(rows, CONE, 10))
    assert any(part.path.endswith("part1.parquet") for part in parts)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_server_that_fails_now_and_then(tmp_path, rows, sky, ranges):
    with Server(sky, ranges=ranges, fault=now_and_then(4)) as server:
        table, _ = fetch(server.url, tmp_path / "parts", selection(CONE))
        assert set(server.faults) == {"503", "close", "truncated", "short", "500", "429"}
    same(table, in_cone(rows, CONE, 10))


def test_bytes_that_come_but_make_no_sense_are_fetched_again(tmp_path, rows, sky):
    def fault(handler, _number):
        first = handler.command == "GET" and "Npix" in handler.path and handler.server.gets[handler.path] == 1
        return "garbage" if first else None

    with Server(sky, fault=fault) as server:
        table, _ = fetch(server.url, tmp_path / "parts", selection(CONE))
        assert server.faults["garbage"] >= 1
    same(table, in_cone(rows, CONE, 10))


def test_a_damaged_file_is_refused_by_name(tmp_path, sky):
    shutil.copytree(sky, tmp_path / "sky")
    victim = next(iter(sorted((tmp_path / "sky").rglob("Npix=*.parquet"))))
    content = bytearray(victim.read_bytes())
    content[1000:1100] = bytes(100)
    victim.write_bytes(content)
    with pytest.raises(RemoteError, match="is damaged") as caught:
        fetch(tmp_path / "sky", tmp_path / "parts", selection())
    assert victim.name in str(caught.value)


def test_only_what_is_needed_is_read(tmp_path, rows, sky, monkeypatch):
    monkeypatch.setattr(footer, "HOLE_BYTES", 100)
    whole, narrow = Counted(), Counted()
    fetch(sky, tmp_path / "whole", selection(), whole)
    tiny = Cone(0.5, 0.5, 0.02)
    table, _ = fetch(sky, tmp_path / "narrow", selection(tiny, ("ra", "dec", "source")), narrow)
    same(table, in_cone(rows, tiny, 10), ("ra", "dec", "source"))
    # Mostly the footer of one file of sixteen.
    assert narrow.bytes < whole.bytes / 10


def test_finished_files_are_not_fetched_again_unless_they_changed(tmp_path, rows, sky):
    shutil.copytree(sky, tmp_path / "sky")
    parts = tmp_path / "parts"
    fetch(tmp_path / "sky", parts, selection())
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    victims = sorted(kept)[:3]
    (parts / victims[0]).unlink()
    (parts / victims[1]).write_bytes(b"half")
    remote = sorted((tmp_path / "sky").rglob("Npix=*.parquet"))[-1]
    changed = pq.read_table(remote, partitioning=None)
    pq.write_table(changed.slice(1), remote)
    table, found = fetch(tmp_path / "sky", parts, selection())
    same(table, rows.filter(pc.not_equal(rows["source"], changed["source"][0])))
    again = [path.name for path in parts.glob("*.parquet") if path.stat().st_mtime_ns != kept[path.name]]
    assert len(again) == 3
    assert {victims[0], victims[1]} < set(again)
    assert sum(part.rows_read for part in found) == len(rows) - 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_tells_no_version(tmp_path, sky, ranges):
    """Footers tell versions apart; where there are neither, nothing old is trusted."""
    with Server(sky, ranges=ranges, etags=False) as server:
        _, parts = fetch(server.url, tmp_path / "parts", selection(CONE))
        before = sum(server.gets.values())
        fetch(server.url, tmp_path / "parts", selection(CONE))
        partitions = {path for path in server.gets if "Npix" in path}
        assert len(partitions) == len(parts)
        assert sum(server.gets.values()) - before < before


def test_a_file_that_changes_while_it_is_read(tmp_path, sky):
    shutil.copytree(sky, tmp_path / "sky")

    touched = []

    def fault(handler, _number):
        path = handler.server.folder / handler.path.lstrip("/")
        if handler.command == "GET" and handler.server.gets[handler.path] == 1 and "Npix" in path.name and not touched:
            touched.append(path)
            os.utime(path, ns=(1, 1))

    with Server(tmp_path / "sky", fault=fault) as server:
        with pytest.raises(RemoteError, match="changed while it was read") as caught:
            fetch(server.url, tmp_path / "parts", selection(CONE), workers=1)
        assert touched[0].name in str(caught.value)
        fetch(server.url, tmp_path / "parts", selection(CONE), workers=1)


def test_a_partition_that_is_missing(tmp_path, sky):
    shutil.copytree(sky, tmp_path / "sky")
    victim = sorted((tmp_path / "sky").rglob("Npix=*.parquet"))[0]
    victim.unlink()
    with Server(tmp_path / "sky") as server, pytest.raises(RemoteError, match="no such file") as caught:
        fetch(server.url, tmp_path / "parts", selection())
    assert victim.name in str(caught.value)


def test_a_check_refuses_before_anything_is_kept(tmp_path, sky):
    class RefusedError(Exception):
        pass

    def check(batches, place):
        for batch in batches:
            yield batch
            if np.asarray(batch["mag"].fill_null(0)).max() < 1e9:
                raise RefusedError(place)

    with pytest.raises(RefusedError, match="Npix"):
        fetch(sky, tmp_path / "parts", selection(), check=check)
    assert not list((tmp_path / "parts").glob("*.parquet"))


def test_columns_of_one_file_that_another_lacks(tmp_path, sky):
    shutil.copytree(sky, tmp_path / "sky")
    victim = sorted((tmp_path / "sky").rglob("Npix=*.parquet"))[0]
    pq.write_table(pq.read_table(victim, partitioning=None).drop_columns(["mag"]), victim)
    with pytest.raises(RemoteError, match="lacks the columns mag") as caught:
        fetch(tmp_path / "sky", tmp_path / "parts", selection())
    assert victim.name in str(caught.value)
