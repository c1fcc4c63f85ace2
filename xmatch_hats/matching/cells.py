"""Sorted positions, and candidates among them: the loops that have to be machine code.

The disc around a position lies within its cell and the cell's 8 neighbours, at an order whose cells are wide enough.
Their parents, a few orders up, are at most four and mostly one. Each is one range of the sorted positions, and holds
a few rows where the order suits the density. Parents are found by arithmetic on the bits of nested cells; blocks that
lie across a border of base cells are given as ranges instead.
"""

from __future__ import annotations

from math import cos, radians, sin
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from xmatch_hats.machine_code import compiled, part

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_X: Final = 0x1555555555555555
"""Bits of a nested cell, and of the base cell above them, that tell where it lies along one axis of its base cell."""
_Y: Final = 0x2AAAAAAAAAAAAAAA
"""Those of the other axis."""

_FEW: Final = 1
_MANY: Final = 12
"""Rows of a parent, below which larger ones are taken for the next position, and above which smaller ones for this."""

# One signature fits arrays in memory and read-only maps of files: nothing is ever compiled while a batch waits.
_integers = types.Array(types.int64, 1, "C", readonly=True)
_floats = types.Array(types.float64, 1, "C", readonly=True)
_block = types.Array(types.int64, 2, "C", readonly=True)
_room = types.Array(types.int64, 1, "C")
_side = types.Tuple((_integers, _floats, _floats))


@compiled(types.UniTuple(_room, 2)(_integers))
def radix_sort(values: Integers) -> tuple[Integers, Integers]:
    """Sort numbers, several times faster than by comparing them.

    Parameters
    ----------
    values : ndarray of int64, shape (n,)
        None of them negative, as spatial indexes and row numbers are.

    Returns
    -------
    values : ndarray of int64, shape (n,)
        Ascending.
    order : ndarray of int64, shape (n,)
        Where each stood; equal ones keep their order.
    """
    counts = np.zeros((8, 256), dtype=np.int64)
    for value in values:
        for digit in range(8):
            counts[digit, (value >> (8 * digit)) & 255] += 1
    keys, order = values.copy(), np.arange(len(values))
    new_keys, new_order = np.empty_like(keys), np.empty_like(order)
    for digit in range(8):
        if counts[digit].max() == len(values):
            continue
        places = np.cumsum(counts[digit]) - counts[digit]
        for i in range(len(keys)):
            byte = (keys[i] >> (8 * digit)) & 255
            place = places[byte]
            places[byte] += 1
            new_keys[place], new_order[place] = keys[i], order[i]
        keys, new_keys, order, new_order = new_keys, keys, new_order, order
    return keys, order


@part
def _crosses(middle: int, depth: int) -> bool:
    """Whether the block around a cell lies across a border of the cell that is so many orders up."""
    last = (1 << (2 * depth)) - 1
    x, y = middle & last & _X, middle & last & _Y
    return x == 0 or y == 0 or x == last & _X or y == last & _Y


