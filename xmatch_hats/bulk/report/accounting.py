"""Where every input went, checked: by the notes of the outputs, by their files, by the inputs' own counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from xmatch_hats.bulk.alerts.archives import open_archive
from xmatch_hats.bulk.alerts.published import NOTES
from xmatch_hats.bulk.catalogs.finish import REJECTED_FILE
from xmatch_hats.bulk.report.outputs import CATALOGS, MERGED, Outputs, Part
from xmatch_hats.bulk.report.recount import count_members
from xmatch_hats.bulk.report.scan import PLACED, Scan
from xmatch_hats.bulk.runs.provenance import copy_input
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import XmatchError
from xmatch_hats.matching.status import MatchStatus

KEYS = ("in", *(status.key for status in MatchStatus))


@dataclass(frozen=True)
class Check:
    """One number that two places tell."""

    place: str
    """Output that it is about."""
    what: str
    told: int
    """By the output's notes."""
    found: int
    """In its files, or by its inputs."""

    @property
    def is_good(self) -> bool:
        """Whether they agree."""
        return self.told == self.found

    @property
    def words(self) -> str:
        """Both numbers, for people."""
        return f"{self.what}: {self.told:,} by its notes, {self.found:,} found"

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"


@dataclass(frozen=True)
class Account:
    """Counts of one output."""

    name: str
    night: str
    """Empty but for archives."""
    totals: Mapping[str, int]
    """Inputs: ``in``, and by status; of `bulk catalogs` also ``left_out``."""
    catalogs: Mapping[str, Mapping[str, int]]
    """The same by catalogue, where there may be several."""
    more: Mapping[str, Any]
    """Members, packets, rows, duplicates, damage: what there is of it."""

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Accounting:
    """Counts of all outputs, and whether they are right."""

    accounts: tuple[Account, ...]
    checks: tuple[Check, ...]
    unchecked: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def differences(self) -> list[Check]:
        """Checks that failed."""
        return [check for check in self.checks if not check.is_good]

    @property
    def damaged(self) -> list[str]:
        """Of archives of which something was lost, what it was: the counts know only of what was there."""
        lossy = [account for account in self.accounts if account.more.get("damage") is not None]
        return [f"{account.name}: the archive {account.more['damage']}" for account in lossy]

    def total(self) -> dict[str, int]:
        """Inputs of all outputs: ``in``, and by status."""
        sums: Counter[str] = Counter(dict.fromkeys(KEYS, 0))
        for account in self.accounts:
            sums.update(account.totals)
        return dict(sums)

    def total_of(self, catalog: str) -> dict[str, int]:
        """The same for one catalogue."""
        sums: Counter[str] = Counter(dict.fromkeys(KEYS, 0))
        for account in self.accounts:
            sums.update(account.catalogs.get(catalog, {}))
        return dict(sums)


def account(outputs: Outputs, scanned: Scan, *, recount: bool = False) -> Accounting:
    """Add up the inputs of all outputs, and compare what is told with what is there.

    Parameters
    ----------
    outputs : Outputs
    scanned : Scan
        Of their rows.
    recount : bool, optional
        Whether archives are read again, and their members counted.

    Raises
    ------
    XmatchError
        An archive, or a file of an output, cannot be read.
    """
    accounts: list[Account] = []
    checks: list[Check] = []
    unchecked: list[str] = []
    for part in outputs.parts:
        checks += _check_files(part, scanned)
        if outputs.kind == CATALOGS:
            accounts.append(_join_account(part, outputs.targets[0].name))
            checks += _check_join(part, scanned, outputs.targets[0].name)
            checks += _check_left(part, unchecked)
        elif outputs.kind == MERGED:
            archives = part.summary["archives"]
            accounts += [_archive_account(summary) for summary in archives]
            for summary in archives:
                checks += _check_sums(summary["archive"], summary)
            rows = sum(summary["rows"] for summary in archives) - part.summary["duplicates_removed"]
            checks.append(Check(part.name, "rows of the archives less duplicates", part.summary["rows"], rows))
            removed = sum(summary["duplicates_removed"] for summary in archives) + part.summary["duplicates_removed"]
            checks += _check_statuses(part, scanned, _sum_catalogs(archives), removed)
        else:
            accounts.append(_archive_account(part.summary))
            checks += _check_sums(part.name, part.summary)
            checks += _check_rejects(part)
            checks += _check_archive(part, unchecked, recount)
            removed = part.summary["duplicates_removed"]
            checks += _check_statuses(part, scanned, part.summary["catalogs"], removed)
    return Accounting(tuple(accounts), tuple(checks), tuple(unchecked))


def _archive_account(summary: Mapping[str, Any]) -> Account:
    more = ("members", "packets", "skipped", "rows", "duplicates", "duplicates_removed", "damage")
    return Account(
        summary["archive"], summary["night"], {key: summary[key] for key in KEYS}, summary["catalogs"],
        {key: summary[key] for key in more},
    )  # fmt: skip


def _join_account(part: Part, right: str) -> Account:
    keys = ("in", "left_out", *KEYS[1:])
    totals = {key: part.summary[key] for key in keys}
    return Account(part.name, "", totals, {right: totals}, {key: part.summary[key] for key in ("pairs", "rows")})


def _check_files(part: Part, scanned: Scan) -> Iterator[Check]:
    yield Check(part.name, "rows by the footers of its files", part.summary["rows"], scanned.footers[part.folder])
    yield Check(part.name, "rows that were read", part.summary["rows"], scanned.rows[part.folder])


