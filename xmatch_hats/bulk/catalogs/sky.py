"""Where on the sky the output is complete, and how the rows lie there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.catalogs.border import Border
from xmatch_hats.catalogs.coverage import Coverage, CoverageKind
from xmatch_hats.catalogs.moc_files import moc_of
from xmatch_hats.errors import CatalogError
from xmatch_hats.sphere import ARCSEC_PER_RADIAN
from xmatch_hats.whole import unwritable

SKY_FILE = "sky.parquet"
"""Counts by HEALPix cell of the map's order, nested; a cell that several partitions share comes once for each."""
SKY_SCHEMA = pa.schema(
    [pa.field(name, pa.int64()) for name in ("cell", "matched", "unmatched", "outside_coverage", "rows")]
)


def output_coverage(left: Coverage, plan: Plan) -> Coverage:
    """Where every row that the output may have is in it.

    Of an inner join that is where the whole disc of the radius lies in the coverage of both sides.

    Parameters
    ----------
    left : Coverage
        Of the left side.
    plan : Plan
    """
    parts = [left]
    if plan.join == "inner":
        parts.append(_shrunk(plan.coverage, plan.rule.radius_arcsec))
    if plan.region is not None:
        parts.append(plan.region.coverage())
    if all(part.sky_fraction >= 1.0 for part in parts):
        return left
    moc = moc_of(parts[0].ranges, parts[0].order)
    for part in parts[1:]:
        moc = moc.intersection(moc_of(part.ranges, part.order))
    kind: CoverageKind = "moc"
    if any(part.estimated for part in parts):
        kind = "rows"
    elif plan.region is not None:
        kind = "region"
    return Coverage.from_moc(moc, kind, "the coverages of the catalogues that were matched")


def gather_sky(units: Sequence[str], plan: Plan, path: Path) -> NDArray[np.int64]:
    """Put the counts of all units into one file.

    Returns
    -------
    ndarray of int64, shape (12 * 4**map_order,)
        Rows of the output by cell.

    Raises
    ------
    CatalogError
        The counts of a unit are not there.
    OutputError
        The file cannot be written.
    """
    total = np.zeros(12 << 2 * plan.map_order, np.int64)
    try:
        with pq.ParquetWriter(path, SKY_SCHEMA, compression="zstd") as writer:
            for unit in units:
                try:
                    sky = np.load(plan.sky(unit))
                except (OSError, ValueError) as error:
                    raise CatalogError(f"cannot be read: {error}", place=plan.sky(unit)) from error
                np.add.at(total, sky[0], sky[-1])
                writer.write_table(pa.table(list(sky), schema=SKY_SCHEMA))
    except OSError as error:
        raise unwritable(path, error) from error
    return total


def _shrunk(coverage: Coverage, radius_arcsec: float) -> Coverage:
    """The part of a coverage that keeps a radius away from its border."""
    if len(coverage.ranges) == 0 or coverage.sky_fraction >= 1.0:
        return coverage
    border = Border(coverage.ranges, coverage.order)
    inside = border.interior(radius_arcsec / ARCSEC_PER_RADIAN)
    return Coverage(coverage.kind, inside, max(coverage.order, border.order), coverage.source)
