"""Checks that need no rows: which files there are, and what their footers say."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.catalogs.manifest import MANIFEST_NAME, copy_files
from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.report import Place
from xmatch_hats.catalogs.verify.subject import PARQUET_ERRORS, Subject, Table, label, without_hive
from xmatch_hats.healpix import MAX_ORDER


@dataclass
class Footers:
    """What the footers of one table's files say, as far as the row checks need it."""

    rows: dict[Path, int] = field(default_factory=dict)
    """Rows of each file that can be opened."""
    broken: set[Path] = field(default_factory=set)
    """Files that cannot."""


def check_files(subject: Subject, findings: Findings) -> None:
    """Look for lost and stray files, of the partition lists and of the manifest."""
    tally = findings["files"]
    reported: set[Path] = set()
    for table in subject.tables:
        listed: set[Path] = set()
        for partition in table.partitions:
            tally.looked_at += 1
            files = table.files(partition)
            listed.update(files)
            if not files:
                suffix = table.properties.get("hats_npix_suffix", ".parquet")
                path = layout.partition_path(table.path, partition, suffix)
                reported.add(path)
                tally.fault(table.place(path, "is listed in partition_info.csv and missing", partition))
        for path in sorted((table.path / "dataset").glob("Norder=*/**/*")):
            if path.is_file() and path not in listed:
                reported.add(path)
                tally.fault(table.place(path, "is not listed in partition_info.csv"))
    if subject.manifest is not None:
        on_disk = {path.as_posix() for path in copy_files(subject.root)}
        for name in sorted(on_disk ^ subject.manifest.files.keys()):
            if subject.root / name not in reported:
                tally.fault(Place(name, "is not in the manifest" if name in on_disk else "is missing"))


def check_tree(subject: Subject, findings: Findings) -> bool:
    """Look for partitions that overlap; margins are checked together with the main table's partitions.

    Returns
    -------
    bool
        Whether the partitions tile the sphere, so that margins can be checked.
    """
    if subject.main is None:
        return False
    tally = findings["partition-tree"]
    main = set(subject.main.partitions)
    for table in subject.tables:
        tally.looked_at += len(table.partitions)
        spans = sorted(
            (pixel << 2 * (MAX_ORDER - order), order, pixel) for order, pixel in main | set(table.partitions)
        )
        reached, holder = 0, (0, 0)
        for start, order, pixel in spans:
            if start < reached:
                text = f"overlaps {label(holder)}"
                tally.fault(table.place(table.path / "partition_info.csv", text, (order, pixel)))
            else:
                reached, holder = start + (1 << 2 * (MAX_ORDER - order)), (order, pixel)
    return not tally.faults


def check_footers(subject: Subject, table: Table, findings: Findings, step: Callable[[], None]) -> Footers:
    """Open every file of a table: schema, row counts, and agreement with ``_metadata``."""
    footers = Footers()
    recorded = _recorded_groups(table, findings)
    reference = subject.main.schema if subject.main else table.schema
    _check_common_schema(table, reference, findings)
    for partition in table.partitions:
        for path in table.files(partition):
            step()
            findings["parquet"].looked_at += 1
            try:
                footer = pq.read_metadata(path)
                schema = footer.schema.to_arrow_schema()
            except PARQUET_ERRORS as error:
                footers.broken.add(path)
                findings["parquet"].fault(table.place(path, f"cannot be opened: {error}", partition))
                continue
            footers.rows[path] = footer.num_rows
            findings["schema"].looked_at += 1
            if difference := _schema_difference(schema, reference):
                findings["schema"].fault(table.place(path, difference, partition))
            if recorded is not None:
                name = path.relative_to(table.path / "dataset").as_posix()
                _compare_groups(table, path, partition, footer, recorded.pop(name, []), findings)
    for name in sorted(recorded or {}):
        # A file that is there and broken is named by its own check.
        if table.path / "dataset" / name not in footers.broken:
            place = table.place(table.path / "dataset" / "_metadata", f"describes {name}, which is no partition")
            findings["parquet-metadata"].fault(place)
    _check_counts(subject, table, footers, findings)
    return footers


def _recorded_groups(table: Table, findings: Findings) -> dict[str, list[pq.RowGroupMetaData]] | None:
    """Row groups of ``_metadata`` by file; None where there is none, or none that can be read."""
    path = table.path / "dataset" / "_metadata"
    if not path.is_file():
        findings["parquet-metadata"].skip(f"{table.path.name} has no _metadata")
        return None
    try:
        recorded = pq.read_metadata(path)
    except PARQUET_ERRORS:
        return None
    if difference := _schema_difference(recorded.schema.to_arrow_schema(), table.schema):
        findings["schema"].fault(table.place(path, difference))
    groups = defaultdict(list)
    for number in range(recorded.num_row_groups):
        group = recorded.row_group(number)
        groups[group.column(0).file_path].append(group)
    return dict(groups)


