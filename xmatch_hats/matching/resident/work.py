"""What a worker does with its share of a batch: one message in, one message out, for all catalogues at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from socket import gethostname

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.catalogs.side_copy import SideCopy
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.matching.pairs import Pairs
from xmatch_hats.matching.resident.cache import CacheCounts, CacheKey, PartitionCache
from xmatch_hats.matching.resident.partition import Resident, Source, open_partition, warn_once
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import match_sorted
from xmatch_hats.matching.ties import tie_keys

CACHE = PartitionCache()
"""What this process keeps open, whoever asks."""


MOST_CACHE_BYTES = 1 << 30
"""What a process may keep open unless told otherwise: some hundred partitions of a whole ALLWISE, of which an exposure
touches about thirty."""


@dataclass(frozen=True)
class Question:
    """Positions to match with some partitions of one catalogue."""

    source: Source
    side: SideCopy | None
    """One that has the columns of `schema`; of its partitions only those of this question are listed."""
    schema: pa.Schema
    """Names and types of the columns to answer with; the id column is among them."""
    id_column: str | None
    """Column that decides ties."""
    rule: MatchRule
    partitions: list[Partition]
    starts: NDArray[np.int64]
    """Where the positions of each partition begin, and where those of the last end, shape (partitions + 1,)."""
    ra: NDArray[np.float64]
    """Degrees; those of one partition ascend along the sphere, shape (n,)."""
    dec: NDArray[np.float64]
    index: NDArray[np.int64]
    """Spatial indexes."""


@dataclass(frozen=True)
class Part:
    """Pairs that were found for a question: of each position and partition as many as the rule asks for."""

    left: NDArray[np.int64]
    """Places of the positions in the question, shape (p,)."""
    distance_arcsec: NDArray[np.float64]
    ra: NDArray[np.float64]
    """Of the catalogue's row of each pair, degrees."""
    dec: NDArray[np.float64]
    rows: pa.Table
    """The asked columns of these rows."""


@dataclass(frozen=True)
class Answer:
    """What a worker has to say."""

    parts: list[Part]
    """One for each question."""
    counts: CacheCounts
    """What these questions did to the worker's cache."""
    process: tuple[str, int]
    """Host and number of the worker's process."""


def answer(questions: Sequence[Question], cache_bytes: int | None) -> Answer:
    """Answer the questions of one message.

    Parameters
    ----------
    questions : sequence of Question
    cache_bytes : int or None
        What may stay open in this process afterwards; None for `default_cache_bytes`.

    Raises
    ------
    PartitionReadError
        A partition cannot be read.
    """
    counts = CacheCounts()
    limit = cache_bound(cache_bytes)
    parts = [_answer_one(question, limit, counts) for question in questions]
    return Answer(parts, counts, this_process())


def prepare() -> None:
    """Load what a first answer would have to: with its first array of numbers, Arrow loads pandas."""
    pa.array(np.empty(0))


def this_process() -> tuple[str, int]:
    """Host and number of this process."""
    return gethostname(), os.getpid()


def cache_bound(cache_bytes: int | None) -> int:
    """Bytes that somebody lets this process keep; None for `default_cache_bytes`."""
    return default_cache_bytes() if cache_bytes is None else cache_bytes


@cache
def default_cache_bytes() -> int:
    """`MOST_CACHE_BYTES`, or a quarter of what the Dask worker of this process may use, if that is less."""
    # In a worker, and only there, this module is loaded; importing it here would take a second for nothing.
    module = sys.modules.get("distributed.worker")
    limits = [] if module is None else [worker.memory_manager.memory_limit for worker in module.Worker._instances]
    return min([MOST_CACHE_BYTES, *(limit // 4 for limit in limits if limit)])


def _answer_one(question: Question, limit: int, counts: CacheCounts) -> Part:
    parts: list[Part] = []
    for number in range(len(question.partitions)):
        found = _answer_of(question, number, limit, counts)
        if found is not None:
            parts.append(found)
    if not parts:
        none = np.empty(0, np.float64)
        return Part(np.empty(0, np.int64), none, none, none, question.schema.empty_table())
    left, distance, ra, dec = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("left", "distance_arcsec", "ra", "dec")
    )
    return Part(left, distance, ra, dec, pa.concat_tables([part.rows for part in parts]).combine_chunks())


def _answer_of(question: Question, number: int, limit: int, counts: CacheCounts) -> Part | None:
    """Match with one of the partitions."""
    partition, side = question.partitions[number], question.side
    open_ = partial(open_partition, question.source, partition, question.schema, side)
    # A side copy that is made anew may have other columns.
    key = CacheKey(question.source, None if side is None else side.columns, partition)
    try:
        with CACHE.using(key, open_, limit, counts) as resident:
            return _match(question, slice(*question.starts[number : number + 2]), resident)
    except PartitionReadError as error:
        if side is None:
            raise
        # Texts of a side copy are looked at only when they are asked for.
        warn_once(side, error)
        return _answer_of(replace(question, side=None), number, limit, counts)


def _match(question: Question, mine: slice, resident: Resident) -> Part | None:
    """Match the positions of one partition; None where nothing is found."""
    sky = resident.sky
    pairs = nearest(question, mine, resident)
    if len(pairs) == 0:
        return None
    # In the order of the partition: its rows are then gathered in one go.
    order = np.argsort(pairs.right, kind="stable")
    places = pairs.right[order]
    rows = pa.Table.from_batches([resident.take(places, question.schema)])
    return Part(pairs.left[order] + mine.start, pairs.distance_arcsec[order], sky.ra[places], sky.dec[places], rows)


def nearest(question: Question, mine: slice, resident: Resident) -> Pairs:
    """Find the pairs that a rule asks for in one partition.

    The ids that decide between equal separations are looked at only where they decide which rows are among the nearest:
    whoever puts the parts together puts the pairs in order.
    """
    ra, dec, index, rule = question.ra[mine], question.dec[mine], question.index[mine], question.rule
    k = rule.n_neighbors
    if k is None:
        return match_sorted(ra, dec, resident.sky, rule, index=index)
    pairs = match_sorted(ra, dec, resident.sky, replace(rule, n_neighbors=k + 1), index=index)
    beyond = np.flatnonzero(pairs.rank == k + 1)
    if len(beyond) == 0:
        return pairs
    # Pairs go by position and rank: the one before is the k-th.
    tied = pairs.left[beyond[pairs.distance_arcsec[beyond] == pairs.distance_arcsec[beyond - 1]]]
    sure = _some(pairs, (pairs.rank <= k) & ~np.isin(pairs.left, tied))
    if len(tied) == 0:
        return sure
    decided = match_sorted(ra[tied], dec[tied], resident.sky, rule, ties=_ties(question, resident), index=index[tied])
    decided = Pairs(tied[decided.left], decided.right, decided.distance_arcsec, decided.rank)
    return Pairs(*(np.concatenate((getattr(sure, name), getattr(decided, name))) for name in _FIELDS))


_FIELDS = ("left", "right", "distance_arcsec", "rank")


def _some(pairs: Pairs, keep: NDArray[np.bool_]) -> Pairs:
    return Pairs(*(getattr(pairs, name)[keep] for name in _FIELDS))


def _ties(question: Question, resident: Resident) -> tuple[NDArray, ...]:
    """Keys of all rows of a partition that decide between equal separations."""
    sky, name = resident.sky, question.id_column
    ids = None
    if name is not None:
        schema = pa.schema([question.schema.field(name)])
        ids = resident.take(np.arange(len(sky), dtype=np.int64), schema)[name]
    return tie_keys(ids, sky.ra, sky.dec)
