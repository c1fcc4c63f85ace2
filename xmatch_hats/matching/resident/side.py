"""The client's part of the resident engine: which worker is asked what of a batch, and how the answers become pairs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.side_copy import SideCopy
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.matching.batch import Found, Positions, sort_positions
from xmatch_hats.matching.calls import Call
from xmatch_hats.matching.pairs import rank_pairs
from xmatch_hats.matching.partitions import PartitionIndex
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.matching.resident.partition import Source
from xmatch_hats.matching.resident.work import CACHE, Answer, Part, Question, answer, cache_bound, prepare, this_process
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.targets import Target
from xmatch_hats.matching.ties import tie_keys

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A question, and which positions of the batch it is about."""

    question: Question
    rows: NDArray[np.int64]


_REHEARSED_PARTITIONS, _REHEARSED_ROWS = 10, 50
"""An exposure's, for two workers."""


class ResidentSide:
    """One catalogue, matched by workers that keep its partitions.

    Parameters
    ----------
    target : Target
    partitions : PartitionIndex
        All partitions of the copy.
    state : str
        Of the copy's folder when it was opened.
    """

    def __init__(self, target: Target, partitions: PartitionIndex, state: str) -> None:
        copy = target.copy
        self._target = target
        self._partitions = partitions
        names = list(target.schema.names)
        if copy.id_column is not None and copy.id_column not in names:
            names.append(copy.id_column)
        # What the columns mean stays here: it is as long as the answers themselves.
        self._schema = pa.schema([(name, copy.schema.field(name).type) for name in names])
        self.source = Source(
            copy.main_path, copy.suffix, state, copy.ra_column, copy.dec_column, has_index=copy.manifest is not None
        )
        side = SideCopy.find(copy)
        self._side = side if side is not None and set(names) <= set(side.columns) else None

    def questions(self, positions: Positions, homes: int) -> dict[int, Asked]:
        """Split positions into the questions for each of some workers, by the worker's number."""
        rows, partitions = self._partitions.touched(positions.index, self._target.rule.padded_arcsec)
        order = np.lexsort((partitions, partitions % homes))
        # Positions come by row, so those of each partition still ascend along the sphere.
        rows, partitions = rows[order], partitions[order]
        starts = np.searchsorted(partitions % homes, np.arange(homes + 1))
        return {
            home: self._question(positions, rows[start:stop], partitions[start:stop])
            for home, (start, stop) in enumerate(pairwise(starts.tolist()))
            if start < stop
        }

    def _question(self, positions: Positions, rows: NDArray[np.int64], partitions: NDArray[np.int64]) -> Asked:
        first = np.flatnonzero(np.r_[True, partitions[1:] != partitions[:-1]])
        pixels = [self._partitions.pixels[number] for number in partitions[first].tolist()]
        side = self._side
        if side is not None:
            side = replace(side, sizes={pixel: side.sizes[pixel] for pixel in pixels})
        question = Question(
            self.source,
            side,
            self._schema,
            self._target.copy.id_column,
            self._target.rule,
            pixels,
            np.r_[first, len(rows)],
            positions.ra[rows],
            positions.dec[rows],
            positions.index[rows],
        )
        return Asked(question, rows)

    def rehearsal(self, homes: int) -> Iterator[NDArray[np.float64]]:
        """Positions of rows of some partitions of each worker, degrees, shape (2, n), where they are cheaply had."""
        if self._side is None:
            return
        sizes = [self._side.sizes[pixel] for pixel in self._partitions.pixels]
        for home in range(homes):
            mine = [(size, number) for number, (rows, size) in enumerate(sizes) if rows and number % homes == home]
            for _, number in sorted(mine)[:_REHEARSED_PARTITIONS]:
                rows = self._side.read(self._partitions.pixels[number])
                some = rows.slice(0, _REHEARSED_ROWS)
                yield np.array([some[self.source.ra_column], some[self.source.dec_column]])

    def collect(self, positions: Positions, parts: Sequence[tuple[NDArray[np.int64], Part]]) -> Found:
        """Put the answers to all questions together, by input row and rank.

        Parameters
        ----------
        positions : Positions
            The batch.
        parts : sequence of (ndarray, Part)
            Each with the positions that its question was about.
        """
        schema = self._target.schema
        if not parts:
            none = np.empty(0, np.int64)
            return Found(none, none.astype(np.int32), none.astype(np.float64), schema.empty_table())
        left = np.concatenate([positions.rows[rows[part.left]] for rows, part in parts])
        distance, ra, dec = (
            np.concatenate([getattr(part, name) for _, part in parts]) for name in ("distance_arcsec", "ra", "dec")
        )
        rows = pa.concat_tables([part.rows for _, part in parts])
        id_column = self._target.copy.id_column
        ids = None if id_column is None else rows[id_column]
        # Only here are all pairs of a position together whose disc touches several partitions.
        order, rank = rank_pairs(left, distance, tie_keys(ids, ra, dec), self._target.rule.n_neighbors)
        taken = rows.select(schema.names).take(pa.array(order))
        return Found(left[order], rank, distance[order], pa.Table.from_arrays(taken.columns, schema=schema))


