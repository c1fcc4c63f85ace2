"""One catalogue as LSDB has opened it, and the plan of matching positions with it.

The positions become an LSDB catalogue whose partitions are the very partitions of the right side that they lie in, so
that nothing is aligned finer than it is stored. Each is joined with its partition and the partition's margin. A
position where the catalogue has no partition is joined, without margins, with every partition that its disc touches: an
alignment of partitions alone would find it nothing, though a row may lie within the radius in the partition next door.
So is every position where the margin cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import lsdb
import nested_pandas as npd
import numpy as np
import pandas as pd
import pyarrow as pa
from hats.catalog import Catalog as HatsCatalog
from hats.catalog import CatalogType, TableProperties
from hats.pixel_math import HealpixPixel
from lsdb.operations.lsdb_ops import EmptyOperation, FromHealpixMap
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.errors import CatalogError
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.algorithm import TieExactCrossmatch
from xmatch_hats.matching.batch import Found, Positions
from xmatch_hats.matching.pairs import rank_pairs
from xmatch_hats.matching.partitions import PartitionIndex
from xmatch_hats.matching.reads import narrow, pixel_tree
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.ties import tie_keys
from xmatch_hats.sphere import separation_arcsec, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable

ROW, RA, DEC = "_xmatch_hats_row", "_xmatch_hats_ra", "_xmatch_hats_dec"
"""Columns of the left side; a catalogue that has one of them is refused."""

_INT64, _DOUBLE = pd.ArrowDtype(pa.int64()), pd.ArrowDtype(pa.float64())


@dataclass(frozen=True)
class Plan:
    """A task graph, and the keys whose values are frames of pairs."""

    graph: dict[Hashable, Any]
    keys: list[Hashable]


@dataclass(frozen=True)
class Answer:
    """What is known of a catalogue without holding it: how its joined frames become pairs."""

    schema: pa.Schema
    """Of the asked columns, with their metadata: what the answers' rows have."""
    id_column: str | None
    """Column that decides ties."""
    info: TableProperties
    """Names its coordinate columns."""

    def collect(self, frames: Iterable[pd.DataFrame], rule: MatchRule) -> Found:
        """Put the computed frames of a plan together, by input row and rank."""
        tables = [_to_arrow(frame) for frame in frames if len(frame)]
        if not tables:
            none = np.empty(0, np.int64)
            return Found(none, none.astype(np.int32), none.astype(np.float64), self.schema.empty_table())
        table = pa.concat_tables(tables, promote_options="permissive")
        left = table[ROW].to_numpy()
        ra, dec = (_doubles(table[name]) for name in (self.info.ra_column, self.info.dec_column))
        separation = separation_arcsec(unit_vectors(table[RA], table[DEC]), unit_vectors(ra, dec))
        ids = None if self.id_column is None else table[self.id_column]
        # A stray position was joined with several partitions, so only here are all of its pairs together.
        order, rank = rank_pairs(left, separation, tie_keys(ids, ra, dec), rule.n_neighbors)
        rows = table.select(self.schema.names).take(pa.array(order)).cast(self.schema)
        return Found(left[order], rank, separation[order], rows)


