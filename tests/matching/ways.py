"""All the ways to the pairs of two skies in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xmatch_hats.matching.pairs import Pairs, Problem, match_pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedSky, match_sorted
from xmatch_hats.matching.tree import TreeFinder


def both_ways(left, sky: SortedSky, rule: MatchRule, ties=()) -> Iterator[Pairs]:
    """Pairs by the sorted cells, and by the tree."""
    yield match_sorted(*left, sky, rule, ties=ties)
    yield by_tree(left, sky, rule, ties)


def by_tree(left, sky: SortedSky, rule: MatchRule, ties=()) -> Pairs:
    left, right = tuple(np.asarray(angle, float) for angle in left), (sky.ra, sky.dec)
    pairs = match_pairs(Problem(TreeFinder(left, right), left, right, (*ties, sky.rows), rule))
    return Pairs(pairs.left, sky.rows[pairs.right], pairs.distance_arcsec, pairs.rank)
