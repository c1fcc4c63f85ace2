"""The long-lived engine: batches of positions against several catalogues at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.display import as_html
from xmatch_hats.errors import PartitionReadError, UsageError
from xmatch_hats.matching.batch import Found, Positions, merge_found, sort_positions
from xmatch_hats.matching.lsdb_engine import LsdbEngine
from xmatch_hats.matching.resident.cache import CacheCounts, bytes_of_cache
from xmatch_hats.matching.resident.side import ResidentEngine, ResidentSide
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.states import folder_state, state_reads
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.matching.targets import CatalogTarget, Target, open_targets

if TYPE_CHECKING:
    from distributed import Client

    from xmatch_hats.matching.lsdb_side import LsdbSide

__all__ = ["CHUNK_ROWS", "ENGINES", "CatalogTarget", "Crossmatcher"]

logger = logging.getLogger(__name__)

ENGINES = ("resident", "lsdb")
"""How partitions are matched; the first is the default."""

CoverageTest = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]
"""Tells of right ascensions and declinations whether the whole disc of the radius was searched."""

CHUNK_ROWS = 250_000
"""Positions that are sent out at once, in messages or in one task graph: 24 to 32 bytes each, and Dask warns of graphs
beyond 10 MB. Chunks are stretches of the sphere, so that a huge batch reads hardly any partition twice, and this
process holds, beside the batch and its answer, one chunk and its pairs; a worker holds its share of these, and what it
may keep, or one or two partitions with the asked columns."""
WATCHED_CHUNK_ROWS = 25_000
"""The same where somebody is told how far it is, but on LSDB's plain path, which pays a second for each chunk."""


