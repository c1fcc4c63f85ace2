"""Units that do not fit in memory: worked in pieces, with the bytes that they have when they do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bulk.catalogs.skies import read_rows, write_plain
from tests.bulk.catalogs.test_run import data_of
from tests.copies import make_copy, patch_table
from tests.matching.skies import partition_files
from tests.oracle import brute_force
from tests.shared import full_size
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.catalogs import memory, pieces
from xmatch_hats.bulk.catalogs.partition import PartitionFile
from xmatch_hats.bulk.catalogs.run import prepare
from xmatch_hats.bulk.catalogs.settings import Settings
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.rule import MatchRule


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """Two patches around a corner of base cells: one partition on the left, one or several on the right."""
    folder = tmp_path_factory.mktemp("dense")
    rng = np.random.default_rng(4)
    right = patch_table(6000, 45.0, 0.0, 1.0, seed=5)
    right = right.append_column("text", pa.array([f"text {n}" * 5 for n in range(6000)]))
    left = right.select(["ra", "dec"]).to_pandas().sample(4000, random_state=1).reset_index(drop=True)
    left = left.assign(
        ra=left["ra"] + rng.normal(0, 2e-4, 4000),
        dec=left["dec"] + rng.normal(0, 2e-4, 4000),
        oid=np.arange(4000),
        many=pd.Series([[1.5] * (n % 4) for n in range(4000)]),
    )
    write_plain(left, folder / "left", 1)
    make_copy(right, folder / "coarse", partition_rows=100_000)
    make_copy(right, folder / "fine", partition_rows=500)
    return folder, left, right.to_pandas()


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        (100, "fine"),
        (300, "coarse"),
        *(full_size(*case) for case in ((100, "coarse"), (300, "fine"))),
    ],
)
def test_pieces_change_no_byte(dense, tmp_path, monkeypatch, layout, rows):
    folder, left, right = dense
    arguments = {"radius_arcsec": 3.0, "n_neighbors": None, "join": "left", "left_where": "oid >= 0"}
    crossmatch_catalogs(folder / "left", folder / layout, tmp_path / "whole", workers=0, **arguments)
    made = []
    original = pieces.spans_of
    monkeypatch.setattr(
        "xmatch_hats.bulk.catalogs.join.spans_of", lambda unit, plan: made.append(original(unit, plan)) or made[-1]
    )
    free = rows * 1000
    crossmatch_catalogs(
        folder / "left", folder / layout, tmp_path / "pieces", workers=0,
        memory_per_worker=memory.LEAST_BYTES, **arguments,
    )  # fmt: skip
    assert all(len(spans) == 1 for spans, _ in made)
    made.clear()
    monkeypatch.setattr(memory.Budget, "free_bytes", property(lambda _: free))
    crossmatch_catalogs(folder / "left", folder / layout, tmp_path / "small", workers=0, **arguments)
    assert max(len(spans) for spans, _ in made) >= 3
    whole = data_of(tmp_path / "whole")
    assert whole == data_of(tmp_path / "pieces") == data_of(tmp_path / "small")
    found = brute_force(left["ra"], left["dec"], right["ra"], right["dec"], 3.0)
    rows_out = read_rows(tmp_path / "small").to_pandas().dropna(subset="_dist_arcsec")
    title = next(name for name in rows_out.columns if name.startswith("source_id"))
    pairs = set(zip(rows_out["oid"], rows_out[title], strict=True))
    assert pairs == set(zip(left["oid"][found.left], right["source_id"][found.right], strict=True))


def test_spans_cover_the_sphere_and_fit(dense, monkeypatch):
    folder, left, _ = dense
    monkeypatch.setattr(memory.Budget, "free_bytes", property(lambda _: 400_000))
    budget = memory.Budget.of(None)
    job = prepare(folder / "left", folder / "coarse", folder / "out", Settings(MatchRule(1.0)), budget)
    rows = 0
    for unit in job.units:
        spans, size = pieces.spans_of(unit, job.plan)
        order, pixel = min((*unit.left, *unit.right))
        first, end = (cell << 2 * (MAX_ORDER - order) for cell in (pixel, pixel + 1))
        assert [span.start for span in spans] == [first, *(span.stop for span in spans[:-1])]
        assert spans[-1].stop == end
        parts = [pieces.read_left(unit, span, job.plan) for span in spans]
        assert sum(part.examined for part in parts) == sum(len(part.table) for part in parts) == size
        assert max(part.table.nbytes for part in parts) <= 2 * budget.piece_bytes
        rows += size
    assert rows == len(left)


def test_the_parts_of_a_budget_fit_into_it():
    for size in (memory.LEAST_BYTES, 1 << 30, 4 << 30):
        budget = memory.Budget.of(size)
        # Each may be there twice, as rows are taken from it.
        assert memory.BASE_BYTES + 2 * budget.piece_bytes + 4 * budget.slice_bytes + budget.read_bytes <= size


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(6)
    table = pa.table(
        {
            "_healpix_29": np.arange(5000),
            "value": rng.normal(size=5000),
            "text": [f"text {n}" * (n % 9) for n in range(5000)],
            "many": pa.array([[n] * (n % 5) for n in range(5000)], pa.list_(pa.int64())),
        }
    )
    path = tmp_path_factory.mktemp("file") / "part.parquet"
    pq.write_table(table, path, row_group_size=3000)
    return path, table


@pytest.mark.parametrize("most", [1 << 30, 40_000, 3_000])
def test_rows_that_are_read_bit_by_bit_are_the_same(file, most):
    path, table = file
    with PartitionFile(path, table.schema, most) as opened:
        parts = list(opened.stream(table.column_names))
        assert pa.concat_tables(parts).equals(table)
        if most < 1 << 30:
            assert len(parts) >= 5
            assert max(part.nbytes for part in parts) < max(2 * most, 200_000)
        rows = np.random.default_rng(7).permutation(5000)[:700]
        assert opened.take(rows, ["text", "value"]).equals(table.select(["text", "value"]).take(pa.array(rows)))
        assert opened.take(np.sort(rows), ["many"]).equals(table.select(["many"]).take(pa.array(np.sort(rows))))
        assert opened.take(rows[:0], ["value"]).num_rows == 0
        for names in (["value"], ["text"], ["many"], table.column_names):
            assert opened.row_bytes(names) * 5000 >= 0.7 * table.select(names).nbytes
            assert opened.row_bytes_at_most(names) >= 0.99 * opened.row_bytes(names) or most < 1 << 30


def test_views_of_text_become_text(dense, tmp_path):
    """Polars and others write them; Arrow takes no rows of them."""
    folder, left, _ = dense
    kind = pa.schema([("text", pa.string_view()), ("many", pa.list_(pa.string_view()))])
    frame = left.assign(text=[f"star {n}" for n in range(len(left))], many=pd.Series([["a", "b"]] * len(left)))
    write_plain(frame, tmp_path / "left", 1)
    files = [*partition_files(tmp_path / "left"), tmp_path / "left" / "dataset" / "_common_metadata"]
    for path in files:
        table = pq.read_table(path, partitioning=None)
        for field in kind:
            table = table.set_column(table.column_names.index(field.name), field, table[field.name].cast(field.type))
        if path.name.startswith("_"):
            pq.write_metadata(table.schema, path)
        else:
            pq.write_table(table, path)
    (tmp_path / "left" / "dataset" / "_metadata").unlink()
    assert pa.types.is_string_view(LocalCopy.open(tmp_path / "left").schema.field("text").type)
    crossmatch_catalogs(tmp_path / "left", folder / "fine", tmp_path / "out", radius_arcsec=3.0, workers=0)
    rows = read_rows(tmp_path / "out")
    assert len(rows)
    text = "text" if "text" in rows.column_names else rows.column_names[0]
    assert rows.schema.field(text).type == pa.string()
    frame = frame.set_index("oid")
    assert rows[text].to_pylist() == frame.loc[rows["oid"].to_pylist(), "text"].tolist()