def _compare_groups(
    table: Table,
    path: Path,
    partition: Partition,
    footer: pq.FileMetaData,
    recorded: list[pq.RowGroupMetaData],
    findings: Findings,
) -> None:
    tally = findings["parquet-metadata"]
    tally.looked_at += footer.num_row_groups
    if len(recorded) != footer.num_row_groups:
        text = f"has {footer.num_row_groups} row groups, _metadata has {len(recorded)} for it"
        tally.fault(table.place(path, text, partition))
        return
    for number, group in enumerate(recorded):
        if difference := _group_difference(footer.row_group(number), group):
            tally.fault(table.place(path, f"row group {number}: {difference}", partition))


def _group_difference(actual: pq.RowGroupMetaData, recorded: pq.RowGroupMetaData) -> str:
    """First way in which a row group is not as recorded, empty if it is: counts, then all that is known of columns."""
    for name in ("num_rows", "num_columns", "total_byte_size"):
        if getattr(actual, name) != getattr(recorded, name):
            return f"{name} is {getattr(actual, name)}, _metadata says {getattr(recorded, name)}"
    for number in range(actual.num_columns):
        ours, theirs = actual.column(number), recorded.column(number)
        if not ours.equals(theirs):
            ours_known, theirs_known = ours.to_dict(), theirs.to_dict()
            named = [key for key in ours_known if key != "file_path" and ours_known[key] != theirs_known[key]]
            return f"column {ours.path_in_schema} differs from _metadata in {', '.join(named) or 'its encoding'}"
    return ""


def _check_common_schema(table: Table, reference: pa.Schema, findings: Findings) -> None:
    tally = findings["schema"]
    tally.looked_at += 1
    path = table.path / "dataset" / "_common_metadata"
    if difference := _schema_difference(table.schema, reference):
        tally.fault(table.place(path, difference))
    for name in (table.ra_column, table.dec_column):
        if name in table.schema.names and not pa.types.is_float64(table.schema.field(name).type):
            tally.fault(table.place(path, f"position column {name} is {table.schema.field(name).type}, not double"))


def _schema_difference(schema: pa.Schema, reference: pa.Schema) -> str:
    """First way in which a schema is not the common one, empty if it is."""
    schema, reference = without_hive(schema), without_hive(reference)
    if schema.equals(reference, check_metadata=False):
        return ""
    for name in reference.names:
        if name not in schema.names:
            return f"column {name} is missing"
    for field_ in schema:
        if field_.name not in reference.names:
            return f"column {field_.name} is not in the common schema"
        expected = reference.field(field_.name)
        if not field_.equals(expected):
            null = "" if field_.nullable == expected.nullable else " (nullable differs)"
            return f"column {field_.name} is {field_.type}, the common schema has {expected.type}{null}"
    return "columns are in another order"


def _check_counts(subject: Subject, table: Table, footers: Footers, findings: Findings) -> None:
    tally = findings["counts"]
    info = table.path / "partition_info.csv"
    for partition, rows in _counts_listed(info).items():
        actual = sum(footers.rows.get(path, 0) for path in table.files(partition))
        tally.looked_at += 1
        if rows != actual:
            tally.fault(table.place(info, f"says {rows} rows, the file has {actual}", partition))
    total = sum(footers.rows.values())
    if footers.broken:
        tally.note(f"rows of {len(footers.broken)} broken files of {table.path.name} are unknown")
        return
    claims = []
    if "hats_nrows" in table.properties:
        path = table.path / next(name for name in layout.CATALOG_FILES if (table.path / name).is_file())
        claims.append((table.relative(path), int(table.properties["hats_nrows"])))
    if subject.manifest is not None and not table.is_margin:
        claims.append((MANIFEST_NAME, subject.manifest.rows))
    tally.looked_at += len(claims)
    for place, rows in claims:
        if rows != total:
            tally.fault(Place(place, f"says {rows} rows, the files of {table.path.name} have {total}"))


def _counts_listed(path: Path) -> dict[Partition, int]:
    """Row counts of the partition list; older catalogues have them, today's have only the pixels."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (int(row["Norder"]), int(row["Npix"])): int(row["num_rows"])
            for row in csv.DictReader(file)
            if (row.get("num_rows") or "").isdigit()
        }
