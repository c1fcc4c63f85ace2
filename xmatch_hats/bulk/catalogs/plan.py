"""What is asked of every unit of a join, and the columns that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from xmatch_hats.bulk.catalogs.memory import Budget
from xmatch_hats.bulk.catalogs.metadata import Collection
from xmatch_hats.bulk.catalogs.units import Side
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.margins import Tiles
from xmatch_hats.catalogs.region import Region
from xmatch_hats.catalogs.where import Condition
from xmatch_hats.matching.assemble import DISTANCE, RANK, RESULT_METADATA, STATUS, Join, catalog_names, result_names
from xmatch_hats.matching.rule import MatchRule


@dataclass(frozen=True)
class Plan:
    """What every unit needs; all of them share one."""

    left: Side
    right: Side
    rule: MatchRule
    join: Join
    where: Condition | None
    """Which rows of the output count."""
    region: Region | None
    """Where left rows count."""
    coverage: Coverage
    """Where the right side is complete."""
    schema: pa.Schema
    """Of the output: index, left columns, right columns, distance, status of a left join, and rank where there may be
    several pairs."""
    folder: Path
    """Where the work lies: the new catalogue, and what is known of it."""
    name: str
    """Of the new catalogue."""
    map_order: int
    """HEALPix order in which rows are counted."""
    margin_arcsec: float
    margin_order: int
    """HEALPix order of the cells that a margin is made of."""
    tiles: Tiles
    """The left partitions and the rest of the sky: whose margins there are."""
    budget: Budget

    @property
    def made(self) -> Collection:
        """The new collection."""
        return Collection(self.folder / "copy", self.name, self.schema, self.map_order, self.margin_arcsec)

    @property
    def scratch(self) -> Path:
        """Folder of files that are being written."""
        return self.folder / "scratch"

    def shard(self, tile: int) -> Path:
        """Rows of a left partition, by its number among the tiles, that lie in the margins of others."""
        return self.folder / "shards" / f"{tile}.parquet"

    def sky(self, unit: str) -> Path:
        """Counts of a unit's rows on the sky."""
        return self.folder / "sky" / f"{unit}.npy"

    def rejected(self, unit: str) -> Path:
        """Left rows of a unit that have no position."""
        return self.folder / "rejected" / f"{unit}.parquet"


def output_schema(left: Side, right: Side, name: str, rule: MatchRule, join: Join) -> pa.Schema:
    """Columns of the output; names that are taken end in the right catalogue's name.

    Parameters
    ----------
    left, right : Side
    name : str
        Of the right catalogue.
    rule : MatchRule
    join : {"inner", "left"}

    Raises
    ------
    UsageError
        The left side has a column that only the match may give.
    """
    kinds: dict[str, pa.DataType] = {DISTANCE: pa.float64()}
    if join == "left":
        kinds[STATUS] = pa.string()
    if rule.n_neighbors != 1:
        kinds[RANK] = pa.int32()
    finals = result_names([name], left.columns)
    titles = catalog_names(left.columns, {name: right.columns}, finals.values())[name]
    fields = [left.schema.field(column) for column in left.columns]
    for column, title in zip(right.columns, titles, strict=True):
        fields.append(right.schema.field(column).with_name(title).with_nullable(True))
    fields += [pa.field(finals[name, kind], type_, metadata=RESULT_METADATA[kind]) for kind, type_ in kinds.items()]
    return pa.schema(fields)
