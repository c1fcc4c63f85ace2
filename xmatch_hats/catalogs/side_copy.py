"""The side copy: what a stream needs of a copy, once more, in files that are memory-mapped instead of decoded.

Parquet is small on disk and slow to take single rows from: a row group is decoded whole for each. The side copy holds
chosen columns of the main table uncompressed, an Arrow IPC file of one record batch for each partition, its rows sorted
by ``_healpix_29``. It is derived data: it is in no manifest, a copy is whole without it, and `build_side_copy` makes it
anew at any time.

It lies in the folder ``side_copy`` of the copy: ``side_copy.json``, which says what it was made from, and a folder for
the version of the copy with files ``Norder=K/Dir=D/Npix=N.arrow``. It is built in the hidden
folder ``.side_copy`` beside it and put in place by one rename.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import ValidationError

from xmatch_hats.catalogs._side_copy_build import (
    INFO_NAME,
    VERSION_KEY,
    Builder,
    Info,
    Progress,
    Workshop,
    partition_file,
    read_file,
    words,
)
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.manifest import SIDE_COPY_NAME, SIDE_COPY_WORK
from xmatch_hats.errors import CatalogError, PartitionReadError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.copy import LocalCopy

__all__ = ["REBUILD_HINT", "SideCopy", "build_side_copy", "remove_side_copy", "stream_columns"]

log = logging.getLogger(__name__)

REBUILD_HINT = "`xmatch-hats catalog side-copy` makes it anew"


@dataclass(frozen=True)
class SideCopy:
    """A side copy that belongs to its copy; its files are opened one by one."""

    folder: Path
    version: str
    """`LocalCopy.version` of the copy it was made from."""
    columns: tuple[str, ...]
    """All that it holds: ``_healpix_29``, the coordinates, the id column if the copy has one, and the chosen ones."""
    sizes: dict[Partition, tuple[int, int]]
    """Rows and bytes of each partition's file."""

    @classmethod
    def find(cls, copy: LocalCopy) -> SideCopy | None:
        """Find the side copy of a copy.

        Returns
        -------
        SideCopy or None
            None where there is none, or one that cannot be used: of another version of the copy, or of another format.
            The log tells it once.
        """
        try:
            return cls.open(copy)
        except CatalogError as error:
            _warn_once(f"{error}: the copy is read without its side copy")
            return None

    @classmethod
    def open(cls, copy: LocalCopy) -> SideCopy | None:
        """Find the side copy of a copy, or tell why it cannot be used.

        Returns
        -------
        SideCopy or None
            None where there is none.

        Raises
        ------
        CatalogError
            It is of another version of the copy, of another format, or damaged.
        """
        folder = copy.path / SIDE_COPY_NAME
        path = folder / INFO_NAME
        try:
            info = Info.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            if not folder.exists():
                return None
            raise CatalogError("is missing", place=path, hint=REBUILD_HINT) from None
        except OSError as error:
            raise CatalogError(f"cannot be read: {error.strerror}", place=path, hint=REBUILD_HINT) from error
        except ValidationError as error:
            raise CatalogError(
                "is not the description of a side copy that this version understands", place=path, hint=REBUILD_HINT
            ) from error
        if info.version != copy.version:
            raise CatalogError("is of another version of the copy", place=folder, hint=REBUILD_HINT)
        sizes = {(order, pixel): (rows, size) for order, pixel, rows, size in info.partitions}
        if tuple(sizes) != copy.partitions:
            raise CatalogError("lists other partitions than the copy has", place=path, hint=REBUILD_HINT)
        return cls(folder, info.version, info.columns, sizes)

    def __repr__(self) -> str:
        return f"<SideCopy {self.folder}: {len(self.columns)} columns, {self.bytes:,} bytes>"

    @property
    def bytes(self) -> int:
        """Bytes of its files."""
        return sum(size for _, size in self.sizes.values())

    def path(self, partition: Partition) -> Path:
        """Path of a partition's file."""
        return partition_file(self.folder, self.version, partition)

    def read(self, partition: Partition) -> pa.RecordBatch:
        """Memory-map a partition's rows; of its values none is read before it is used, only where texts begin and end.

        What has no structure, numbers among it, is believed: `verify` compares it with the copy.

        Raises
        ------
        PartitionReadError
            The file is missing, damaged or of another version of the copy. The copy itself may be quite well.
        """
        path = self.path(partition)
        try:
            rows = read_file(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise PartitionReadError(f"cannot be read: {words(error)}", place=path, hint=REBUILD_HINT) from error
        if (rows.schema.metadata or {}).get(VERSION_KEY) != self.version.encode():
            raise PartitionReadError("is of another version of the copy", place=path, hint=REBUILD_HINT)
        if tuple(rows.schema.names) != self.columns:
            raise PartitionReadError("has other columns than its side copy says", place=path, hint=REBUILD_HINT)
        if rows.num_rows != self.sizes[partition][0]:
            raise PartitionReadError(
                f"has {rows.num_rows} rows, its side copy says {self.sizes[partition][0]}",
                place=path,
                hint=REBUILD_HINT,
            )
        return rows


def build_side_copy(
    copy: LocalCopy, columns: Sequence[str] | None = None, progress: Progress | None = None
) -> SideCopy:
    """Make the side copy of a copy, in the place of the one that it has.

    A call that was killed is taken up by the next one with the same columns. Readers see the former side copy, or none,
    until the new one is whole; what they have mapped of the former stays theirs.

    Parameters
    ----------
    copy : LocalCopy
    columns : sequence of str, optional
        Columns beside index, coordinates and id, under any name of the copy. Default: see `stream_columns`.
    progress : callable, optional
        Called with the partitions done and in all.

    Returns
    -------
    SideCopy

    Raises
    ------
    CatalogError
        The copy has no such column, its folder cannot be written to, the disk is full, or a side copy is being built.
    PartitionReadError
        A partition of the copy cannot be read.
    """
    own = stream_columns(copy) if columns is None else tuple(copy.column_names(columns))
    ids = (copy.id_column,) if copy.id_column in copy.schema.names else ()
    names = tuple(dict.fromkeys((HEALPIX_COLUMN, copy.ra_column, copy.dec_column, *ids, *own)))
    try:
        with Workshop(copy.path) as shop:
            try:
                shop.begin({"format": 1, "version": copy.version, "columns": names})
                Builder(copy, names, shop.new).build(progress)
                shop.publish()
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    # What lies here would only keep the disk full.
                    shop.clear()
                raise
    except OSError as error:
        raise CatalogError(
            f"its side copy cannot be written: {error.strerror or error}",
            place=copy.path,
            hint="the copy can be used without one, only slower; fewer --columns make it smaller",
        ) from error
    built = SideCopy.open(copy)
    if built is None:
        raise CatalogError("its side copy has been removed just now", place=copy.path)
    return built


def remove_side_copy(copy: LocalCopy) -> None:
    """Remove the side copy of a copy, and what an interrupted call left of one; it need not have any.

    Raises
    ------
    CatalogError
        The folder cannot be written to, or a side copy is being built.
    """
    if not any((copy.path / name).exists() for name in (SIDE_COPY_NAME, SIDE_COPY_WORK)):
        return
    try:
        with Workshop(copy.path) as shop:
            shop.set_aside()
            shop.clear()
    except OSError as error:
        raise CatalogError(f"its side copy cannot be removed: {error.strerror}", place=copy.path) from error


def stream_columns(copy: LocalCopy) -> tuple[str, ...]:
    """Columns that streams ask for unless told otherwise: the definition's for streams, else its default ones.

    Without a definition these are all columns.
    """
    definition = copy.definition
    preferred = (definition.xmatch_columns or definition.default_columns) if definition else ()
    own = copy.column_names(None)
    return tuple(name for name in preferred if name in own) or tuple(own)


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def __dir__() -> list[str]:
    return sorted(__all__)
