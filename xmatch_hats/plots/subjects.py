"""What can be drawn of a catalogue, whatever holds it: a local copy, an LSDB or HATS catalogue, or a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from astropy import units as u
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import LocalCopy, open_copy
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.manifest import Manifest
from xmatch_hats.errors import UsageError
from xmatch_hats.healpix import MAX_ORDER, cells_of, merge_ranges
from xmatch_hats.matching.forms import form_of, is_lsdb, is_table
from xmatch_hats.matching.search import Cone, cone_rows
from xmatch_hats.plots.chance import FINEST_ORDER, Density, local_density, make_density, rows_by_map
from xmatch_hats.plots.tallies import CellCounts
from xmatch_hats.sphere import position_faults, separation_arcsec, unit_vectors

if TYPE_CHECKING:
    from mocpy import MOC

Floats = NDArray[np.float64]

_CATALOGS = "a copy's name or folder, a LocalCopy, or an LSDB or HATS catalogue"


def opened(catalog: Any) -> Any:
    """Open a copy that is given by its name or folder; anything else stays what it is."""
    return open_copy(catalog) if isinstance(catalog, str | Path) else catalog


def is_hats(catalog: Any) -> bool:
    """Whether a value is a catalogue of LSDB, of any kind, or of HATS."""
    return hasattr(hats_of(catalog), "get_healpix_pixels")


def hats_of(catalog: Any) -> Any:
    """HATS' own object in one of LSDB's."""
    return getattr(catalog, "hc_structure", catalog)


def name_of(catalog: Any) -> str:
    """What to call a catalogue; empty where it has no name."""
    if isinstance(catalog, LocalCopy):
        return catalog.name
    return str(hats_of(catalog).catalog_name) if is_hats(catalog) else ""


def partitions_of(catalog: Any) -> NDArray[np.int64]:
    """Orders and nested pixels of the partitions of a catalogue, shape (n, 2), along the sphere.

    Raises
    ------
    UsageError
        It is something else than a catalogue.
    """
    if isinstance(catalog, LocalCopy):
        pixels = list(catalog.partitions)
    elif is_hats(catalog):
        pixels = [(pixel.order, pixel.pixel) for pixel in hats_of(catalog).get_healpix_pixels()]
    else:
        raise UsageError(f"a {type(catalog).__name__} has no partitions", hint=f"give {_CATALOGS}", value=catalog)
    found = np.array(pixels, dtype=np.int64).reshape(-1, 2)
    return found[np.argsort(partition_ranges(found)[:, 0])]


def partition_ranges(partitions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells of order 29 of partitions, one range for each, shape (n, 2)."""
    shift = 2 * (MAX_ORDER - partitions[:, 0])
    return np.stack((partitions[:, 1] << shift, (partitions[:, 1] + 1) << shift), axis=-1)


def coverage_of(catalog: Any) -> Coverage:
    """Where on the sky a catalogue is complete, as far as anybody knows.

    Of an LSDB or HATS catalogue it is the coverage that its copy has recorded, as far as the partitions reach that are
    left of it; else the map of occupied cells that it carries, else its partitions.

    Raises
    ------
    UsageError
        It is neither a catalogue nor a map.
    """
    if isinstance(catalog, Coverage):
        return catalog
    if hasattr(catalog, "to_depth29_ranges"):
        moc: MOC = catalog
        return Coverage.from_moc(moc)
    if isinstance(catalog, LocalCopy):
        return catalog.coverage
    if not is_hats(catalog):
        raise UsageError(
            f"a {type(catalog).__name__} covers no part of the sky", hint=f"give a MOC, {_CATALOGS}", value=catalog
        )
    partitions = partitions_of(catalog)
    reach = merge_ranges(partition_ranges(partitions))
    deepest = int(partitions[:, 0].max(initial=0))
    recorded = _recorded_coverage(hats_of(catalog))
    if recorded is not None:
        return Coverage(recorded.kind, overlap(recorded.ranges, reach), max(recorded.order, deepest), recorded.source)
    if hats_of(catalog).moc is not None:
        return Coverage.from_moc(hats_of(catalog).moc, source="occupied cells")
    return Coverage("moc", reach, deepest, "partitions")


def _recorded_coverage(catalog: Any) -> Coverage | None:
    base = catalog.catalog_base_dir
    folder = None if base is None else Path(str(base)).parent
    return Coverage.load(folder) if folder is not None and Manifest.read(folder) is not None else None


