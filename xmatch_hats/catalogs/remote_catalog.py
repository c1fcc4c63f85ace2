"""A HATS catalogue somewhere else: what its metadata tell, before any row is read."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats import healpix
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.footer import read_footer
from xmatch_hats.catalogs.moc_files import MAP_FILE, SUMMARY_FILE
from xmatch_hats.catalogs.remote import RemoteStore, Retry
from xmatch_hats.errors import CatalogError, CoverageError, RemoteError

_KINDS = ("object", "source")
"""Types of HATS tables that are catalogues of positions."""
_OLD_KEYS = {
    "catalog_name": "obs_collection",
    "catalog_type": "dataproduct_type",
    "total_rows": "hats_nrows",
    "ra_column": "hats_col_ra",
    "dec_column": "hats_col_dec",
    "healpix_column": "hats_col_healpix",
    "npix_suffix": "hats_npix_suffix",
}
"""Keys that the first HATS writers used, and what they are called now."""


@dataclass(frozen=True, order=True)
class Partition:
    """One partition of the catalogue."""

    order: int
    pixel: int

    @property
    def interval(self) -> tuple[int, int]:
        """Its cells at order 29, half open."""
        shift = 2 * (healpix.MAX_ORDER - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift

    @property
    def name(self) -> str:
        """A file name that sorts as the sky does."""
        return f"{self.interval[0]:019d}-{self.order:02d}"

    def __str__(self) -> str:
        return f"Norder={self.order}/Npix={self.pixel}"


@dataclass(frozen=True)
class RemoteCatalog:
    """The main table of a remote HATS catalogue."""

    store: RemoteStore
    """Its own folder, within the collection's if it is one."""
    url: str
    """As the user gave it."""
    name: str
    ra_column: str
    dec_column: str
    healpix_column: str
    """Column of the HEALPix index, sorted by in each file."""
    healpix_order: int | None
    """Order of that index; None if it is not known to be one of nested cells, and tells nothing."""
    total_rows: int | None
    suffix: str
    """Ending of the partitions' files; a slash for folders of files."""
    partitions: tuple[Partition, ...]
    fingerprint: str
    """Checksum of the metadata files: another one means another catalogue."""
    coverage: Coverage | None
    """What the catalogue itself records, if it was made by this package."""
    ranges: bool
    """Whether the server gives parts of files."""

    def select(self, outer: NDArray[np.int64] | None) -> list[Partition]:
        """Partitions that share cells with ranges; all of them without ranges."""
        if outer is None:
            return list(self.partitions)
        bounds = np.array([partition.interval for partition in self.partitions], dtype=np.int64).reshape(-1, 2)
        chosen = healpix.overlap_ranges(bounds[:, 0], bounds[:, 1], outer)
        return [partition for partition, keep in zip(self.partitions, chosen, strict=True) if keep]

    def files(self, partition: Partition) -> list[str]:
        """Parquet files of a partition, relative to the catalogue."""
        folder = f"dataset/Norder={partition.order}/Dir={partition.pixel // 10_000 * 10_000}"
        stem = f"{folder}/Npix={partition.pixel}"
        if self.suffix not in ("/", "\\"):
            return [stem + self.suffix]
        # A web server's list of a folder has other links, too.
        names = [name for name in self.store.list(stem) if ".parq" in name and not name.startswith((".", "_"))]
        if not names:
            raise RemoteError("the partition has no files", place=self.store.path(stem))
        return [f"{stem}/{name}" for name in names]

    def schema(self) -> pa.Schema:
        """Columns of the catalogue, as its ``_common_metadata`` has them or, without that, its first partition."""
        name = "dataset/_common_metadata"
        data = self.store.read_if_there(name)
        if data is None:
            name = self.files(self.partitions[0])[0]
            if self.ranges:
                return read_footer(self, name).metadata.schema.to_arrow_schema()
            data = self.store.read(name)
        try:
            return pq.read_schema(io.BytesIO(data))
        except (pa.ArrowInvalid, OSError) as error:
            raise RemoteError(f"the schema cannot be read: {error}", place=self.store.path(name)) from error


