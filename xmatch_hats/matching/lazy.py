"""An LSDB catalogue as the left side: the answer is a lazy LSDB catalogue with the same rows in the same order.

Each left partition is matched with every right partition that lies within the radius of it, one at a time, so that a
worker never holds more than one of each; the pairs are then put together and joined to the left partition as it is.
Only rows of the main table take part, so that no row is met twice, and none is missed where there is no margin.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import cdshealpix.nested as healpix
import nested_pandas as npd
import numpy as np
import pandas as pd
from dask._task_spec import DataNode, Task, TaskRef
from hats.catalog import TableProperties
from hats.pixel_math import HealpixPixel
from lsdb.catalog import Catalog as LsdbCatalog
from lsdb.operations.operation import HealpixGraph, Operation
from numpy.typing import NDArray

from xmatch_hats.healpix import MAX_ORDER, cover_order
from xmatch_hats.matching.algorithm import frame_positions, match_frame
from xmatch_hats.matching.assemble import Join, Names, added_columns
from xmatch_hats.matching.batch import Found, Positions, sort_positions
from xmatch_hats.matching.crossmatcher import CoverageTest, finish
from xmatch_hats.matching.lsdb_side import DEC, RA, ROW, Answer, LsdbSide
from xmatch_hats.matching.partitions import PartitionIndex
from xmatch_hats.matching.reads import narrow
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.tables.convert import to_pandas

BORDER_DEPTH = 6
"""Orders below a partition's at which the sky around it is looked at: finer would find hardly fewer neighbours."""


@dataclass(frozen=True)
class LazyPlan:
    """What the tasks of a lazy match need to know."""

    answer: Answer
    rule: MatchRule
    left_info: TableProperties
    name: str
    """Of the right side, for columns."""
    join: Join
    names: Names | None
    is_covered: CoverageTest | None


def match_lazily(left: LsdbCatalog, side: LsdbSide, plan: LazyPlan) -> LsdbCatalog:
    """Plan the match of a catalogue; nothing is read until the answer is computed or written.

    Parameters
    ----------
    left : lsdb.Catalog
    side : LsdbSide
        The right side.
    plan : LazyPlan

    Returns
    -------
    lsdb.Catalog
        Its partitions, rows, order and index, with the columns of `added_columns`.
    """
    return left._create_updated_dataset(op=LazyMatch(left._operation, side, plan))


class LazyMatch(Operation):
    """The match as a node of LSDB's graphs.

    Parameters
    ----------
    left : Operation
        Whose partitions are matched.
    side : LsdbSide
        The right side.
    plan : LazyPlan
    """

    def __init__(self, left: Operation, side: LsdbSide, plan: LazyPlan) -> None:
        from dask.base import tokenize

        self._left = left
        self._right = side.catalog
        self._plan = plan
        # All of the plan: Dask takes tasks of one key for the same work, and would give one answer to both.
        self._token = tokenize(left.key_name, self._right._operation.key_name, plan)
        partitions = side.partitions
        self._near = {
            pixel: [HealpixPixel(*partitions.pixels[i]) for i in near_partitions(pixel, partitions, plan.rule)]
            for pixel in left.healpix_pixels
        }
        self._meta = join_parts(left.meta, match_part(left.meta, side.catalog.meta, plan=plan), plan=plan)

    @property
    def name(self) -> str:
        """Name of the operation."""
        return f"LazyMatch({self._left.name}, {self._plan.name})"

    @property
    def key_name(self) -> str:
        """Name of the keys of its partitions."""
        return f"xmatch-hats-{self._token}"

    @property
    def meta(self) -> npd.NestedFrame:
        """An empty partition."""
        return self._meta

    @property
    def dependencies(self) -> list[Operation]:
        """Operations that it reads from."""
        return [self._left, self._right._operation]

    @property
    def healpix_pixels(self) -> list[HealpixPixel]:
        """The left side's partitions."""
        return self._left.healpix_pixels

    def build(self, pixels: list[HealpixPixel] | None = None) -> HealpixGraph:
        """Build the graph of some partitions, by default of all."""
        wanted = None if pixels is None else set(pixels)
        places = {pixel: i for i, pixel in enumerate(self.healpix_pixels) if wanted is None or pixel in wanted}
        left = self._left.build(pixels=list(places))
        needed = sorted({near for pixel in places for near in self._near[pixel]})
        graph: dict[Hashable, Any] = dict(left.graph)
        right_keys: dict[HealpixPixel, Hashable] = {}
        if needed:
            right = narrow(self._right, needed)._operation.build()
            graph |= right.graph
            right_keys = right.pixel_to_key_map
        plan_key = f"{self.key_name}-plan"
        graph[plan_key] = DataNode(plan_key, self._plan)
        keys: dict[HealpixPixel, Hashable] = {}
        for pixel, i in places.items():
            whole = TaskRef(left.pixel_to_key_map[pixel])
            parts = []
            for j, near in enumerate(self._near[pixel]):
                key = (f"{self.key_name}-part", i, j)
                graph[key] = Task(key, match_part, whole, TaskRef(right_keys[near]), plan=TaskRef(plan_key))
                parts.append(TaskRef(key))
            keys[pixel] = (self.key_name, i)
            graph[keys[pixel]] = Task(keys[pixel], join_parts, whole, *parts, plan=TaskRef(plan_key))
        return HealpixGraph(graph, keys)