@compiled(types.Array(types.boolean, 1, "C")(_integers, _integers))
def crossing(middles: Integers, depths: Integers) -> NDArray[np.bool_]:
    """Tell which blocks, a cell and its neighbours, lie across a border of a larger cell.

    Parameters
    ----------
    middles : ndarray of int64, shape (n,)
        The middles of the blocks.
    depths : ndarray of int64, shape (n,) or (1,)
        How many orders up the larger cells are; one for all, or one for each.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    crosses = np.empty(len(middles), dtype=np.bool_)
    for i in range(len(middles)):
        crosses[i] = _crosses(middles[i], depths[min(i, len(depths) - 1)])
    return crosses


@part
def _beside(parent: int, inside: int, last: int, axis: int) -> int:
    """Parent beside a parent that the block reaches into along an axis, or the parent itself.

    ``inside`` are the bits of the block's middle within the parent, all of which are set in ``last``.
    """
    place, other = inside & axis, parent & ~axis
    if place == 0:
        return (((parent & axis) - 1) & axis) | other
    if place == last & axis:
        return (((parent | ~axis) + 1) & axis) | other
    return parent


@part
def _cover(middle: int, depth: int, shift: int, starts: Integers, stops: Integers) -> int:
    """Fill the ranges of the parents, ``depth`` orders up, of a block that crosses no border; return their number."""
    last = (1 << (2 * depth)) - 1
    parent, inside, wide = middle >> (2 * depth), middle & last, shift + 2 * depth
    beside_x, beside_y = _beside(parent, inside, last, _X), _beside(parent, inside, last, _Y)
    starts[0] = parent << wide
    number = 1
    if beside_x != parent:
        starts[1] = beside_x << wide
        number = 2
    if beside_y != parent:
        starts[number] = beside_y << wide
        number += 1
        if beside_x != parent:
            starts[number] = _beside(beside_x, inside, last, _Y) << wide
            number += 1
    for i in range(number):
        stops[i] = starts[i] + (1 << wide)
    return number


@part
def _first(index: Integers, target: int, near: int) -> int:
    """First place whose index is not below a target, sought in growing steps from a place near it."""
    step = 1
    if near < len(index) and index[near] < target:
        low = high = near + 1
        while high < len(index) and index[high] < target:
            low = high + 1
            high = low + step
            step *= 2
        high = min(high, len(index))
    else:
        low, high = near - 1, near
        while low >= 0 and index[low] >= target:
            high = low
            low = high - step
            step *= 2
        low = max(low, -1) + 1
    while low < high:
        middle = (low + high) >> 1
        if index[middle] < target:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _scan(
    here: tuple[float, float, float],
    right: tuple[Integers, Floats, Floats],
    span: tuple[int, int],
    reach: tuple[float, float],
    room: Integers,
    found: int,
    most: int,
) -> tuple[int, int]:
    """Add the rows of a range that lie within reach to those found; return where it ended and how many there are.

    If there are more than the most that are allowed, the number is one more than that.
    """
    index, ra, dec = right
    place, stop = span
    while place < len(index) and index[place] < stop:
        if abs(dec[place] - here[1]) <= reach[0]:
            along, across = sin(radians(0.5 * (dec[place] - here[1]))), sin(radians(0.5 * (ra[place] - here[0])))
            if along * along + here[2] * cos(radians(dec[place])) * across * across <= reach[1]:
                if found == most:
                    return place, found + 1
                room[found] = place
                found += 1
        place += 1
    return place, found


@part
def _settle(
    middle: int, depth: int, shift: int, index: Integers, near: int, found: tuple[Integers, Integers, Integers]
) -> tuple[int, int]:
    """Fill starts, stops and first places of the parents of a block; return their number and how many orders up.

    Parents are taken lower than they were where one of them has many rows: beside a stretch without any there may lie
    all the others.
    """
    starts, stops, places = found
    while True:
        number = _cover(middle, depth, shift, starts, stops)
        crowded = False
        for i in range(number):
            places[i] = _first(index, starts[i], near)
            crowded |= places[i] + _MANY < len(index) and index[places[i] + _MANY] < stops[i]
        if depth == 1 or not crowded:
            return number, depth
        depth -= 1


@compiled(
    types.UniTuple(types.int64, 4)(
        *(_integers, types.UniTuple(types.int64, 2), _side, _side),
        *(types.int64, types.UniTuple(types.float64, 2), types.UniTuple(_block, 2)),
        *(types.int64, types.UniTuple(_room, 3)),
    )
)
def list_candidates(  # noqa: PLR0913 - what a loop in machine code needs
    rows: Integers,
    begin: tuple[int, int],
    left: tuple[Integers, Floats, Floats],
    right: tuple[Integers, Floats, Floats],
    order: int,
    reach: tuple[float, float],
    borders: tuple[Integers, Integers],
    limit: int,
    rooms: tuple[Integers, Integers, Integers],
) -> tuple[int, int, int, int]:
    """List the candidates of some positions, until the room for them is full.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Which of the left positions; fastest where their spatial indexes ascend.
    begin : tuple of int
        Where to begin in ``rows`` and in ``borders``.
    left : tuple of ndarrays, each of shape (l,)
        Spatial indexes, right ascensions and declinations in degrees.
    right : tuple of ndarrays, each of shape (m,)
        The same, by ascending index.
    order : int
        Of cells that hold, with their neighbours, every disc that is centred in them; negative if there are none.
    reach : tuple of float
        Radius of the discs: in degrees, and as haversine.
    borders : tuple of ndarrays, each of shape (b, c)
        Starts and stops of the ranges that cover the discs of those of the rows whose blocks lie across a border of
        base cells, or of all of them where there is no order.
    limit : int
        Rows with more candidates than this are called crowded, and listed without them.
    rooms : tuple of ndarrays
        Filled: left and right rows of the candidates, each of shape (r,); crowded rows, of shape (n,).

    Returns
    -------
    begin : int, int
        Where to go on. If no row was done, one row alone does not find room.
    found, crowded : int
        Numbers of candidates and of crowded rows.
    """
    shift = 2 * (29 - order)
    starts, stops, places = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
    done, border = begin
    depth = 1
    found = crowded = near = 0
    while done < len(rows):
        row = rows[done]
        middle = left[0][row] >> shift
        here = (left[1][row], left[2][row], cos(radians(left[2][row])))
        crosses = order < 0 or _crosses(middle, order)
        number = borders[0].shape[1]
        if not crosses:
            number, depth = _settle(middle, depth, shift, right[0], near, (starts, stops, places))
        total, most = found, min(len(rooms[1]), found + limit)
        for i in range(number):
            stop = borders[1][border, i] if crosses else stops[i]
            place = _first(right[0], borders[0][border, i], near) if crosses else places[i]
            end, total = _scan(here, right, (place, stop), reach, rooms[1], total, most)
            if i == 0:
                near = place
                # Few rows here: the next position's parents may be larger.
                depth = depth if crosses or end - place >= _FEW else min(depth + 1, order)
            if total > most:
                break
        if total <= most:
            rooms[0][found:total] = row
            found = total
        elif most - found == limit:
            rooms[2][crowded] = row
            crowded += 1
        else:
            break
        done, border = done + 1, border + crosses
    return done, border, found, crowded