class LsdbSide:
    """The right side of a match.

    Parameters
    ----------
    catalog : lsdb.Catalog
        Opened once, with at least its coordinates, its id column and the asked columns; with its margin.
    schema : pyarrow.Schema
        Of the asked columns, with their metadata: what the answers' rows have.
    id_column : str or None
        Column that decides ties.
    whole_margin : bool, optional
        Whether the margin holds every row around the partitions. That of a catalogue that LSDB has narrowed may not;
        without it, positions are joined with every partition that their discs touch.

    Raises
    ------
    CatalogError
        The catalogue has a column of a name that matching needs for itself.
    """

    def __init__(
        self, catalog: lsdb.Catalog, schema: pa.Schema, id_column: str | None, *, whole_margin: bool = True
    ) -> None:
        for name in (ROW, RA, DEC):
            if name in catalog.columns:
                raise CatalogError(f"a column of it is called {name}, which matching needs", place=catalog.name)
        self._whole_margin = whole_margin
        self.catalog = catalog
        self.answer = Answer(schema, id_column, catalog.hc_structure.catalog_info)

    @cached_property
    def partitions(self) -> PartitionIndex:
        """All partitions of the catalogue."""
        return PartitionIndex.from_pixels((p.order, p.pixel) for p in self.catalog.get_healpix_pixels())

    def plan(self, positions: Positions, rule: MatchRule) -> Plan:
        """Plan the match of some positions: nothing is read yet.

        Parameters
        ----------
        positions : Positions
        rule : MatchRule
            With a radius within the margin.
        """
        home = self.partitions.home(positions.index) if self._whole_margin else np.full(len(positions), -1)
        rows = np.flatnonzero(home >= 0)
        strays = np.flatnonzero(home < 0)
        stray_rows, stray_homes = self.partitions.touched(positions.index[strays], rule.padded_arcsec)
        touched = np.union1d(home[rows], stray_homes)
        if len(touched) == 0:
            return Plan({}, [])
        right = narrow(self.catalog, [HealpixPixel(*self.partitions.pixels[i]) for i in touched])
        bare = narrow(self.catalog, [HealpixPixel(*self.partitions.pixels[i]) for i in touched])
        right.margin = self._margin_of(np.unique(home[rows]))
        bare.margin = _no_margin(self.catalog)
        parts = [
            self._join(positions.take(rows), home[rows], right, rule),
            self._join(positions.take(strays[stray_rows]), stray_homes, bare, rule),
        ]
        graph: dict[Hashable, Any] = {}
        for part in parts:
            graph |= part.graph
        return Plan(graph, [key for part in parts for key in part.keys])

    def _margin_of(self, homes: NDArray[np.int64]) -> Any:
        """Margins of some partitions; a partition without one has an empty one."""
        margin = self.catalog.margin
        if margin is None:
            return _no_margin(self.catalog)
        kept = set(margin.get_healpix_pixels())
        wanted = [HealpixPixel(*self.partitions.pixels[i]) for i in homes]
        pixels = [pixel for pixel in wanted if pixel in kept]
        return narrow(margin, pixels) if pixels else _no_margin(self.catalog)

    def _join(self, positions: Positions, homes: NDArray[np.int64], right: lsdb.Catalog, rule: MatchRule) -> Plan:
        """Join positions with the partitions that they are assigned to, by LSDB."""
        if len(positions) == 0:
            return Plan({}, [])
        left = _left_catalog(positions, homes, self.partitions)
        joined = left.crossmatch(
            right,
            algorithm=TieExactCrossmatch(rule, self.answer.id_column),
            how="inner",
            require_right_margin=True,
            suffixes=("", ""),
            suffix_method="overlapping_columns",
            log_changes=False,
        )
        built = joined._operation.build()
        return Plan(built.graph, built.keys)


class _PositionFrames(FromHealpixMap):
    """Frames of positions: each batch has keys of its own, without hashing all of its positions."""

    def __init__(self, pixels: Sequence[HealpixPixel], frames: Sequence[npd.NestedFrame]) -> None:
        super().__init__(_given, list(pixels), meta=frames[0].iloc[:0], verify_meta=False, map_kwargs={"frame": frames})
        self._token = uuid4().hex

    @property
    def key_name(self) -> str:
        return f"positions-{self._token}"


def _given(_pixel: HealpixPixel, *, frame: npd.NestedFrame) -> npd.NestedFrame:
    return frame


def _left_catalog(positions: Positions, homes: NDArray[np.int64], partitions: PartitionIndex) -> lsdb.Catalog:
    order = np.argsort(homes, kind="stable")
    homes, positions = homes[order], positions.take(order)
    numbers, starts = np.unique(homes, return_index=True)
    index = pd.Index(positions.index, dtype=_INT64, name=HEALPIX_COLUMN)
    columns = {ROW: (positions.rows, _INT64), RA: (positions.ra, _DOUBLE), DEC: (positions.dec, _DOUBLE)}
    frame = npd.NestedFrame(
        {name: pd.Series(values, dtype=dtype, index=index) for name, (values, dtype) in columns.items()}
    )
    stops = np.r_[starts[1:], len(homes)]
    frames = [frame.iloc[start:stop] for start, stop in zip(starts, stops, strict=True)]
    pixels = [HealpixPixel(*partitions.pixels[number]) for number in numbers]
    info = TableProperties(
        catalog_name="positions",
        catalog_type=CatalogType.OBJECT,
        ra_column=RA,
        dec_column=DEC,
        total_rows=len(frame),
        healpix_column=HEALPIX_COLUMN,
        healpix_order=MAX_ORDER,
    )
    schema = pa.schema([(ROW, pa.int64()), (RA, pa.float64()), (DEC, pa.float64())])
    return lsdb.catalog.Catalog(_PositionFrames(pixels, frames), HatsCatalog(info, pixel_tree(pixels), schema=schema))


def _no_margin(catalog: lsdb.Catalog) -> Any:
    """Return a margin of no partition, for positions whose every touched partition is joined by itself."""
    if catalog.margin is None:
        return None
    structure = catalog.margin.hc_structure
    empty = type(structure)(structure.catalog_info, [], catalog_path=structure.catalog_path, schema=structure.schema)
    return type(catalog.margin)(EmptyOperation(catalog.margin.meta), empty)


def _to_arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _doubles(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy())
