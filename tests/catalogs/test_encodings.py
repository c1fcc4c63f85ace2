"""Columns are encoded by what they hold, in whatever order it comes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmatch_hats.catalogs.encodings import SAMPLE_ROWS, Sample, encodings
from xmatch_hats.catalogs.importer import build_copy
from xmatch_hats.healpix import cells_of


def test_encodings_follow_the_values():
    rng = np.random.default_rng(1)
    n = 5000
    table = pa.table(
        {
            "_healpix_29": np.arange(n),
            "ra": rng.uniform(0, 360, n),
            "mag": np.round(rng.normal(15, 1, n), 2),
            "id": rng.permutation(n),
            "flag": rng.integers(0, 4, n),
            "name": [f"J{number}" for number in range(n)],
            "code": rng.choice(["0000", "d000"], n),
            "missing": pa.nulls(n, pa.float64()),
            "many": pa.array([[1.0, 2.0]] * n),
            "class": pa.array(rng.choice(["star", "galaxy"], n)).dictionary_encode(),
        }
    )
    chosen = encodings(table)
    assert chosen["column_encoding"] == {
        "_healpix_29": "DELTA_BINARY_PACKED",
        "ra": "BYTE_STREAM_SPLIT",
        "id": "DELTA_BINARY_PACKED",
    }
    assert set(chosen["use_dictionary"]) == {"mag", "flag", "code", "missing", "many", "class"}


@pytest.mark.parametrize("n", [0, 1, SAMPLE_ROWS - 1, SAMPLE_ROWS, 3 * SAMPLE_ROWS])
def test_a_sample_does_not_depend_on_order_or_pieces(n):
    rng = np.random.default_rng(n)
    table = pa.table({"number": np.arange(n)})
    index = rng.integers(0, 12 << 58, n)

    def drawn(order, pieces):
        sample = Sample(table.schema)
        for part in np.array_split(order, pieces):
            sample.add(table.take(pa.array(part)), index[part])
        return sample.rows

    whole = drawn(np.arange(n), 1)
    assert len(whole) == min(n, SAMPLE_ROWS)
    for pieces in (1, 2, 7, 100):
        assert drawn(rng.permutation(n), pieces).equals(whole)


def test_what_is_drawn_lies_all_over_the_source():
    n = 50_000
    sample = Sample(pa.schema([("number", pa.int64())]))
    # Neighbours on the sky, as sorted sources have them.
    sample.add(pa.table({"number": np.arange(n)}), (1 << 50) + np.arange(n) * 12_345)
    counts = np.histogram(sample.rows["number"].to_numpy(), bins=8, range=(0, n))[0]
    assert counts.min() > SAMPLE_ROWS / 8 / 2


def test_an_import_chooses_for_all_of_its_sources(tmp_path):
    rng = np.random.default_rng(6)
    n = 6000
    ra, dec = rng.uniform(30, 34, n), rng.uniform(-2, 2, n)
    names = [f"J{cell}" for cell in cells_of(ra, dec)]
    table = pa.table(
        {"ra": ra, "dec": dec, "mag": rng.normal(15, 1, n).round(1), "flux": rng.normal(size=n), "id": names}
    )
    for part, order in enumerate((np.argsort(ra), rng.permutation(n))):
        for number, rows in enumerate(np.array_split(order, 2)):
            pq.write_table(table.take(pa.array(rows)), tmp_path / f"{part}_{number}.parquet")
    copies = [
        build_copy([tmp_path / f"{part}_{number}.parquet" for number in range(2)], tmp_path / f"copy{part}", name="sky")
        for part in range(2)
    ]
    for copy in copies:
        first = pq.read_metadata(copy.partition_file(copy.partitions[0])).row_group(0)
        kinds = {first.column(i).path_in_schema: set(first.column(i).encodings) for i in range(first.num_columns)}
        assert "BYTE_STREAM_SPLIT" in kinds["ra"]
        assert "BYTE_STREAM_SPLIT" in kinds["flux"]
        assert "RLE_DICTIONARY" in kinds["mag"]
        assert "RLE_DICTIONARY" not in kinds["id"]
        assert "DELTA_BINARY_PACKED" in kinds["_healpix_29"]
