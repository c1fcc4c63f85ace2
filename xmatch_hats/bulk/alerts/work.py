"""What a worker does with a slice: its packets are decoded and matched, and what comes of them is written."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import threading
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.alerts.enrich import Enricher, Matched
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.sinks import GZIP_LEVEL
from xmatch_hats.alerts.splice import InputOutput
from xmatch_hats.bulk.alerts.columns import field_paths, make_rows, row_schema
from xmatch_hats.bulk.alerts.decode import REJECT_SCHEMA, Decoded, decode, position_error
from xmatch_hats.bulk.alerts.plan import SlicePlan
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.catalogs.convert import COMPRESSION
from xmatch_hats.errors import AccountError, PartitionReadError
from xmatch_hats.matching.assemble import joined_table
from xmatch_hats.matching.crossmatcher import Crossmatcher
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import MatchStatus, combine_statuses
from xmatch_hats.whole import written_whole

_kept = threading.local()
"""Readers and matchers serve one thread at a time; partitions that are open are shared by all of a process."""


def match_slice(shared: Shared[SlicePlan], name: str, first_member: int, members: int, data: bytes) -> dict[str, Any]:
    """Match the alerts of a slice, and write its files.

    Parameters
    ----------
    shared : Shared of SlicePlan
    name : str
        Of the slice.
    first_member : int
        Number of its first member in the archive.
    members : int
    data : bytes

    Returns
    -------
    dict
        Its accounting, in which every alert has one status, and what was written.

    Raises
    ------
    PartitionReadError
        A partition cannot be read, or a catalogue was replaced since the run began.
    OutputError
        A file cannot be written.
    AccountError
        Counts that do not add up.
    """
    plan = shared.value
    bench = _bench(shared)
    decoded = decode(data, members, first_member, plan.place, bench.reader, plan.columns)
    matched = bench.enricher.match([member.packet for member in decoded.members])
    results = bench.results(matched)
    rows, rejected = _rows(plan, decoded, matched, results)
    tables = {"rows": rows}
    if rejected.num_rows:
        tables["rejected"] = rejected
    if decoded.rejects:
        tables["rejects"] = pa.Table.from_pylist(decoded.rejects, REJECT_SCHEMA)
    files = {kind: _write(plan, kind, name, _parquet(table)) for kind, table in tables.items()}
    if plan.with_packets:
        files["packets"] = _write(plan, "packets", name, _packets(bench.enricher, decoded, matched))
    return _account(decoded, rows.num_rows, results) | {"members": members, "files": files}


def schema_of_rows(shared: Shared[SlicePlan]) -> pa.Schema:
    """Arrow schema of the rows of every slice.

    Raises
    ------
    PartitionReadError
        A catalogue was replaced since the run began.
    """
    bench, decoded = _bench(shared), Decoded()
    matched = bench.enricher.match([])
    return _rows(shared.value, decoded, matched, bench.results(matched))[0].schema


def _account(decoded: Decoded, rows: int, results: dict[str, MatchResult]) -> dict[str, Any]:
    """What became of the alerts of a slice; a packet that cannot be read counts as one, whatever it may have held."""
    unreadable = decoded.packets - len(decoded.members)

    def count(status: Any) -> dict[str, int]:
        numbers = np.bincount(status, minlength=len(MatchStatus))
        numbers[MatchStatus.REJECTED] += unreadable
        return {"in": int(numbers.sum())} | {state.key: int(numbers[state]) for state in MatchStatus}

    counts = count(combine_statuses([result.status for result in results.values()]))
    if counts["in"] != rows + len(decoded.rejects) or counts["rejected"] != len(decoded.rejects):
        raise AccountError(
            f"{counts['in']} alerts came in, but {rows} rows and {len(decoded.rejects)} rejects went out"
        )
    return {
        "packets": decoded.packets,
        "skipped": decoded.skipped,
        "rows": rows,
        "counts": counts,
        "catalogs": {name: count(result.status) for name, result in results.items()},
    }


class _Bench:
    """What a thread works with."""

    def __init__(self, shared: Shared[SlicePlan]) -> None:
        plan = shared.value
        self.shared = shared
        self.reader = PacketReader(field_paths(plan.columns))
        # Not closed: it holds nothing that lives longer than its process.
        self._matcher = Crossmatcher([catalog.target() for catalog in plan.catalogs], workers=0)
        for catalog, target in zip(plan.catalogs, self._matcher.targets, strict=True):
            if target.copy.version != catalog.version:
                raise PartitionReadError(
                    "the catalogue was replaced since the run began, or this worker sees another one",
                    place=catalog.path,
                    hint="run the same command again",
                )
        wire = {catalog.name: catalog.wire_columns for catalog in plan.catalogs}
        self._columns = {catalog.name: list(catalog.columns) for catalog in plan.catalogs}
        self.enricher = Enricher(self._matcher, InputOutput(), wire)

    def results(self, matched: Matched) -> dict[str, MatchResult]:
        """Answers of the catalogues, with the columns that rows get."""
        (answer,) = matched.answers or [self._matcher.match([], [])]
        return {
            name: MatchResult(
                result.status, result.faults, result.left, result.rank, result.distance_arcsec,
                result.rows.select(self._columns[name]), result.n_neighbors,
            )
            for name, result in answer.items()
        }  # fmt: skip


def _bench(shared: Shared[SlicePlan]) -> _Bench:
    bench = getattr(_kept, "bench", None)
    if bench is None or bench.shared != shared:
        bench = _kept.bench = _Bench(shared)
    return bench


def _rows(
    plan: SlicePlan, decoded: Decoded, matched: Matched, results: dict[str, MatchResult]
) -> tuple[pa.Table, pa.Table]:
    """Rows of a slice, and those of alerts without a position, which are set aside, too."""
    faults = next(iter(results.values())).faults
    places = list(decoded.places())
    schema = row_schema(plan.columns)
    rows = make_rows([(member.number, record) for member, record in places], matched.alerts, plan.archive, schema)
    for number in np.flatnonzero(faults).tolist():
        member, record = places[number]
        decoded.reject(member, record, position_error(int(faults[number]), record))
    decoded.rejects.sort(key=lambda reject: (reject["member"], reject["record"] or 0))
    is_good = pa.array(faults == 0)
    return joined_table(rows, results).filter(is_good), rows.filter(pa.array(faults != 0))


def _parquet(table: pa.Table) -> Sequence[bytes | memoryview]:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **COMPRESSION)
    return [memoryview(sink.getvalue())]


def _packets(enricher: Enricher, decoded: Decoded, matched: Matched) -> Sequence[bytes]:
    """Packets with ``xmatches``, as a part of a tar archive that keeps the names they had, twice where they were."""
    target = BytesIO()
    with gzip.GzipFile("", "wb", GZIP_LEVEL, target, mtime=0) as file:
        for member, outcome in zip(decoded.members, enricher.encode(matched), strict=True):
            if outcome.chunks is None:
                continue
            entry = tarfile.TarInfo(member.raw.name)
            entry.size, entry.mtime = outcome.size, member.raw.modified
            file.writelines([entry.tobuf(), *outcome.chunks, bytes(-entry.size % tarfile.BLOCKSIZE)])
    return [target.getvalue()]


def _write(plan: SlicePlan, kind: str, name: str, pieces: Sequence[bytes | memoryview]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with written_whole(plan.path(kind, name), plan.scratch) as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
    return {"bytes": sum(map(len, pieces)), "sha256": digest.hexdigest()}