class ResidentEngine:
    """Matches batches with several catalogues: one message for each worker and batch, carrying all of them.

    A partition has a home worker, which keeps it: its number modulo the number of workers.

    Parameters
    ----------
    sides : sequence of ResidentSide
    scheduler : Scheduler
        Whose workers keep the partitions.
    cache_bytes : int or None
        What each of them may keep; None leaves it to them.
    """

    def __init__(self, sides: Sequence[ResidentSide], scheduler: Scheduler, cache_bytes: int | None) -> None:
        self._sides = sides
        self._scheduler = scheduler
        self._cache_bytes = cache_bytes
        self._lock = Lock()
        self._counts = CacheCounts()
        self._bytes: dict[int, tuple[tuple[str, int], int]] = {}
        """By home: the process that answered, and what it has open."""
        if scheduler.in_threads:
            leave = CACHE.enter([side.source for side in sides], cache_bound(cache_bytes))
            scheduler.when_closed(leave)

    def warm(self) -> None:
        """Have every worker import what it needs, and load the machine code.

        And do once all that a batch does, which is slow the first time, with a few rows of side copies; nothing of them
        is kept or counted.
        """
        homes = self._scheduler.homes()
        self._scheduler.ask([Call(prepare, (), home) for home in range(homes)])
        try:
            rows = [np.empty((2, 0)), *(some for side in self._sides for some in side.rehearsal(homes))]
            positions, _ = sort_positions(*np.concatenate(rows, axis=1))
            asked, answers = self._ask(positions, homes, 0)
            self._collect(positions, asked, answers)
        except PartitionReadError as error:
            # Whoever asks for this partition is told; all others are answered.
            logger.debug("no batch was rehearsed: %s", error)

    def match(self, positions: Positions) -> list[Found]:
        """Match positions with every catalogue, in their order."""
        homes = self._scheduler.homes()
        asked, answers = self._ask(positions, homes, self._cache_bytes)
        self._count(answers, homes)
        return self._collect(positions, asked, answers)

    def _ask(
        self, positions: Positions, homes: int, cache_bytes: int | None
    ) -> tuple[list[dict[int, Asked]], dict[int, Answer]]:
        """What is asked about each catalogue, and what is answered, by home."""
        asked = [side.questions(positions, homes) for side in self._sides]
        shares = {
            home: [questions[home].question for questions in asked if home in questions]
            for home in sorted(set().union(*asked))
        }
        calls = [Call(answer, (questions, cache_bytes), home) for home, questions in shares.items()]
        return asked, dict(zip(shares, self._scheduler.ask(calls), strict=True))

    def _collect(self, positions: Positions, asked: list[dict[int, Asked]], answers: dict[int, Answer]) -> list[Found]:
        parts = {home: iter(given.parts) for home, given in answers.items()}
        return [
            side.collect(positions, [(about.rows, next(parts[home])) for home, about in questions.items()])
            for side, questions in zip(self._sides, asked, strict=True)
        ]

    def cache_counts(self) -> CacheCounts:
        """What all batches so far did to the workers' caches, and the bytes in these as last told."""
        with self._lock:
            told, counts = dict(self._bytes.values()), replace(self._counts)
        if (here := this_process()) in told:
            # Threads that answered at the same time told of different moments.
            told[here] = CACHE.bytes
        return replace(counts, bytes=sum(told.values()))

    def _count(self, answers: dict[int, Answer], homes: int) -> None:
        with self._lock:  # Threads may share a crossmatcher.
            for home, given in answers.items():
                self._counts.add(given.counts)
                self._bytes[home] = (given.process, given.counts.bytes)
            for home in [home for home in self._bytes if home >= homes]:
                del self._bytes[home]
