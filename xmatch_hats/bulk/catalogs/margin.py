"""The margin cache of the output, gathered from what the units set aside for it: a task for each tile that has one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.bulk.catalogs.partition import PartitionFile
from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.bulk.catalogs.write import TableWriter
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.margins import TILE_COLUMN
from xmatch_hats.errors import PartitionReadError


def margin_tasks(records: Iterable[Mapping[str, Any]], plan: Plan, shared: Shared[Plan]) -> Iterator[Task]:
    """Make the tasks.

    Parameters
    ----------
    records : iterable of dict
        Of all units, as `UnitOutput.finish` gave them.
    plan : Plan
    shared : Shared of Plan
        The same.
    """
    givers: dict[int, list[int]] = {}
    for record in records:
        for part in record["partitions"]:
            for taker in part["takers"]:
                givers.setdefault(taker, []).append(part["tile"])
    for taker, tiles in sorted(givers.items()):
        order, pixel = plan.tiles[taker]
        size = sum(plan.shard(tile).stat().st_size for tile in tiles if plan.shard(tile).exists())
        name = f"margin,Norder={order},Npix={pixel}"
        yield Task(name, size, gather_margin, (taker, tuple(sorted(tiles)), shared))


def gather_margin(taker: int, givers: tuple[int, ...], shared: Shared[Plan]) -> dict[str, Any]:
    """Write the margin rows of one tile, along the sphere.

    Returns
    -------
    dict
        Its ``partition``, ``rows``, ``bytes`` and ``sha256``.

    Raises
    ------
    PartitionReadError
        What a unit set aside for it is not there.
    OutputError
        It cannot be written.
    """
    plan = shared.value
    partition = plan.tiles[taker]
    path = layout.partition_path(plan.made.margin, partition)
    writer = TableWriter(path, plan.schema, plan.scratch)
    shard_schema = plan.schema.append(pa.field(TILE_COLUMN, pa.int32()))
    try:
        # Givers are tiles, and along the sphere: so are their rows, one giver after the other.
        for giver in givers:
            with PartitionFile(plan.shard(giver), shard_schema, plan.budget.read_bytes) as shard:
                for table in shard.stream(shard_schema.names):
                    mine = table.filter(pc.equal(table[TILE_COLUMN], taker)).drop_columns([TILE_COLUMN])
                    writer.add(mine)
        written = writer.close()
    except BaseException as error:
        writer.abandon(error)
        raise
    if written is None:
        raise PartitionReadError("there are no rows for a margin that has some", place=path)
    return {"partition": partition, "rows": written.rows, "bytes": written.bytes, "sha256": written.sha256}
