"""One call that joins two HATS catalogues into a third."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xmatch_hats.bulk.catalogs.job import CatalogJob, Joined
from xmatch_hats.bulk.catalogs.left_tables import import_left, is_tables
from xmatch_hats.bulk.catalogs.memory import Budget
from xmatch_hats.bulk.catalogs.settings import Settings
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs.copy import LocalCopy, open_copy
from xmatch_hats.catalogs.region import Region
from xmatch_hats.catalogs.staging import refuse_existing
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.matching.assemble import Join
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.scheduling import Scheduler


def crossmatch_catalogs(  # noqa: PLR0913, one call with everything by keyword
    left: LocalCopy | Path | str,
    right: LocalCopy | Path | str,
    out: Path | str,
    *,
    radius_arcsec: float,
    n_neighbors: int | None = 1,
    left_columns: Sequence[str] | None = None,
    right_columns: Sequence[str] | None = None,
    left_where: str | None = None,
    right_where: str | None = None,
    where: str | None = None,
    region: Region | None = None,
    join: Join = "inner",
    margin_arcsec: float | None = None,
    scheduler: Scheduler | None = None,
    workers: int | None = None,
    memory_per_worker: int | None = None,
    listener: Listener | None = None,
) -> Joined:
    """Match every row of a HATS catalogue with those of another, and write the pairs as a HATS collection.

    Nothing is under the name of the output before all of it is. A call that was killed is taken up by the next one of
    the same catalogues and arguments, which does no finished unit again.

    Parameters
    ----------
    left, right : LocalCopy, Path or str
        Copies, their folders or their registered names; HATS catalogues of others, too. The left one may be a table or
        a folder of tables, which are imported first; their rows without a position are rejected. A margin cache of the
        right one is used where it is at least as wide as the radius; else the rows of neighbouring partitions are read.
    out : Path or str
        Folder of the new collection; must not exist.
    radius_arcsec : float
        Inclusive.
    n_neighbors : int or None, optional
        How many of the nearest rows; None is all within the radius.
    left_columns, right_columns : sequence of str, optional
        Columns to keep, by the copies' names or VizieR's; by default all. The left coordinates are always kept.
    left_where, right_where : str, optional
        Pandas queries that tell which rows count, before anything is matched; of any columns of that side.
    where : str, optional
        Pandas query that tells which rows of the output are written.
    region : Region, optional
        Where left rows count; right rows within the radius of it count all the same.
    join : {"inner", "left"}, optional
        Whether only left rows with a match are written, or all of them, with their status. Rows without a position,
        which have no place in the output's partitions, go to ``rejected.parquet`` beside them, with the reason.
    margin_arcsec : float, optional
        Radius of the margin cache of the output; by default the left side's, or 10 arcsec.
    scheduler : Scheduler, optional
        Where to compute; it stays open.
    workers : int, optional
        Worker processes of a cluster for this one call, in place of a scheduler; 0 works in threads of this process.
        By default one per core. The output does not depend on it.
    memory_per_worker : int, optional
        Bytes that each worker, or thread, may take, see `xmatch_hats.bulk.catalogs.memory`; units that do not fit are
        worked in pieces. By default 4 GiB. The output does not depend on it.
    listener : Listener, optional

    Returns
    -------
    Joined

    Raises
    ------
    CatalogError, PartitionReadError
        A catalogue is missing, damaged, or without a column that is asked for; the output exists or is being written by
        another call; or units failed again and again.
    OutputError
        The output cannot be written.
    AccountError
        Rows are missing that the left side says it has.
    RadiusError, UsageError
        Arguments that mean nothing: a query that is none or fails on the rows, or a right side that is no catalogue; or
        the output would lie in a catalogue.
    SystemFailure
        The workers were lost.
    """
    settings = Settings(
        MatchRule(radius_arcsec, n_neighbors), join, left_columns, right_columns, left_where, right_where, where,
        region, margin_arcsec,
    )  # fmt: skip
    if scheduler is not None and workers is not None:
        raise UsageError("give only one of a scheduler and a number of workers")
    budget = Budget.of(memory_per_worker)
    job = prepare(left, right, out, settings, budget, listener=listener, workers=workers)
    if scheduler is not None:
        return job.run(scheduler)
    with Scheduler(workers=workers, memory_limit=memory_per_worker if workers != 0 else None) as own:
        return job.run(own)


def prepare(
    left: LocalCopy | Path | str,
    right: LocalCopy | Path | str,
    out: Path | str,
    settings: Settings,
    budget: Budget,
    *,
    listener: Listener | None = None,
    workers: int | None = None,
) -> CatalogJob:
    """Open the catalogues, import the left one if it is none, and plan the work.

    Parameters
    ----------
    left, right, out, listener, workers
        As of `crossmatch_catalogs`.
    settings : Settings
    budget : Budget

    Raises
    ------
    CatalogError, TableError, UsageError
        As by `crossmatch_catalogs`.
    """
    listener = listener or Listener()
    target = Path(out).expanduser().absolute()
    refuse_existing(target)
    second = right if isinstance(right, LocalCopy) else _open_right(right)
    tables = None
    if isinstance(left, LocalCopy):
        first = left
    elif is_tables(left):
        tables = Path(left).expanduser().absolute()
        first = import_left(tables, target, listener, workers=workers)
    else:
        first = open_copy(left)
    return CatalogJob(first, second, target, settings, budget, listener, tables)


def _open_right(right: Path | str) -> LocalCopy:
    try:
        return open_copy(right)
    except CatalogError as error:
        if not is_tables(right):
            raise
        raise UsageError(
            "is no HATS catalogue: only the left side may be a table or tables", place=right,
            hint="make it one with `xmatch-hats catalog import`", value=right,
        ) from error  # fmt: skip
