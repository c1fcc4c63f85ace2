"""Checks against what this package recorded beside the HATS files: checksums and coverage."""

from __future__ import annotations

from collections.abc import Callable

from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.manifest import MANIFEST_NAME, copy_files, sha256_file
from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.report import Place
from xmatch_hats.catalogs.verify.rows import in_threads
from xmatch_hats.catalogs.verify.subject import Subject
from xmatch_hats.errors import CatalogError


def check_checksums(subject: Subject, findings: Findings, step: Callable[[], None]) -> None:
    """Compare size and SHA-256 of every file with the manifest, and the list of files with it."""
    tally = findings["checksums"]
    if subject.manifest is None:
        tally.skip("no manifest: checksums not checked")
        return
    if subject.manifest.checksum != subject.manifest.expected_checksum:
        tally.fault(Place(MANIFEST_NAME, "is not as it was written: its own checksum differs"))
    recorded = subject.manifest.files
    present = {path.as_posix() for path in copy_files(subject.root)}
    for name in sorted(recorded.keys() ^ present):
        tally.fault(Place(name, "is not in the manifest" if name in present else "is missing"))

    def fault(name: str) -> str:
        path = subject.root / name
        try:
            size = path.stat().st_size
            if size != recorded[name].bytes:
                return f"has {size} bytes, the manifest says {recorded[name].bytes}"
            return "" if sha256_file(path) == recorded[name].sha256 else "has another SHA-256 than the manifest says"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    names = sorted(recorded.keys() & present)
    for name, detail in zip(names, in_threads(fault, names), strict=True):
        step()
        tally.looked_at += 1
        if detail:
            tally.fault(Place(name, detail))


def check_coverage(subject: Subject, findings: Findings) -> None:
    """Read the recorded coverage and compare it with its summary in the manifest.

    Rows outside the coverage are no fault: the rows that a region's margin needs lie beyond the region.
    """
    tally = findings["coverage"]
    if subject.manifest is None:
        tally.skip("no manifest: no coverage is recorded")
        return
    tally.looked_at += 1
    recorded = subject.manifest.coverage
    try:
        coverage = Coverage.load(subject.root)
    except CatalogError as error:
        tally.fault(Place(error.place or "", error.message))
        return
    for name in ("kind", "estimated", "order"):
        actual, said = getattr(coverage, name), getattr(recorded, name)
        if actual != said:
            tally.fault(Place("coverage", f"its {name} is {actual}, the manifest says {said}"))
    if abs(coverage.sky_fraction - recorded.sky_fraction) > 1e-9:
        text = f"covers {coverage.sky_fraction:.9g} of the sky, the manifest says {recorded.sky_fraction:.9g}"
        tally.fault(Place("coverage", text))