def _check_sums(place: str, summary: Mapping[str, Any]) -> Iterator[Check]:
    """An archive's notes, with one another."""
    for name, counts in {"all catalogues": summary, **summary["catalogs"]}.items():
        yield Check(place, f"{name}: alerts by status", counts["in"], sum(counts[key] for key in KEYS[1:]))
        yield Check(place, f"{name}: alerts", summary["in"], counts["in"])
        yield Check(place, f"{name}: rejected", summary["rejected"], counts["rejected"])
    left = summary["rows"] + summary["duplicates_removed"] + summary["rejected"]
    yield Check(place, "rows, duplicates that were removed and rejected", summary["in"], left)


def _check_rejects(part: Part) -> Iterator[Check]:
    rejects = part.folder / NOTES / "rejects"
    yield Check(part.name, "rejects that were kept", part.summary["rejected"], sum(1 for _ in _reasons(rejects)))


def _check_archive(part: Part, unchecked: list[str], recount: bool) -> Iterator[Check]:
    """What came in, with the archive itself."""
    source = part.facts["inputs"][0]
    try:
        archive = open_archive(source["path"], part.summary["night"])
    except XmatchError as error:
        unchecked.append(f"{part.name}: its archive was not compared: {error}")
        return
    yield Check(part.name, "bytes of its archive", source["bytes"], archive.size)
    if not recount:
        return
    if archive.size != source["bytes"]:
        unchecked.append(f"{part.name}: its archive is another one now: its members were not counted again")
        return
    members, packets = count_members(archive)
    yield Check(part.name, "members of its archive, counted again", part.summary["members"], members)
    yield Check(part.name, "packets in its archive, counted again", part.summary["packets"], packets)


def _reasons(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.reason.json") if folder.is_dir() else iter(())


def _check_statuses(part: Part, scanned: Scan, told: Mapping[str, Mapping[str, int]], removed: int) -> Iterator[Check]:
    """Statuses in the rows; those of duplicates that were removed are not there, but as many as all are missing."""
    for name, counts in told.items():
        found = scanned.statuses.get((part.folder, name), np.zeros(len(MatchStatus), np.int64))
        total = sum(counts[status.key] for status in PLACED)
        yield Check(part.name, f"{name}: rows by status", total - removed, int(found.sum()))
        for status in PLACED:
            if removed == 0 or found[status] > counts[status.key]:
                yield Check(part.name, f"{name}: {status.label} rows", counts[status.key], int(found[status]))
        matched = int(found[MatchStatus.MATCHED])
        yield Check(part.name, f"{name}: rows with a distance", matched, scanned.pairs.get((part.folder, name), 0))


def _sum_catalogs(summaries: list[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    sums: dict[str, Counter[str]] = {}
    for summary in summaries:
        for name, counts in summary["catalogs"].items():
            sums.setdefault(name, Counter(dict.fromkeys(KEYS, 0))).update(counts)
    return sums


def _check_join(part: Part, scanned: Scan, right: str) -> Iterator[Check]:
    """The notes of a join, with one another, with its map and its rows."""
    summary, settings = part.summary, part.facts["settings"]
    spread = summary["left_out"] + sum(summary[key] for key in KEYS[1:])
    yield Check(part.name, "rows left out and by status", summary["in"], spread)
    tally = scanned.matches[right]
    _, counts = tally.sky.settled().at(0)
    for kind, status in enumerate(PLACED):
        yield Check(part.name, f"{status.label} on the map of the sky", summary[status.key], int(counts[kind].sum()))
    found = scanned.statuses.get((part.folder, right), np.zeros(len(MatchStatus), np.int64))
    pairs = scanned.pairs.get((part.folder, right), 0)
    if settings["where"] is None:
        yield Check(part.name, "rows with a distance", summary["pairs"], pairs)
        yield Check(part.name, "matched rows", summary["matched"], int(found[MatchStatus.MATCHED]))
    if settings["join"] == "left":
        if settings["where"] is None:
            for status in PLACED[1:]:
                yield Check(part.name, f"{status.label} rows", summary[status.key], int(found[status]))
        rejected = part.folder / REJECTED_FILE
        kept = pq.read_metadata(rejected).num_rows if rejected.is_file() else 0
        yield Check(part.name, "rejected rows that were kept", summary["rejected"], kept)


def _check_left(part: Part, unchecked: list[str]) -> Iterator[Check]:
    """What came in, with what the left catalogue says of itself."""
    left = next(given for given in part.facts["inputs"] if given.get("side") == "left")
    yield Check(part.name, f"rows of {left['name']} when it was read", part.summary["in"], left["rows"])
    try:
        copy = LocalCopy.open(left["path"])
        now = copy_input(copy)
    except XmatchError as error:
        unchecked.append(f"{part.name}: {left['name']} cannot be asked for its rows: {error}")
        return
    if now["sha256"] != left["sha256"]:
        unchecked.append(f"{part.name}: {left['path']} has been replaced or changed since: its rows were not compared")
        return
    yield Check(part.name, f"rows of {left['name']}", part.summary["in"], copy.total_rows)
    files = [copy.partition_file(partition) for partition in copy.partitions]
    held = sum(pq.read_metadata(file).num_rows for path in files for file in _parquet_files(path))
    yield Check(part.name, f"rows in the partitions of {left['name']}", part.summary["in"], held)


def _parquet_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
