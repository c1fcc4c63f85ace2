"""The counts of a whole join, checked against what the inputs say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.parquet as pq

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.errors import AccountError
from xmatch_hats.matching.status import MatchStatus

KEYS = ("in", "left_out", *(status.key for status in MatchStatus), "pairs", "rows")


def account(records: Iterable[Mapping[str, Any]], left: LocalCopy, *, whole: bool, dropped: int = 0) -> dict[str, int]:
    """Add up the counts of all units.

    Parameters
    ----------
    records : iterable of dict
        Of all units, as `UnitOutput.finish` gave them.
    left : LocalCopy
    whole : bool
        Whether all of its partitions were read; else those that were not count as left out.
    dropped : int, optional
        Rows without a position, which its import left out; they count as rejected.

    Returns
    -------
    dict
        Rows ``in`` = ``left_out`` (by region and query) + ``matched`` + ``unmatched`` + ``outside_coverage`` +
        ``rejected``; ``pairs`` that were found; ``rows`` of the output.

    Raises
    ------
    AccountError
        They do not add up to the rows that the left side says it has; the partition is named, if it can be told.
    """
    totals: Counter[str] = Counter(dict.fromkeys(KEYS, 0))
    for record in records:
        totals.update({key: int(record[key]) for key in KEYS})
    missing = left.total_rows - totals["in"]
    if missing and (whole or missing < 0):
        raise AccountError(
            f"its properties say {left.total_rows:,} rows, its partitions hold {totals['in']:,}{_where(left)}",
            place=left.main_path,
            hint="run `xmatch-hats catalog verify` on the catalogue",
        )
    totals["in"] += missing + dropped
    totals["rejected"] += dropped
    totals["left_out"] += missing
    if totals["in"] != totals["left_out"] + sum(totals[status.key] for status in MatchStatus):
        raise AccountError(f"the counts do not add up: {dict(totals)}", place=left.path)
    return dict(totals)


def _where(left: LocalCopy) -> str:
    """Name the first partition that is not as its catalogue's metadata say."""
    recorded = _recorded_rows(left)
    for partition in left.partitions:
        path = left.partition_file(partition)
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        if partition in recorded and recorded[partition] != rows:
            return f"; {path.name} of order {partition[0]} has {rows:,}, the metadata say {recorded[partition]:,}"
    return ""


def _recorded_rows(left: LocalCopy) -> dict[Partition, int]:
    """Rows by partition, as ``_metadata`` has them; nothing where there is none."""
    path = left.main_path / "dataset" / "_metadata"
    if not path.is_file():
        return {}
    metadata = pq.read_metadata(path)
    rows: Counter[str] = Counter()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        rows[group.column(0).file_path] += group.num_rows
    dataset = left.main_path / "dataset"
    found = {}
    for partition in left.partitions:
        name = layout.partition_path(left.main_path, partition, left.suffix).relative_to(dataset).as_posix()
        if name in rows:
            found[partition] = rows[name]
    return found
