"""The order of the checks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from xmatch_hats.catalogs.verify.files import check_files, check_footers, check_tree
from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.maps import OccupancyMaps
from xmatch_hats.catalogs.verify.margins import MarginChecker
from xmatch_hats.catalogs.verify.report import Progress, VerifyReport
from xmatch_hats.catalogs.verify.rows import PartitionChecker, read_margin_claims
from xmatch_hats.catalogs.verify.side import check_side_copy
from xmatch_hats.catalogs.verify.subject import Subject, Table, read_subject
from xmatch_hats.catalogs.verify.sums import check_checksums, check_coverage

__all__ = ["verify_copy"]

logger = logging.getLogger(__name__)

_MARGIN_CHECKS = ("margin-complete", "margin-sound")


def verify_copy(path: str | Path, *, checksums: bool = True, progress: Progress | None = None) -> VerifyReport:
    """Verify a local copy: every row where it belongs, once, and all metadata saying the same.

    The copy may be much larger than memory: see `xmatch_hats.catalogs.verify.rows` for the bound.

    Parameters
    ----------
    path : str or Path
        Folder of a HATS collection, or of a bare HATS catalogue, ours or foreign (without a manifest).
    checksums : bool
        Whether to read every byte and compare with the SHA-256 of the manifest. All else is checked anyway.
    progress : callable, optional
        Called with the stage (``files``, ``margins``, ``rows``, ``side copy``, ``checksums``), the steps of it done,
        and its steps.

    Returns
    -------
    VerifyReport
        All checks, also where some could not be made.

    Raises
    ------
    CatalogNotFoundError
        The folder does not exist.
    CatalogError
        The folder is not a HATS collection or catalogue at all.

    Examples
    --------
    >>> from xmatch_hats.catalogs.copy import open_copy
    >>> verify_copy(open_copy("allwise").path).passed
    True
    """
    started = perf_counter()
    root = Path(path).expanduser().absolute()
    findings = Findings()
    subject = read_subject(root, findings)
    check_files(subject, findings)
    _check_tables(subject, findings, progress)
    step = _stepper(progress, "side copy", len(subject.main.partitions) if subject.main else 0)
    check_side_copy(subject.main, findings, step)
    check_coverage(subject, findings)
    if checksums:
        step = _stepper(progress, "checksums", len(subject.manifest.files) if subject.manifest else 0)
        check_checksums(subject, findings, step)
    else:
        findings["checksums"].skip("not asked for")
    report = findings.report(root, perf_counter() - started)
    logger.info("verified %s in %.1f s: %s", root, report.seconds, "passed" if report.passed else "FAILED")
    return report


def _check_tables(subject: Subject, findings: Findings, progress: Progress | None) -> None:
    tiles = check_tree(subject, findings)
    total = sum(len(table.partitions) for table in subject.tables)
    step = _stepper(progress, "files", total)
    broken: set[Path] = set()
    for table in subject.tables:
        broken |= check_footers(subject, table, findings, step).broken
    main = subject.main
    if main is None or not _has_positions(subject):
        findings.skip(
            ("coordinates", "pixel", "healpix-index", "sorted", "moc", *_MARGIN_CHECKS),
            "no readable main table with positions",
        )
        return
    sane = [margin for margin in subject.margins if margin.can_be_checked]
    margins = [MarginChecker(main, margin) for margin in sane] if tiles else []
    if not subject.margins:
        findings.skip(_MARGIN_CHECKS, "no margin cache")
    elif not tiles:
        findings.skip(_MARGIN_CHECKS, "partitions overlap")
    elif not sane:
        findings.skip(_MARGIN_CHECKS, "the margin threshold makes no sense")
    step = _stepper(progress, "margins", sum(len(margin.files) for margin in margins))
    for margin in margins:
        read_margin_claims(margin, broken, findings, step)
    maps = OccupancyMaps(main, findings)
    step = _stepper(progress, "rows", len(main.partitions))
    id_column = _id_column(subject, main, findings)
    PartitionChecker(main, margins, maps, id_column, broken).run(findings, step)


def _id_column(subject: Subject, main: Table, findings: Findings) -> str | None:
    """The column that decides between rows at equal distance, where the manifest tells it."""
    name = subject.manifest.id_column if subject.manifest else None
    if name is None:
        findings["ids"].skip("no id column is recorded")
    elif name not in main.schema.names:
        findings["ids"].fault(main.place(main.path, f"the id column {name} of the manifest is not in the rows"))
        return None
    return name


def _has_positions(subject: Subject) -> bool:
    """Whether every table names position columns that it has: without them there is nothing to check rows by."""
    return all(name in table.schema.names for table in subject.tables for name in (table.ra_column, table.dec_column))


def _stepper(progress: Progress | None, stage: str, total: int) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(stage, done, total)

    return step


def __dir__() -> list[str]:
    return sorted(__all__)
