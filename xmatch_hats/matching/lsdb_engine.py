"""Matching by LSDB's own plans: the slow engine that the fast one is compared with, and the way of what is no copy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmatch_hats.matching.batch import Found, Positions
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.scheduling import Scheduler

if TYPE_CHECKING:
    from xmatch_hats.matching.lsdb_side import LsdbSide


@dataclass(frozen=True)
class LsdbEngine:
    """Matches batches by LSDB: one task graph a batch."""

    sides: list[tuple[LsdbSide, MatchRule]]
    scheduler: Scheduler

    def match(self, positions: Positions) -> list[Found]:
        """Match positions with every catalogue, in their order."""
        return match_sides(self.sides, positions, self.scheduler)

    def warm(self) -> None:
        """Nothing: LSDB has workers import what they need with their first tasks."""

    def cache_counts(self) -> CacheCounts:
        """Nothing stays open between batches."""
        return CacheCounts()


def match_sides(sides: Sequence[tuple[LsdbSide, MatchRule]], positions: Positions, scheduler: Scheduler) -> list[Found]:
    """Match positions with several right sides in one task graph, so that none waits for another.

    Parameters
    ----------
    sides : sequence of LsdbSide and MatchRule
    positions : Positions
    scheduler : Scheduler
        Where to compute.

    Returns
    -------
    list of Found
        One for each side.
    """
    plans = [side.plan(positions, rule) for side, rule in sides]
    graph: dict[Hashable, Any] = {}
    for plan in plans:
        graph |= plan.graph
    frames = iter(scheduler.run(graph, [key for plan in plans for key in plan.keys]))
    return [
        side.answer.collect([next(frames) for _ in plan.keys], rule)
        for (side, rule), plan in zip(sides, plans, strict=True)
    ]