def overlap(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranges that two arrays of ranges have in common."""
    edges = np.unique(np.concatenate((first.ravel(), second.ravel())))
    if len(edges) < 2:
        return np.empty((0, 2), np.int64)
    pieces = np.stack((edges[:-1], edges[1:]), axis=-1)
    for ranges in (first, second):
        at = np.searchsorted(ranges[:, 0], pieces[:, 0], side="right") - 1
        pieces = pieces[(at >= 0) & (pieces[:, 0] < (ranges[np.maximum(at, 0), 1] if len(ranges) else 0))]
    return merge_ranges(pieces)


def count_rows(catalog: Any) -> CellCounts:
    """Count the rows of a catalogue, or the positions of a table, by cell.

    Those of a local copy are taken from its occupancy map, if it has one that is fine enough; else its index is read.
    Those of an LSDB catalogue are computed, on the Dask client if there is one.

    Raises
    ------
    UsageError
        It is neither.
    CatalogError
        It cannot be read.
    """
    if isinstance(catalog, LocalCopy):
        mapped = rows_by_map(catalog)
        if mapped is not None:
            image, order, _ = mapped
            counts = CellCounts(1, min(order, CellCounts(1).order))
            cells = np.flatnonzero(image)
            counts.add_counts(cells, 0, image[cells].astype(np.int64), order)
            return counts
        pieces = catalog.read_healpix()
    elif is_lsdb(catalog):
        return _count_lsdb(catalog)
    elif is_table(catalog):
        form = form_of(catalog)
        pieces = iter([cells_of(*_good(form.ra, form.dec))])
    else:
        raise UsageError(
            f"the rows of a {type(catalog).__name__} cannot be counted",
            hint="give a copy's name or folder, a LocalCopy, an LSDB catalogue, or a table",
            value=catalog,
        )
    counts = CellCounts(1)
    for index in pieces:
        counts.add(index, np.zeros(len(index), np.int64))
    return counts


def _count_lsdb(catalog: Any) -> CellCounts:
    import dask

    counts = CellCounts(1)
    names = _coordinate_names(catalog)
    tally = dask.delayed(_cells_of_frame, pure=True)
    parts = narrowed_columns(catalog, names).to_delayed()
    for cells, numbers in dask.compute(*(tally(part, names, counts.order) for part in parts)):
        counts.add_counts(cells, 0, numbers, counts.order)
    return counts


def _cells_of_frame(frame: Any, names: list[str], order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells of the rows of a partition, ascending, and their numbers."""
    if frame.index.name == HEALPIX_COLUMN:
        index = frame.index.to_numpy(dtype=np.int64)
    else:
        index = cells_of(*(frame[name].to_numpy(dtype=np.float64) for name in names))
    return np.unique(index >> 2 * (MAX_ORDER - order), return_counts=True)


def narrowed_columns(catalog: Any, names: list[str]) -> Any:
    """An LSDB catalogue with fewer columns, where it has these."""
    there = [name for name in names if name in catalog.columns]
    return catalog[there] if there else catalog


def _coordinate_names(catalog: Any) -> list[str]:
    info = hats_of(catalog).catalog_info
    return [info.ra_column, info.dec_column]


def _good(ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    good = position_faults(ra, dec) == 0
    return ra[good], dec[good]


def density_of(catalog: Any) -> Density:
    """Local density of the rows of a catalogue, or one for the whole sky.

    Parameters
    ----------
    catalog : float, Quantity, LocalCopy, lsdb.Catalog or Density
        A number is rows per square degree.

    Raises
    ------
    UsageError
        It is none of these, or no density.
    """
    if isinstance(catalog, Density):
        return catalog
    if isinstance(catalog, LocalCopy):
        return local_density(catalog)
    if is_lsdb(catalog):
        sky = _count_lsdb(catalog)
        image = np.zeros(12 << 2 * FINEST_ORDER, np.int64)
        cells, counts = sky.at(FINEST_ORDER)
        image[cells] = counts[0]
        return make_density(image, coverage_of(catalog).ranges, f"rows of {name_of(catalog)}, counted")
    try:
        per_deg2 = float(u.Quantity(catalog, u.deg**-2).value)
    except (TypeError, ValueError, u.UnitsError) as error:
        raise UsageError(
            f"a {type(catalog).__name__} is no density",
            hint="give rows per square degree, a quantity of one over a solid angle, or a catalogue",
            value=catalog,
        ) from error
    if not (math.isfinite(per_deg2) and per_deg2 >= 0.0):
        raise UsageError(f"a density of {per_deg2:g} per square degree cannot be", value=catalog)
    return Density(0, np.full(12, per_deg2 / 3600.0**2), "as given")


def margin_of(catalog: Any) -> float | None:
    """Largest radius, arcseconds, within which a catalogue can be searched; None for a table, or without a margin."""
    if isinstance(catalog, LocalCopy):
        return catalog.margin_arcsec or None
    if is_lsdb(catalog) and catalog.margin is not None:
        return float(catalog.margin.hc_structure.catalog_info.margin_threshold)
    return None


def neighbours_of(catalog: Any, ra: float, dec: float, radius_arcsec: float) -> tuple[Floats, Floats, Floats]:
    """Rows of a catalogue around a position: right ascensions, declinations (degrees) and separations, nearest first.

    Raises
    ------
    UsageError
        It is neither a catalogue nor a table.
    """
    if isinstance(catalog, LocalCopy):
        rows = cone_rows(catalog, Cone(ra, dec, radius_arcsec), [catalog.ra_column, catalog.dec_column])
        there = [np.asarray(rows[name].cast(pa.float64())) for name in (catalog.ra_column, catalog.dec_column)]
    elif is_lsdb(catalog):
        names = _coordinate_names(catalog)
        frame = narrowed_columns(catalog, names).cone_search(ra % 360.0, dec, radius_arcsec).compute(progress_bar=False)
        there = [frame[name].to_numpy(dtype=np.float64) for name in names]
    elif is_table(catalog):
        form = form_of(catalog)
        there = list(_good(form.ra, form.dec))
    else:
        raise UsageError(
            f"no neighbours can be found in a {type(catalog).__name__}",
            hint="give a copy's name or folder, a LocalCopy, an LSDB catalogue, or a table",
            value=catalog,
        )
    distance = separation_arcsec(unit_vectors(*there), unit_vectors(ra, dec))
    near = np.argsort(distance, kind="stable")
    near = near[distance[near] <= radius_arcsec]
    return there[0][near], there[1][near], distance[near]