def open_remote(url: str | os.PathLike[str], retry: Retry | None = None) -> RemoteCatalog:
    """Read the metadata of a HATS collection or catalogue.

    Parameters
    ----------
    url : str or path-like
        Folder of the collection or catalogue: https, s3 or a path.
    retry : Retry, optional

    Raises
    ------
    RemoteError
        It cannot be reached, is not HATS, or is a kind of table that has no positions of its own.
    UsageError
        The URL means nothing.
    """
    given = store = RemoteStore(url, retry)
    with tempfile.TemporaryDirectory(prefix="xmatch_hats.") as scratch:
        mirror = Path(scratch)
        if _fetch(store, layout.COLLECTION_FILE, mirror):
            store = RemoteStore(_primary_url(store, mirror), retry)
        name, properties = _properties(store, mirror)
        coverage = _recorded_coverage(given, mirror)
        partitions = _partitions(store, mirror)
        fingerprint = hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(mirror.iterdir()) if path.name != MAP_FILE)
        ).hexdigest()
        return RemoteCatalog(
            store=store,
            url=given.url,
            name=properties.get("obs_collection") or store.url.rsplit("/", 1)[-1],
            ra_column=properties["hats_col_ra"],
            dec_column=properties["hats_col_dec"],
            healpix_column=properties.get("hats_col_healpix") or layout.HEALPIX_COLUMN,
            healpix_order=_healpix_order(properties),
            total_rows=int(rows) if (rows := properties.get("hats_nrows", "")).isdecimal() else None,
            suffix=properties.get("hats_npix_suffix") or ".parquet",
            partitions=partitions,
            fingerprint=fingerprint,
            coverage=coverage,
            ranges=store.gives_ranges(name),
        )


def _fetch(store: RemoteStore, name: str, mirror: Path) -> Path | None:
    """Put a small file of the catalogue into the mirror, where the libraries can parse it without the network."""
    data = store.read_if_there(name)
    if data is None:
        return None
    target = mirror / Path(name).name
    target.write_bytes(data)
    return target


def _primary_url(store: RemoteStore, mirror: Path) -> str:
    try:
        primary = layout.read_collection_properties(mirror)["hats_primary_table_url"]
    except CatalogError as error:
        raise _not_understood(store.path(layout.COLLECTION_FILE), error) from error
    return store.sibling(primary)


def _properties(store: RemoteStore, mirror: Path) -> tuple[str, dict[str, str]]:
    name = next((name for name in layout.CATALOG_FILES if _fetch(store, name, mirror)), None)
    if name is None:
        raise RemoteError(
            "is not a HATS catalogue: it has neither collection.properties nor hats.properties",
            place=store.url,
            hint="give the folder that holds one of them, which everybody may read",
        )
    try:
        properties = layout.read_catalog_properties(mirror)
    except CatalogError as error:
        raise _not_understood(store.path(name), error) from error
    properties |= {
        new: properties[old] for old, new in _OLD_KEYS.items() if old in properties and new not in properties
    }
    kind = properties.get("dataproduct_type", "unknown")
    if kind not in _KINDS or not properties.get("hats_col_ra") or not properties.get("hats_col_dec"):
        raise RemoteError(
            f"is a HATS table of type {kind}, not a catalogue with positions of its own",
            place=store.url,
            hint="give its collection or its object catalogue",
        )
    return name, properties


def _healpix_order(properties: dict[str, str]) -> int | None:
    """Order of the HEALPix index: as recorded, else as its usual name says; the first writers' was no cell number."""
    if recorded := properties.get("hats_col_healpix_order"):
        return int(recorded) if recorded.isdecimal() and int(recorded) <= healpix.MAX_ORDER else None
    column = properties.get("hats_col_healpix") or layout.HEALPIX_COLUMN
    return healpix.MAX_ORDER if column == layout.HEALPIX_COLUMN else None


def _partitions(store: RemoteStore, mirror: Path) -> tuple[Partition, ...]:
    names = ("partition_info.csv", "dataset/_metadata")
    name = next((name for name in names if _fetch(store, name, mirror)), None)
    if name is None:
        raise RemoteError(f"has neither {' nor '.join(names)}: its partitions are unknown", place=store.url)
    try:
        pixels = layout.read_partitions(mirror) if name == names[0] else _pixels_of_metadata(mirror / "_metadata")
    except (CatalogError, pa.ArrowInvalid, OSError) as error:
        raise _not_understood(store.path(name), error) from error
    if not pixels:
        raise RemoteError("has no partitions", place=store.url)
    return tuple(Partition(order, pixel) for order, pixel in sorted(pixels, key=layout.sky_order))


def _pixels_of_metadata(path: Path) -> set[layout.Partition]:
    metadata = pq.read_metadata(path)
    files = {metadata.row_group(group).column(0).file_path for group in range(metadata.num_row_groups)}
    found = [re.search(r"Norder=(\d+)/.*Npix=(\d+)", file) for file in files]
    return {(int(match[1]), int(match[2])) for match in found if match}


def _recorded_coverage(store: RemoteStore, mirror: Path) -> Coverage | None:
    if not (_fetch(store, SUMMARY_FILE, mirror) and _fetch(store, MAP_FILE, mirror)):
        return None
    try:
        return Coverage.load(mirror)
    except CoverageError as error:
        raise RemoteError(f"its coverage map is damaged: {error.message}", place=store.path(MAP_FILE)) from error


def _not_understood(place: str, error: Exception) -> RemoteError:
    # Not the whole error: it names a file of the mirror, which is nobody's business.
    reason = error.message if isinstance(error, CatalogError) else " ".join(str(error).split())
    return RemoteError(f"its metadata are not understood: it {reason}", place=place)
