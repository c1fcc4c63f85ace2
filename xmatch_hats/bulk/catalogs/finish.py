"""From units that are done to a collection that can be published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.bulk.catalogs.accounting import account
from xmatch_hats.bulk.catalogs.metadata import write_collection
from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.bulk.catalogs.rejects import rejected_schema, with_reasons
from xmatch_hats.bulk.catalogs.settings import Settings
from xmatch_hats.bulk.catalogs.sky import SKY_FILE, gather_sky, output_coverage
from xmatch_hats.bulk.runs.provenance import copy_input, provenance, write_provenance
from xmatch_hats.catalogs import intake, layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.manifest import (
    CoverageRecord,
    FileRecord,
    Manifest,
    SourceRecord,
    copy_files,
    sha256_file,
)
from xmatch_hats.whole import unwritable

SUMMARY_FILE = "summary.json"
REJECTED_FILE = intake.REJECTED_FILE
LOG_FILE = "run.log.jsonl"


@dataclass(frozen=True)
class Finish:
    """What the last steps need."""

    plan: Plan
    settings: Settings
    left: LocalCopy
    right: LocalCopy
    units: Mapping[str, Mapping[str, Any]]
    """Records of all units by name, along the sphere."""
    margins: Sequence[Mapping[str, Any]]
    """Records of the margin's tiles."""
    whole: bool
    """Whether all partitions of the left side were read."""
    tables: Path | None = None
    """What the left side was imported from for this join."""

    @property
    def dropped(self) -> int:
        """Rows of those tables that have no position, and are in no catalogue."""
        return self.left.manifest.dropped.count if self.tables and self.left.manifest else 0

    def run(self) -> dict[str, int]:
        """Write everything that is not yet there; the manifest comes last.

        Returns
        -------
        dict
            The account, as `xmatch_hats.bulk.catalogs.accounting.account` gives it.

        Raises
        ------
        AccountError
            Rows are missing.
        OutputError
            A file cannot be written.
        CatalogError
            What a unit wrote is not there.
        """
        plan = self.plan
        totals = account(self.units.values(), self.left, whole=self.whole, dropped=self.dropped)
        try:
            plan.made.folder.mkdir(parents=True, exist_ok=True)
            Manifest.remove(plan.made.folder)
            sky = gather_sky(list(self.units), plan, plan.made.folder / SKY_FILE)
            written = [part for record in self.units.values() for part in record["partitions"]]
            write_collection(plan.made, written, self.margins, sky, self._properties())
            self._write_rejected()
            self._write_json(SUMMARY_FILE, totals)
            facts = self._provenance()
            write_provenance(plan.made.folder, plan.scratch, facts)
            coverage = output_coverage(self.left.coverage, plan)
            coverage.save(plan.made.folder)
            log = plan.folder / LOG_FILE
            if log.is_file():
                (plan.made.folder / LOG_FILE).write_bytes(log.read_bytes())
            self._write_manifest(written, totals, coverage, facts)
        except OSError as error:
            raise unwritable(error.filename or plan.made.folder, error) from error
        return totals

    def _properties(self) -> dict[str, Any]:
        kind = layout.read_catalog_properties(self.left.main_path)["dataproduct_type"]
        return {
            "catalog_type": kind,
            "ra_column": self.left.ra_column,
            "dec_column": self.left.dec_column,
        }

    def _write_rejected(self) -> None:
        """Put the rejected left rows, which no partition can hold, into one file; those of an import come first."""
        path = self.plan.made.folder / REJECTED_FILE
        path.unlink(missing_ok=True)
        files = [found for name in self.units if (found := self.plan.rejected(name)).is_file()]
        if not files and not self.dropped:
            return
        with pq.ParquetWriter(path, rejected_schema(self.plan.left), compression="zstd") as writer:
            if self.dropped:
                for batch in pq.ParquetFile(self.left.path / REJECTED_FILE).iter_batches():
                    writer.write_table(with_reasons(pa.Table.from_batches([batch]), self.plan.left))
            for file in files:
                writer.write_table(pq.read_table(file, partitioning=None))

    def _provenance(self) -> dict[str, Any]:
        inputs: list[dict[str, Any]] = []
        for side, copy in (("left", self.left), ("right", self.right)):
            sources = [source.model_dump() for source in copy.manifest.sources] if copy.manifest else []
            inputs.append({"side": side, **copy_input(copy), "sources": sources})
        if self.tables:
            # The copy that was made of them is gone when this is read.
            inputs[0] |= {"path": str(self.tables), "rows": self.left.total_rows + self.dropped}
        settings = self.settings.told() | {"margin_arcsec": self.plan.margin_arcsec}
        return provenance("bulk catalogs", inputs, settings)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, indent=1)
        (self.plan.made.folder / name).write_text(text + "\n", encoding="utf-8")

    def _write_manifest(
        self,
        written: Sequence[Mapping[str, Any]],
        totals: Mapping[str, int],
        coverage: Coverage,
        facts: Mapping[str, Any],
    ) -> None:
        plan = self.plan
        known: dict[str, FileRecord] = {}
        for folder, parts in ((plan.made.main, written), (plan.made.margin, self.margins)):
            for part in parts:
                path = layout.partition_path(folder, tuple(part["partition"])).relative_to(plan.made.folder)
                known[path.as_posix()] = FileRecord(bytes=part["bytes"], sha256=part["sha256"])
        for path in copy_files(plan.made.folder):
            if path.as_posix() not in known:
                file = plan.made.folder / path
                known[path.as_posix()] = FileRecord(bytes=file.stat().st_size, sha256=sha256_file(file))
        Manifest(
            software=facts["software"],
            name=plan.name,
            definition=None,
            sources=tuple(_source(copy) for copy in (self.left, self.right)),
            settings=facts["settings"],
            rows=totals["rows"],
            id_column=self._id_column(),
            margin_arcsec=plan.margin_arcsec,
            coverage=CoverageRecord(**coverage.summary()),
            self_check=None,
            files=dict(sorted(known.items())),
        ).write(plan.made.folder)

    def _id_column(self) -> str | None:
        """The left side's, where it is kept and each left row comes once."""
        name = self.left.id_column
        once = self.plan.rule.n_neighbors == 1
        return name if once and name in self.plan.left.columns else None


def _source(copy: LocalCopy) -> SourceRecord:
    files = [copy.partition_file(partition) for partition in copy.partitions]
    size = sum(_size(file) for file in files)
    return SourceRecord(path=str(copy.path), bytes=size, rows=copy.total_rows)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*.parquet")))
