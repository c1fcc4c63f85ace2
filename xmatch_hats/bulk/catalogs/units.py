"""What is joined with what: units of work that read no partition twice.

HATS partitions are HEALPix cells, so of two that overlap one holds the other. A unit is the larger one with all of the
other side's within it: either one left partition with the right ones in it, or one right partition with the left ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.where import Condition
from xmatch_hats.matching.partitions import PartitionIndex


@dataclass(frozen=True)
class Side:
    """One of the two catalogues, as far as workers need to know it."""

    path: Path
    """Folder of the main table."""
    margin_path: Path | None
    """Folder of the margin cache, where it may serve."""
    suffix: str
    schema: pa.Schema
    """Of all columns that are read: the asked ones, index, coordinates and id among them."""
    columns: tuple[str, ...]
    """The asked ones."""
    ra: str
    dec: str
    id: str | None
    """Column that orders rows at equal distance."""
    partitions: PartitionIndex
    margins: frozenset[Partition]
    """Partitions that have a file in the margin cache."""
    where: Condition | None = None
    """Which rows count."""

    @classmethod
    def of(
        cls,
        copy: LocalCopy,
        columns: Sequence[str],
        margin_path: Path | None = None,
        where: Condition | None = None,
    ) -> Side:
        """Describe a copy, with its margin cache where that is to serve.

        Raises
        ------
        CatalogError
            The list of the margin's partitions cannot be read.
        """
        needed = [HEALPIX_COLUMN, copy.ra_column, copy.dec_column, *([copy.id_column] if copy.id_column else [])]
        needed += where.columns if where else ()
        fields = [_plain(copy.schema.field(name)) for name in dict.fromkeys((*needed, *columns))]
        return cls(
            path=copy.main_path,
            margin_path=margin_path,
            suffix=copy.suffix,
            schema=pa.schema(fields),
            columns=tuple(columns),
            ra=copy.ra_column,
            dec=copy.dec_column,
            id=copy.id_column,
            partitions=PartitionIndex.from_pixels(copy.partitions),
            margins=frozenset(layout.read_partitions(margin_path)) if margin_path else frozenset(),
            where=where,
        )

    def file(self, partition: Partition) -> Path:
        """Path of a partition of the main table."""
        return layout.partition_path(self.path, partition, self.suffix)

    def margin_file(self, partition: Partition) -> Path | None:
        """Path of a partition's margin rows; None where it has none."""
        if self.margin_path is None or partition not in self.margins:
            return None
        return layout.partition_path(self.margin_path, partition, self.suffix)

    def state(self) -> str:
        """Tell the state of all files that are read; another one means other rows, hexadecimal."""
        digest = hashlib.sha256()
        for partition in self.partitions.pixels:
            for path in (self.file(partition), self.margin_file(partition)):
                # A partition may be a folder of files.
                for file in [path, *sorted(path.rglob("*"))] if path and path.is_dir() else [path]:
                    if file and file.is_file():
                        found = file.stat()
                        digest.update(repr((str(file), found.st_ino, found.st_size, found.st_ctime_ns)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Unit:
    """Partitions of both sides that overlap, along the sphere: one of either side, any number of the other."""

    left: tuple[Partition, ...]
    right: tuple[Partition, ...]

    @property
    def name(self) -> str:
        """Its first left partition, which no other unit has."""
        order, pixel = self.left[0]
        return f"Norder={order},Npix={pixel}"


def plan_units(left: PartitionIndex, right: PartitionIndex) -> list[Unit]:
    """Divide the work.

    Parameters
    ----------
    left, right : PartitionIndex

    Returns
    -------
    list of Unit
        Along the sphere. Every left partition is in one of them, every right one in one or none.
    """
    numbers, found = right.overlapping(left.starts, left.stops)
    overlaps: dict[int, list[int]] = {}
    for number, other in zip(numbers.tolist(), found.tolist(), strict=True):
        overlaps.setdefault(number, []).append(other)
    units: list[Unit] = []
    shared = -1
    for number, partition in enumerate(left.pixels):
        others = overlaps.get(number, [])
        if len(others) == 1 and others[0] == shared:
            units[-1] = Unit((*units[-1].left, partition), units[-1].right)
            continue
        units.append(Unit((partition,), tuple(right.pixels[other] for other in others)))
        shared = others[0] if len(others) == 1 else -1
    return units


def _plain(field: pa.Field) -> pa.Field:
    """A field without Arrow's views of text and bytes, of which Arrow itself takes no rows."""
    return field.with_type(_plain_type(field.type))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([_plain(kind.field(number)) for number in range(kind.num_fields)])
    return kind