class Crossmatcher:
    """Matches batches of positions against local copies of catalogues, for as long as it is open.

    The catalogues are opened once; a cluster, where one is to be made, is started with the first batch.

    Parameters
    ----------
    targets : iterable of CatalogTarget, LocalCopy, Path or str
        The catalogues, each with its radius and columns.
    n_neighbors : int or None, optional
        How many of the nearest rows to answer with; None is all within the radius.
    min_radius_arcsec : float, optional
        Only rows beyond this separation count, where it is above 0; at 0, separation 0 is a match.
    engine : str, optional
        How partitions are matched: ``resident`` keeps those it has met open in the workers, ``lsdb`` is the plain path
        through LSDB. The answers are the same.
    client : distributed.Client, optional
        A Dask client to use; it is left open.
    scheduler : Scheduler or str, optional
        What to run on, which may be shared and is left open; or the address of a Dask scheduler to connect to.
    workers : int, optional
        Worker processes of a local cluster; 0 uses threads of this process; by default one per core.
    cache_bytes : int, optional
        Memory in which each worker may keep partitions between batches; by default 1 GiB, or a quarter of what the
        worker may use where that is less. With 0 each batch opens its partitions anew. Crossmatchers share what threads
        of this process keep: the largest bound of those that are open counts, and one of 0 adds nothing of its own.

    Raises
    ------
    CatalogNotFoundError, CatalogError
        A copy that does not exist, is damaged, or lacks a column.
    RadiusError
        A radius that is not positive, or beyond a copy's margin.
    UsageError
        Arguments that cannot mean anything, two catalogues of one name among them.

    Examples
    --------
    Of a copy of a region elsewhere:

    >>> with Crossmatcher(["allwise"], workers=0) as matcher:
    ...     result = matcher.match([10.0, float("nan")], [-5.0, 0.0])["allwise"]
    >>> result.counts()
    {'in': 2, 'matched': 0, 'unmatched': 0, 'outside_coverage': 1, 'rejected': 1}
    """

    def __init__(
        self,
        targets: Iterable[CatalogTarget | LocalCopy | Path | str],
        *,
        n_neighbors: int | None = 1,
        min_radius_arcsec: float = 0.0,
        engine: str = ENGINES[0],
        client: Client | None = None,
        scheduler: Scheduler | str | None = None,
        workers: int | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        check_engine(engine)
        self._cache_bytes = bytes_of_cache(cache_bytes)
        self.targets: tuple[Target, ...] = tuple(
            open_targets(targets, n_neighbors=n_neighbors, min_radius_arcsec=min_radius_arcsec)
        )
        self.engine = engine
        self._states = tuple(folder_state(target.copy.path) for target in self.targets)
        self._closed = False
        self._is_shared = isinstance(scheduler, Scheduler)
        if not isinstance(scheduler, Scheduler):
            self._scheduler = Scheduler(client, scheduler, workers)
        elif client is None and workers is None:
            self._scheduler = scheduler
        else:
            raise UsageError("give only one of a Dask client, a scheduler and a number of workers")

    def __repr__(self) -> str:
        told = ", ".join(f"{target.name} within {target.rule.radius_arcsec:g} arcsec" for target in self.targets)
        closed = ", closed" if self._closed else ""
        return f"<Crossmatcher {told}; {self.targets[0].rule.wanted}{closed}>"

    def _repr_html_(self) -> str:
        rows = [
            (target.name, target.rule.radius_arcsec, target.copy.total_rows, len(target.schema), target.copy.path)
            for target in self.targets
        ]
        facts = {
            "answers with": self.targets[0].rule.wanted,
            "engine": self.engine,
            "state": "closed" if self._closed else "open",
        }
        names = ("catalogue", "radius (arcsec)", "rows", "columns", "copy")
        return as_html("Crossmatcher", facts, names, rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the catalogues, in the order of the answers."""
        return tuple(target.name for target in self.targets)

    @property
    def n_neighbors(self) -> int | None:
        """How many of the nearest rows are answered with; None is all."""
        return self.targets[0].rule.n_neighbors

    def open(self) -> None:
        """Open by LSDB what `match` reads, with the recorded coverages, now rather than with the first batch.

        Raises
        ------
        CatalogError
            A copy cannot be opened.
        """
        _ = self._engine
        for target in self.targets:
            if target.copy.manifest is not None:
                # Even of no positions: what the test is made with is kept.
                _coverage_test(target)(np.empty(0), np.empty(0))

    def connect(self) -> None:
        """Start or reach what `match` runs on, and have workers ready, now rather than with the first batch.

        Raises
        ------
        SystemFailure
            It cannot be started, cannot be reached, or has no workers.
        UsageError
            It has been closed.
        """
        self._scheduler.connect()
        self._engine.warm()

    def match(
        self, ra: ArrayLike, dec: ArrayLike | None = None, *, progress: Callable[[int], None] | None = None
    ) -> dict[str, MatchResult]:
        """Match a batch of positions against every catalogue.

        Parameters
        ----------
        ra, dec : array_like, shape (n,)
            Degrees, or quantities. Anything may be among them: what is no position is rejected, with its fault.
        progress : callable, optional
            Called with the number of positions that are done since the last call.

        Returns
        -------
        dict of str to MatchResult
            By catalogue, in the order of the targets.

        Raises
        ------
        PartitionReadError
            A partition that is needed cannot be read, or its copy was replaced meanwhile. The whole batch fails: no row
            is called unmatched for it.
        SystemFailure
            What it runs on failed; the batch may be matched again.
        UsageError
            One array alone, two of different shapes, or they hold no numbers; or it has been closed.
        """
        if self._closed:
            raise UsageError("it has been closed", hint="open a new one, and use it inside of its `with` block")
        if dec is None:
            # What SkyCoords and tables are taken apart into is for `crossmatch` to know.
            raise UsageError(
                "positions are two arrays, right ascensions and declinations",
                hint="of a SkyCoord: match(sky.icrs.ra, sky.icrs.dec); `crossmatch` takes whole tables",
            )
        positions, faults = sort_positions(ra, dec)
        parts: list[list[Found]] = [[] for _ in self.targets]
        size = WATCHED_CHUNK_ROWS if progress is not None and self.engine == ENGINES[0] else CHUNK_ROWS
        for chunk in positions.chunks(size):
            for found, into in zip(self._engine.match(chunk), parts, strict=True):
                into.append(found)
            if progress is not None:
                progress(len(chunk.rows))
        results = {
            target.name: finish(
                merge_found(found, target.schema),
                positions,
                faults,
                n_neighbors=target.rule.n_neighbors,
                is_covered=_coverage_test(target),
            )
            for target, found in zip(self.targets, parts, strict=True)
        }
        self.require_unchanged()
        return results

    def require_unchanged(self) -> None:
        """Refuse copies that are no longer those that were opened: what was read of them may be of either.

        Raises
        ------
        PartitionReadError
        """
        for target, state in zip(self.targets, self._states, strict=True):
            if folder_state(target.copy.path) != state:
                raise PartitionReadError(
                    "the copy was replaced since it was opened", place=target.copy.path, hint="open it again"
                )

    def cache_counts(self) -> CacheCounts:
        """Partitions that were found open, opened and given up so far, and the bytes of those that are open now.

        Summed over the workers, as they told with their last answers; the ``lsdb`` engine keeps none.
        """
        # Whoever asks does not have to wait for catalogues to be opened.
        engine: ResidentEngine | LsdbEngine | None = self.__dict__.get("_engine")
        return CacheCounts() if engine is None else engine.cache_counts()

    @cached_property
    def _engine(self) -> ResidentEngine | LsdbEngine:
        sides = [open_side(target) for target in self.targets]
        if self.engine == "lsdb":
            rules = [target.rule for target in self.targets]
            return LsdbEngine(list(zip(sides, rules, strict=True)), self._scheduler)
        resident = [
            ResidentSide(target, side.partitions, state)
            for target, side, state in zip(self.targets, sides, self._states, strict=True)
        ]
        return ResidentEngine(resident, self._scheduler, self._cache_bytes)

    def close(self) -> None:
        """Close the cluster and the client that were started here; those that were given stay open.

        With them goes what their workers kept. Threads of this process go on keeping what others that are open use too.
        """
        self._closed = True
        if not self._is_shared:
            self._scheduler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_engine(engine: str) -> None:
    """Refuse an engine that there is not.

    Raises
    ------
    UsageError
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", hint=f"choose from {', '.join(ENGINES)}", value=engine)


def finish(
    found: Found,
    positions: Positions,
    faults: NDArray[np.uint8],
    *,
    n_neighbors: int | None,
    is_covered: CoverageTest | None = None,
) -> MatchResult:
    """Give every input row its status.

    Parameters
    ----------
    found : Found
        All pairs of the batch.
    positions : Positions
        The valid positions of the batch.
    faults : ndarray of uint8, shape (n,)
    n_neighbors : int or None
        How many were asked for.
    is_covered : callable, optional
        Tells of positions whether their whole disc was searched; by default it always was.
    """
    status = np.full(len(faults), MatchStatus.REJECTED, dtype=np.uint8)
    status[positions.rows] = MatchStatus.UNMATCHED
    status[found.left] = MatchStatus.MATCHED
    empty = np.flatnonzero(status[positions.rows] == MatchStatus.UNMATCHED)
    if is_covered is not None and len(empty):
        outside = empty[~is_covered(positions.ra[empty], positions.dec[empty])]
        status[positions.rows[outside]] = MatchStatus.OUTSIDE_COVERAGE
    return MatchResult(status, faults, found.left, found.rank, found.distance_arcsec, found.rows, n_neighbors)


def _coverage_test(target: Target) -> CoverageTest:
    radius = target.rule.radius_arcsec
    return lambda ra, dec: target.copy.coverage.contains_discs(ra, dec, radius)


def open_side(target: Target) -> LsdbSide:
    """Open a copy by LSDB, with the columns that matching and the answer need and no more."""
    from xmatch_hats.matching.lsdb_side import LsdbSide

    copy = target.copy
    columns = list(target.schema.names)
    if copy.id_column is not None and copy.id_column not in columns:
        columns.append(copy.id_column)
    logger.debug("opening %s with %d columns", copy.path, len(columns))
    catalog = state_reads(copy.open_lsdb(columns), folder_state(copy.path))
    return LsdbSide(catalog, target.schema, copy.id_column)


def __dir__() -> list[str]:
    return sorted(__all__)
