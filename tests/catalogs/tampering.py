"""Ways to damage a copy, one at a time, and to make its metadata agree with the damage where that is the point."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.catalogs.verify import VerifyReport, verify_copy


class Tampered:
    """A copy's folder with the handles that damage needs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        named = dict(
            line.split("=", 1) for line in (path / "collection.properties").read_text().splitlines() if "=" in line
        )
        self.main = path / named["hats_primary_table_url"]
        self.margin = path / named["default_margin"]

    def files(self, table: Path) -> list[Path]:
        return sorted(table.glob("dataset/Norder=*/Dir=*/Npix=*.parquet"))

    def pixels(self, table: Path) -> list[tuple[int, int]]:
        with (table / "partition_info.csv").open() as file:
            return [(int(row["Norder"]), int(row["Npix"])) for row in csv.DictReader(file)]

    def file(self, table: Path, pixel: tuple[int, int]) -> Path:
        return next(table.glob(f"dataset/Norder={pixel[0]}/Dir=*/Npix={pixel[1]}.parquet"))

    def rewrite(self, file: Path, change: Callable[[pa.Table], pa.Table], *, refresh: bool = True) -> None:
        """Change the rows of a file; with `refresh`, `_metadata` is made anew to agree with them."""
        pq.write_table(change(pq.read_table(file, partitioning=None)), file)
        if refresh:
            self.refresh(next(parent for parent in file.parents if parent.name == "dataset").parent)

    def refresh(self, table: Path) -> None:
        from hats.io.parquet_metadata import write_parquet_metadata

        schema = pq.read_schema(table / "dataset" / "_common_metadata")
        write_parquet_metadata(table)
        pq.write_metadata(schema, table / "dataset" / "_common_metadata")

    def set_property(
        self, table: Path, key: str, change: Callable[[str], str], names=("hats.properties", "properties")
    ):
        for name in names:
            file = table / name
            lines = file.read_text().splitlines()
            lines = [f"{key}={change(line.split('=', 1)[1])}" if line.startswith(f"{key}=") else line for line in lines]
            file.write_text("\n".join(lines) + "\n")

    def margin_ids(self) -> set[int]:
        """Ids of all rows that are in any margin file."""
        ids = [pq.read_table(file, columns=["source"], partitioning=None)["source"] for file in self.files(self.margin)]
        return {value for column in ids for value in column.to_pylist()}

    def inner_row(self, file: Path) -> int:
        """Number of a row of a main file that no margin holds."""
        held = self.margin_ids()
        ids = pq.read_table(file, columns=["source"], partitioning=None)["source"].to_pylist()
        return next(row for row, value in enumerate(ids) if value not in held)

    def biggest(self) -> Path:
        """The main file with most rows."""
        return max(self.files(self.main), key=lambda file: pq.read_metadata(file).num_rows)


def with_value(table: pa.Table, name: str, row: int, value: object) -> pa.Table:
    """The table with one value replaced."""
    kind = table.schema.field(name)
    values = table[name].to_pylist()
    values[row] = value
    return table.set_column(table.schema.get_field_index(name), kind, pa.array(values, type=kind.type))


def without_row(table: pa.Table, row: int) -> pa.Table:
    """The table without one row."""
    return table.take(np.delete(np.arange(table.num_rows), row))


def twice(table: pa.Table, row: int) -> pa.Table:
    """The table with one row doubled."""
    return table.take(np.insert(np.arange(table.num_rows), row, row))


def failed(report: VerifyReport) -> set[str]:
    return {check.name for check in report.failed}


def quick(copy: Tampered) -> VerifyReport:
    return verify_copy(copy.path, checksums=False)
