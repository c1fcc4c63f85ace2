"""The output of an archive, once all of its slices are done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.alerts.rejects import Rejects
from xmatch_hats.bulk.alerts.archives import Archive
from xmatch_hats.bulk.alerts.empty import empty_collection
from xmatch_hats.bulk.alerts.gather import RowFiles, filtered, read_rows, repeated
from xmatch_hats.bulk.alerts.packet_archive import PACKETS, write_packets
from xmatch_hats.bulk.alerts.plan import SlicePlan
from xmatch_hats.bulk.alerts.published import LOG, NOTES, SUMMARY, write_files
from xmatch_hats.bulk.alerts.slice_book import End
from xmatch_hats.bulk.alerts.work import schema_of_rows
from xmatch_hats.bulk.runs.provenance import write_provenance
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.catalogs.convert import COMPRESSION
from xmatch_hats.catalogs.importer import Telling, build_copy
from xmatch_hats.catalogs.manifest import SourceRecord
from xmatch_hats.errors import AccountError, PacketError
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.whole import unwritable, written_whole

FORMATS = ("hats", "parquet")
_KEYS = ("in", *(status.key for status in MatchStatus))


@dataclass(frozen=True)
class Finisher:
    """Makes the output of one archive in its staging folder."""

    archive: Archive
    shared: Shared[SlicePlan]
    """Of the slices."""
    staged: Path
    """Staging folder."""
    names: Sequence[str]
    """All slices, in order."""
    records: Mapping[str, Mapping[str, Any]]
    """By slice."""
    end: End
    dedup: bool
    kind: str
    """One of `FORMATS`."""
    packets: Path | None
    """Archive of the packets with ``xmatches``, where one is asked for."""
    provenance: Mapping[str, Any]
    say: Callable[[str], None]

    @property
    def plan(self) -> SlicePlan:
        """What the slices have in common."""
        return self.shared.value

    def build(self) -> tuple[Path, dict[str, Any]]:
        """Make the output, and the archive of packets; what a call that was killed has finished is not made again.

        Returns
        -------
        Path
            Folder to be published.
        dict
            Its summary.

        Raises
        ------
        CatalogError, OutputError
            It cannot be written.
        AccountError
            Counts that do not add up.
        """
        summary = self._summary(self._gathered())
        built = self._collection(summary) if self.kind == "hats" else self._dataset()
        if self.packets is not None:
            parts = (self.plan.path("packets", name) for name in self.names)
            write_packets(self.packets, parts, self.staged / PACKETS)
        self._write_notes(built, summary)
        return built, summary

    def _gathered(self) -> dict[str, int]:
        """Rows of all slices in one folder."""
        note, folder = self.staged / "gathered.json", self.staged / "gathered"
        if note.exists():
            return dict(json.loads(note.read_bytes()))
        shutil.rmtree(folder, ignore_errors=True)
        paths = [self.plan.path("rows", name) for name in self.names]
        again = repeated([read_rows(path, ["candid"])["candid"] for path in paths])
        duplicates = int(again.sum())
        with RowFiles(folder) as files:
            for table in filtered(paths, again if self.dedup and duplicates else None):
                files.add(table)
            if not paths:
                files.add(schema_of_rows(self.shared).empty_table())
        told = {"rows": files.rows, "duplicates": duplicates}
        with written_whole(note, self.staged / "scratch") as file:
            file.write(json.dumps(told).encode())
        return told

    def _summary(self, gathered: Mapping[str, int]) -> dict[str, Any]:
        records = [self.records[name] for name in self.names]
        damaged = int(self.end.damage is not None)
        totals = {key: sum(record["counts"][key] for record in records) for key in _KEYS}
        catalogs = {
            catalog.name: {key: sum(record["catalogs"][catalog.name][key] for record in records) for key in _KEYS}
            for catalog in self.plan.catalogs
        }
        for counts in (totals, *catalogs.values()):
            # What is lost counts as one packet, which could not be read.
            counts["in"] += damaged
            counts["rejected"] += damaged
        removed = gathered["duplicates"] if self.dedup else 0
        summary = {
            "archive": self.archive.stem,
            "night": self.archive.night,
            "format": self.kind,
            "slices": len(records),
            **{key: sum(record[key] for record in records) for key in ("members", "packets", "skipped")},
            **totals,
            "catalogs": catalogs,
            "duplicates": gathered["duplicates"],
            "duplicates_removed": removed,
            "rows": gathered["rows"],
            "damage": self.end.damage,
        }
        self._check(summary, sum(record["rows"] for record in records))
        return summary

    def _check(self, summary: Mapping[str, Any], rows: int) -> None:
        """Every alert that came in has gone somewhere."""
        for counts in (summary, *summary["catalogs"].values()):
            if counts["in"] != sum(counts[status.key] for status in MatchStatus):
                raise AccountError("alerts by status do not add up to those that came in", place=self.archive.stem)
        if summary["members"] != self.end.members:
            raise AccountError(
                f"slices have {summary['members']} members, not {self.end.members}", place=self.plan.place
            )
        left = summary["rows"] + summary["duplicates_removed"]
        if rows != left or summary["in"] != left + summary["rejected"]:
            raise AccountError(f"{summary['in']} alerts came in, but {left} rows are left", place=self.archive.stem)

    def _collection(self, summary: Mapping[str, Any]) -> Path:
        built, files = self.staged / "collection", sorted((self.staged / "gathered").iterdir())
        origin = [SourceRecord(path=self.archive.place, bytes=self.archive.size, rows=summary["rows"])]
        settings = {"bulk": dict(self.provenance)}
        if not summary["rows"]:
            empty_collection(pq.read_schema(files[0]), built, self.archive.stem, origin, settings)
        elif not built.exists():
            copy = build_copy(
                files,
                built,
                progress=Telling(self.say),
                name=self.archive.stem,
                plain=True,
                workers=0,
                side_copy=False,
                origin=origin,
                extra=settings,
            )
            if copy.total_rows != summary["rows"]:
                raise AccountError(f"has {copy.total_rows} rows, not {summary['rows']}", place=copy.path)
        return built

    def _dataset(self) -> Path:
        built = self.staged / "dataset"
        shutil.rmtree(built, ignore_errors=True)
        try:
            built.mkdir()
            for path in (self.staged / "gathered").iterdir():
                os.link(path, built / path.name)
        except OSError as error:
            raise unwritable(built, error) from error
        return built

    def _write_notes(self, built: Path, summary: Mapping[str, Any]) -> None:
        folder = built / NOTES
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir()
            (folder / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
            write_provenance(folder, self.plan.scratch, self.provenance)
            for name in (LOG, *([] if self.packets is None else [PACKETS])):
                if (self.staged / name).exists():
                    shutil.copyfile(self.staged / name, folder / name)
            if bad := self._paths("rejected"):
                pq.write_table(pa.concat_tables(map(read_rows, bad)), folder / "rejected.parquet", **COMPRESSION)
            self._write_rejects(folder / "rejects")
            # What was added belongs to the output as its other files do.
            write_files(built)
        except OSError as error:
            raise unwritable(folder, error) from error

    def _write_rejects(self, folder: Path) -> None:
        rejects = Rejects(folder)
        for path in self._paths("rejects"):
            for row in read_rows(path).to_pylist():
                rejects.add(
                    row["name"], row["data"], PacketError(row["message"]),
                    source=row["source"], modified=row["modified"], record=row["record"],
                )  # fmt: skip
        if self.end.damage is not None:
            rejects.add(
                f"{self.archive.stem}.damage", None, PacketError(self.end.damage), source=self.archive.place, modified=0
            )
        rejects.commit()

    def _paths(self, kind: str) -> list[Path]:
        """Files of a kind, in the order of the slices that have one."""
        return [self.plan.path(kind, name) for name in self.names if kind in self.records[name]["files"]]
