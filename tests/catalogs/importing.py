"""What tests of imports share."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from xmatch_hats.catalogs.copy import LocalCopy


def all_rows(copy: LocalCopy) -> pa.Table:
    return pa.concat_tables(
        [pq.read_table(copy.partition_file(partition), partitioning=None) for partition in copy.partitions]
    )


def write_csv(table: pa.Table, path: Path) -> Path:
    pa_csv.write_csv(table, path)
    return path


class Listener:
    bar = False

    def __init__(self):
        self.said, self.stages = [], []

    def stage(self, name, total=0):
        self.stages.append(name)

    def step(self, done):
        pass

    def say(self, text):
        self.said.append(text)
