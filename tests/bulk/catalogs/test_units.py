"""The division of the work: every partition once, and no two units with one in common."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from xmatch_hats.bulk.catalogs.units import plan_units
from xmatch_hats.matching.partitions import PartitionIndex


def split(pixels, choices):
    """Cut some cells into their four children, drop some, for tilings of mixed orders with holes."""
    tiles = []
    todo = list(pixels)
    while todo:
        order, pixel = todo.pop()
        choice = next(choices, 0)
        if choice == 1 and order < 4:
            todo += [(order + 1, 4 * pixel + child) for child in range(4)]
        elif choice != 2:
            tiles.append((order, pixel))
    return PartitionIndex.from_pixels(tiles)


def overlap(one, other):
    (a, p), (b, q) = sorted((one, other))
    return q >> 2 * (b - a) == p


tilings = st.lists(st.integers(0, 2), max_size=60).map(lambda choices: split([(0, 3), (0, 4)], iter(choices)))


@given(left=tilings, right=tilings)
def test_units_hold_what_overlaps(left, right):
    units = plan_units(left, right)
    assert [part for unit in units for part in unit.left] == list(left.pixels)
    for unit in units:
        assert min(len(unit.left), len(unit.right) or 1) == 1
        for part in unit.left:
            expected = [other for other in right.pixels if overlap(part, other)]
            assert expected == list(unit.right)
    used = [part for unit in units for part in unit.right]
    assert len(used) == len(set(used))


def test_workers_need_not_import_the_heavy_libraries():
    """LSDB alone would take seconds and a third of a gigabyte of each."""
    code = (
        "import sys, xmatch_hats.bulk.catalogs.join; "
        "sys.exit(', '.join({'lsdb', 'hats', 'dask', 'pandas'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
