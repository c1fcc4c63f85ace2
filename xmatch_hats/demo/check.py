"""The answer again, by brute force: an independent look at what the engine and the packets say.

Nothing of the matching code is used here. Separations are haversines in float64, of every pair whose declinations
allow for a match; packets are read by fastavro, with the schema that each carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.demo.sky import Floats, SkyBox

_WIRE_TOLERANCE = 1e-6
"""Relative; the numbers of ``xmatches`` are 32-bit floats."""
_COMPARED_WHOLE = 10
"""Every so many packets are compared field by field with their input."""
_WORST = 10


@dataclass
class BruteForce:
    """Nearest catalogue row of each position within a radius."""

    row: NDArray[np.int64]
    """Row of the catalogue, -1 without a match, shape (n,)."""
    distance_arcsec: Floats
    """Shape (n,); infinite without a match."""


@dataclass
class CheckReport:
    """What the check compared, and where the two sides disagree."""

    packets: int = 0
    """Packets whose answer was compared."""
    matches: int = 0
    whole_packets: int = 0
    """Packets that were compared with their input field by field."""
    problems: list[str] = field(default_factory=list)
    """Disagreements, at most ten of them."""

    def blame(self, text: str) -> None:
        """Note a disagreement."""
        if len(self.problems) < _WORST:
            self.problems.append(text)


def nearest_by_brute_force(sky: pa.Table, ra: Floats, dec: Floats, radius_arcsec: float) -> BruteForce:
    """Find the nearest row of each position; equal distances go to the smaller ``cntr``.

    Parameters
    ----------
    sky : pyarrow.Table
        With ``ra``, ``dec`` (degrees) and ``cntr``.
    ra, dec : ndarray of float64, shape (n,)
        Degrees; positions that are not finite match nothing.
    radius_arcsec : float
    """
    sky_ra, sky_dec, ids = (sky[name].to_numpy() for name in ("ra", "dec", "cntr"))
    order = np.argsort(sky_dec, kind="stable")
    sky_ra, sky_dec, ids = sky_ra[order], sky_dec[order], ids[order]
    reach = radius_arcsec / 3600.0 * (1.0 + 1e-9)
    found = BruteForce(np.full(len(ra), -1, dtype=np.int64), np.full(len(ra), np.inf))
    for i in np.flatnonzero(np.isfinite(ra) & np.isfinite(dec)):
        first, last = np.searchsorted(sky_dec, [dec[i] - reach, dec[i] + reach])
        separation = haversine_arcsec(ra[i], dec[i], sky_ra[first:last], sky_dec[first:last])
        near = np.flatnonzero(separation <= radius_arcsec)
        if len(near):
            best = near[np.lexsort((ids[first:last][near], separation[near]))[0]]
            found.row[i], found.distance_arcsec[i] = order[first + best], separation[best]
    return found


def haversine_arcsec(ra: float, dec: float, others_ra: Floats, others_dec: Floats) -> Floats:
    """Separations of one position from others, all in degrees, in arcseconds."""
    half_dec, half_ra = np.radians(others_dec - dec) / 2.0, np.radians(others_ra - ra) / 2.0
    h = np.sin(half_dec) ** 2 + np.cos(np.radians(dec)) * np.cos(np.radians(others_dec)) * np.sin(half_ra) ** 2
    return np.degrees(2.0 * np.arcsin(np.sqrt(np.minimum(h, 1.0)))) * 3600.0


def check_packets(
    sky: pa.Table, sources: list[Path], folder: Path, truth: BruteForce, wire_names: Mapping[str, str]
) -> CheckReport:
    """Compare written packets with their inputs and with brute force.

    Parameters
    ----------
    sky : pyarrow.Table
        The catalogue as it was before the import.
    sources : list of Path
        Packets that must have come out, in the order of `truth`.
    folder : Path
        Where they came out, under the same names.
    truth : BruteForce
    wire_names : mapping of str to str
        Name in ``xmatches`` by column of `sky`.
    """
    report = CheckReport()
    columns = {wire: sky[name] for name, wire in wire_names.items()}
    for number, source in enumerate(sources):
        try:
            alert = _read(folder / source.name)
        except (OSError, ValueError, EOFError) as error:
            report.blame(f"{source.name}: the output cannot be read: {error}")
            continue
        answer = alert.pop("xmatches", "nothing at all")
        row = int(truth.row[number])
        expected = None if row < 0 else {name: column[row].as_py() for name, column in columns.items()}
        if expected is not None:
            expected["angDist"] = float(truth.distance_arcsec[number])
        if not _same_answer(answer, expected):
            report.blame(f"{source.name}: xmatches is {answer}, brute force says {expected}")
        report.packets += 1
        report.matches += expected is not None
        if number % _COMPARED_WHOLE == 0:
            report.whole_packets += 1
            if alert != _read(source):
                report.blame(f"{source.name}: a field other than xmatches has changed")
    return report


def check_counts(
    report: CheckReport, counts: Mapping[str, int], truth: BruteForce, outside: tuple[int, int], rejected: int
) -> None:
    """Compare the counts of a run with what must be.

    Parameters
    ----------
    report : CheckReport
        Gets the disagreements.
    counts : mapping of str to int
        ``in``, ``matched``, ``unmatched``, ``outside_coverage``, ``rejected``.
    truth : BruteForce
        Of the packets that are not rejected.
    outside : tuple of (int, int)
        Least and most packets without a match that may be called outside the coverage.
    rejected : int
    """
    matched = int((truth.row >= 0).sum())
    for name, expected in (("matched", matched), ("rejected", rejected), ("in", len(truth.row) + rejected)):
        if counts[name] != expected:
            report.blame(f"{counts[name]} are counted as {name}, {expected} by brute force")
    if not outside[0] <= counts["outside_coverage"] <= outside[1]:
        report.blame(f"{counts['outside_coverage']} are outside-coverage, not {outside[0]} to {outside[1]}")
    if sum(counts[name] for name in ("matched", "unmatched", "outside_coverage", "rejected")) != counts["in"]:
        report.blame("the statuses do not sum up to the alerts that went in")


def outside_bounds(
    box: SkyBox, ra: Floats, dec: Floats, truth: BruteForce, radius_arcsec: float, cell_deg: float
) -> tuple[int, int]:
    """Least and most positions without a match that a coverage drawn in cells may put outside a box.

    Parameters
    ----------
    box : SkyBox
        The sky that was copied.
    ra, dec : ndarray of float64, shape (n,)
        Degrees.
    truth : BruteForce
    radius_arcsec : float
    cell_deg : float
        Longest diagonal of a cell of the coverage, degrees.
    """
    eastward = (ra - box.ra_min) % 360.0
    to_meridian = [np.cos(np.radians(dec)) * np.sin(np.radians(gap)) for gap in (eastward, box.width - eastward)]
    depth = np.minimum(dec - box.dec_min, box.dec_max - dec)
    depth = np.minimum(depth, np.degrees(np.arcsin(np.minimum(*to_meridian))))
    depth = np.where(box.contains(ra, dec), depth, -np.inf)
    empty, radius = truth.row < 0, radius_arcsec / 3600.0
    return int((empty & (depth < radius)).sum()), int((empty & (depth < radius + cell_deg)).sum())


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (record,) = fastavro.reader(file)
    if not isinstance(record, dict):
        raise ValueError("not a record")
    return record


def _same_answer(answer: Any, expected: dict[str, Any] | None) -> bool:
    if expected is None or not isinstance(answer, dict):
        return answer == expected
    if len(answer) != 1:
        return False
    (match,) = answer.values()
    return (
        isinstance(match, dict)
        and match.keys() == expected.keys()
        and all(_same_value(match[name], value) for name, value in expected.items())
    )


def _same_value(wire: Any, value: Any) -> bool:
    if isinstance(value, float) and isinstance(wire, float):
        return abs(wire - value) <= _WIRE_TOLERANCE * max(abs(value), 1e-3)
    return bool(wire == value)
