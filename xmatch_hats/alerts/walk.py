"""Walking over encoded records without making values of them: where each ends, and where the wanted fields lie.

A schema is compiled (`xmatch_hats.alerts.program`) into instructions, pairs of operation and argument, which one small
machine runs over the bytes. It believes nothing: every length, count, branch, number and string is checked against the
bytes there and the type it claims to be, so that what it has walked over any Avro library decodes. It is compiled to
machine code, because a packet has some thousand values: tens of microseconds, where Python takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from xmatch_hats.machine_code import borrowed, compiled, part

# Leaves: one value without structure.
SKIP: Final = 0  # argument: number of bytes
LONG: Final = 1
INT: Final = 2
BYTES: Final = 3
STRING: Final = 4
BOOLEAN: Final = 5
ENUM: Final = 6  # argument: number of symbols
# Control; the arguments are addresses.
UNION: Final = 7  # of a table: number of branches, their addresses
JUMP: Final = 8
MARK: Final = 9  # argument: slot that the position is written to
LOOP: Final = 10  # of the NEXT that ends the loop's body
CALL: Final = 11
NEXT: Final = 12  # of a table: least bytes of an element, address of the body
LEAVE: Final = 13  # of what follows a loop; 0 goes back to where a routine was called
END: Final = 14
OPTIONAL: Final = 15  # argument: which of two branches is null; the next instruction, a leaf, is the other

TRUNCATED: Final = -1
BAD_NUMBER: Final = -2
BAD_LENGTH: Final = -3
BAD_BRANCH: Final = -4
BAD_UTF8: Final = -5
BAD_BOOLEAN: Final = -6
BAD_BLOCK: Final = -7
TOO_LONG: Final = -8
FAULTS: Final = {
    TRUNCATED: "ends in the middle of a value",
    BAD_NUMBER: "holds a number longer than its type",
    BAD_LENGTH: "claims a length beyond the bytes there",
    BAD_BRANCH: "claims a union branch or an enum symbol that the schema does not have",
    BAD_UTF8: "holds a string that is not UTF-8",
    BAD_BOOLEAN: "holds a boolean that is neither 0 nor 1",
    BAD_BLOCK: "holds an array or a map whose block does not end where it says",
    TOO_LONG: "holds more values than are read",
}
"""What a negative result of `walk` means."""

STACK_DEPTH: Final = 256
"""Frames of loops and calls; a schema of the allowed depth needs two a level."""


_integers = types.Array(types.int64, 1, "C")
_bytes = types.Array(types.uint8, 1, "C", readonly=True)


def _inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    # A call would count the references to its arrays, which takes as long as all the rest.
    return numba.njit(inline="always", nogil=True)(function)


@_inlined
def _long(data: NDArray[np.uint8], position: int, end: int) -> tuple[int, int]:
    """A zigzag number and the position after it, which is negative for a fault."""
    value = np.uint64(0)
    for here in range(position, min(end, position + 10)):
        byte = np.uint64(data[here])
        shift = np.uint64(7 * (here - position))
        if here - position == 9 and byte > np.uint64(1):
            return 0, BAD_NUMBER
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            half = np.int64(value >> np.uint64(1))
            return int(half ^ -np.int64(value & np.uint64(1))), here + 1
    return 0, TRUNCATED


def _first_bytes() -> NDArray[np.int64]:
    """By the first byte of a character beyond ASCII: how many follow (0: none can), and the range of the second byte.

    The range rules out overlong forms, surrogates, and what lies beyond Unicode.
    """
    table = np.zeros((256, 3), dtype=np.int64)
    table[0xC2:0xE0] = 1, 0x80, 0xBF
    table[0xE0:0xF0] = 2, 0x80, 0xBF
    table[0xF0:0xF5] = 3, 0x80, 0xBF
    table[[0xE0, 0xF0], 1] = 0xA0, 0x90
    table[[0xED, 0xF4], 2] = 0x9F, 0x8F
    return table


_FIRST_BYTES = _first_bytes()


@part
def _tail_of_character(data: NDArray[np.uint8], here: int, end: int) -> int:
    """Number of bytes after the first of a character beyond ASCII, 0 if it is no such character."""
    extra, low, high = _FIRST_BYTES[data[here]]
    if here + extra >= end or not low <= data[here + 1] <= high:
        return 0
    for byte in data[here + 2 : here + 1 + extra]:
        if byte & 0xC0 != 0x80:
            return 0
    return int(extra)


@part
def _is_utf8(data: NDArray[np.uint8], here: int, end: int) -> bool:
    while here < end:
        if data[here] >= 0x80:
            extra = _tail_of_character(data, here, end)
            if extra == 0:
                return False
            here += extra
        here += 1
    return True


@_inlined
def _leaf(operation: int, argument: int, data: NDArray[np.uint8], position: int, end: int) -> int:
    """Position after a value without structure, or a fault."""
    if operation == SKIP:
        return position + argument if argument <= end - position else TRUNCATED
    if operation == BOOLEAN:
        if position >= end:
            return TRUNCATED
        return position + 1 if data[position] <= 1 else BAD_BOOLEAN
    value, after = _long(data, position, end)
    if after < 0 or operation == LONG:
        return after
    if operation == INT:
        return after if -(2**31) <= value < 2**31 else BAD_NUMBER
    if operation == ENUM:
        return after if 0 <= value < argument else BAD_BRANCH
    if value < 0 or value > end - after:
        return BAD_LENGTH
    if operation == STRING and not _is_utf8(data, after, after + value):
        return BAD_UTF8
    return after + value


@_inlined
def _next_element(
    data: NDArray[np.uint8], position: int, end: int, least: int, frame: NDArray[np.int64]
) -> tuple[bool, int]:
    """Whether the loop of a frame goes on, and the position after a block's head if one was read, or a fault.

    A frame holds the number of elements left in the block, and where the block ends if that was told.
    """
    if frame[0] > 0:
        frame[0] -= 1
        return True, position
    if frame[1] >= 0 and position != frame[1]:
        return False, BAD_BLOCK
    frame[1] = -1
    count, position = _long(data, position, end)
    if position < 0 or count == 0:
        return False, position
    if count < 0:
        count = -count
        size, position = _long(data, position, end)
        if position < 0:
            return False, position
        if size < 0 or size > end - position:
            return False, BAD_LENGTH
        frame[1] = position + size
    # The least negative number is its own opposite, hence the first test.
    if count < 0 or count > (end - position) // least:
        return False, BAD_LENGTH
    frame[0] = count - 1
    return True, position


@_inlined
def _branch(code: NDArray[np.int64], table: int, data: NDArray[np.uint8], position: int, end: int) -> tuple[int, int]:
    """Address of the branch that a union chose, and the position after the choice, or a fault."""
    branch, position = _long(data, position, end)
    if position < 0:
        return 0, position
    if branch < 0 or branch >= code[table]:
        return 0, BAD_BRANCH
    return code[table + 1 + branch], position


@_inlined
def _option(
    code: NDArray[np.int64], pc: int, null: int, data: NDArray[np.uint8], position: int, end: int
) -> tuple[int, int, int]:
    """Read which branch an optional leaf chose: its instruction, or a jump over it, and the position, or a fault."""
    branch, position = _long(data, position, end)
    if position >= 0 and (branch < 0 or branch > 1):
        position = BAD_BRANCH
    if position < 0 or branch == null:
        return JUMP, pc + 2, position
    return code[pc], code[pc + 1], position


@part
def _run(
    code: NDArray[np.int64], data: NDArray[np.uint8], start: int, end: int, marks: NDArray[np.int64], steps: int
) -> int:
    marks[:] = -1
    frames = np.empty((STACK_DEPTH, 2), dtype=np.int64)
    depth = pc = 0
    position = start
    while steps > 0 and position >= 0:
        steps -= 1
        operation, argument = code[pc], code[pc + 1]
        pc += 2
        if operation == OPTIONAL:
            operation, argument, position = _option(code, pc, argument, data, position, end)
            pc += 2
        if operation <= ENUM:
            position = _leaf(operation, argument, data, position, end)
        elif operation == UNION:
            pc, position = _branch(code, argument, data, position, end)
        elif operation == MARK:
            marks[argument] = position
        elif operation == NEXT:
            goes_on, position = _next_element(data, position, end, code[argument], frames[depth - 1])
            pc = code[argument + 1] if goes_on else pc
        elif operation == JUMP:
            pc = argument
        elif operation in (LOOP, CALL):
            frames[depth, 0], frames[depth, 1] = (pc if operation == CALL else 0), -1
            depth += 1
            pc = argument
        elif operation == LEAVE:
            depth -= 1
            pc = argument if argument else frames[depth, 0]
        else:
            return position
    return position if position < 0 else TOO_LONG


@compiled(types.int64(_integers, _bytes, types.int64, types.int64, _integers, types.int64), nogil=False)
def walk(
    code: NDArray[np.int64],
    data: NDArray[np.uint8],
    start: int,
    end: int,
    marks: NDArray[np.int64],
    steps: int,
) -> int:
    """Walk over one record.

    Parameters
    ----------
    code : ndarray of int64
        Instructions.
    data : ndarray of uint8
        Encoded records.
    start, end : int
        Where the record starts, and where the readable bytes end.
    marks : ndarray of int64
        Filled with the positions of the marked places, -1 where the record has none.
    steps : int
        Instructions that may be run.

    Returns
    -------
    int
        Position after the record, or a key of `FAULTS`.
    """
    return _run(borrowed(code), borrowed(data), start, end, borrowed(marks), steps)