def near_partitions(pixel: HealpixPixel, partitions: PartitionIndex, rule: MatchRule) -> NDArray[np.int64]:
    """Find the partitions that lie within the radius of a pixel, and perhaps a few more.

    Parameters
    ----------
    pixel : HealpixPixel
    partitions : PartitionIndex
    rule : MatchRule

    Returns
    -------
    ndarray of int64
        Numbers of partitions, ascending.
    """
    wide = cover_order(rule.padded_arcsec)
    if wide is None:
        return np.arange(len(partitions), dtype=np.int64)
    if wide <= pixel.order:
        shift = 2 * (MAX_ORDER - pixel.order)
        return partitions.touched(np.array([pixel.pixel << shift], dtype=np.int64), rule.padded_arcsec)[1]
    order = min(wide, pixel.order + BORDER_DEPTH)
    # Cells of this order are wider than the radius: one row of them around the pixel is enough.
    corners, edges = healpix.external_neighbours(np.array([pixel.pixel], np.uint64), pixel.order, order - pixel.order)
    around = np.concatenate([np.asarray(corners).ravel(), np.asarray(edges).ravel()]).astype(np.int64)
    around = around[around >= 0]
    shift, own = 2 * (MAX_ORDER - order), 2 * (MAX_ORDER - pixel.order)
    starts = np.r_[around << shift, np.int64(pixel.pixel) << own]
    stops = np.r_[(around + 1) << shift, np.int64(pixel.pixel + 1) << own]
    return np.unique(partitions.overlapping(starts, stops)[1])


def match_part(left: pd.DataFrame, right: pd.DataFrame, *, plan: LazyPlan) -> pd.DataFrame:
    """Match a left partition with one right partition: the pairs, with the right rows."""
    positions = _positions(left, plan)
    # Input rows ascend here, so that frames of any partition can be put together by them.
    ra, dec, answer = positions.ra, positions.dec, plan.answer
    pairs = match_frame(ra, dec, right, answer.info, plan.rule, answer.id_column, index=positions.index)
    found = right.iloc[pairs.right].reset_index(drop=True)
    columns = {ROW: positions.rows[pairs.left], RA: ra[pairs.left], DEC: dec[pairs.left]}
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(found)], axis=1)


def join_parts(left: pd.DataFrame, *parts: pd.DataFrame, plan: LazyPlan) -> npd.NestedFrame:
    """Put the pairs of a left partition together, and join them to it."""
    found: Found = plan.answer.collect(parts, plan.rule)
    positions, faults = sort_positions(*frame_positions(left, plan.left_info))
    result = finish(found, positions, faults, n_neighbors=plan.rule.n_neighbors, is_covered=plan.is_covered)
    rows, added = added_columns(list(left.columns), {plan.name: result}, join=plan.join, names=plan.names)
    taken = left.iloc[rows]
    return npd.NestedFrame(pd.concat([taken, to_pandas(added).set_axis(taken.index)], axis=1))


def _positions(left: pd.DataFrame, plan: LazyPlan) -> Positions:
    return sort_positions(*frame_positions(left, plan.left_info))[0]
