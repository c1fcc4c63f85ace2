"""From a schema to the instructions that `xmatch_hats.alerts.walk` runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.alerts import walk
from xmatch_hats.alerts.schema import Node

_LEAVES = {
    "boolean": walk.BOOLEAN,
    "int": walk.INT,
    "long": walk.LONG,
    "bytes": walk.BYTES,
    "string": walk.STRING,
}
_STRUCTURES = frozenset({"record", "union", "array", "map"})


@dataclass(frozen=True)
class Slot:
    """A place of the record that a walk reports."""

    path: str
    """Dotted path of a field."""
    kind: str
    """Type of the value that starts there, or ``start`` and ``end`` of a whole field."""


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled schema."""

    code: NDArray[np.int64]
    slots: tuple[Slot, ...]
    """What the marks of a walk stand for, in order."""


def compile_program(root: Node, paths: frozenset[str], spans: frozenset[str] = frozenset()) -> Program:
    """Compile a record's schema.

    Parameters
    ----------
    root : Node
        The record.
    paths : frozenset of str
        Dotted paths of the fields whose values a walk is to find, through unions where need be. Those that the
        schema lacks are passed over.
    spans : frozenset of str
        Outermost fields whose start and end it is to find.

    Returns
    -------
    Program
    """
    compiler = _Compiler(paths, spans)
    compiler.record(root, "", inside=True)
    compiler.emit(walk.END)
    compiler.finish()
    return Program(np.array(compiler.code, dtype=np.int64), tuple(compiler.slots))


class _Compiler:
    def __init__(self, paths: frozenset[str], spans: frozenset[str]) -> None:
        self.code: list[int] = []
        self.slots: list[Slot] = []
        self._paths = paths
        self._spans = spans
        # Records away from the wanted paths are compiled once and called, or nested names could unfold without bound.
        self._routines: dict[Node, int] = {}
        self._calls: list[tuple[int, Node]] = []

    def emit(self, operation: int, argument: int = 0) -> int:
        """Append an instruction and give the address of its argument, for those known only later."""
        self.code += (operation, argument)
        return len(self.code) - 1

    def finish(self) -> None:
        """Compile what is called, and what that calls."""
        while self._calls:
            address, node = self._calls.pop()
            if node not in self._routines:
                self._routines[node] = len(self.code)
                self.record(node, "", inside=False)
                self.emit(walk.LEAVE)
            self.code[address] = self._routines[node]

    def record(self, node: Node, path: str, *, inside: bool) -> None:
        """Compile a record's fields; `inside` tells that the record may hold wanted ones."""
        for name, child in node.fields:
            place = f"{path}.{name}" if path else name
            span = inside and place in self._spans
            if span:
                self._mark(place, "start")
            self._value(child, place, inside=inside)
            if span:
                self._mark(place, "end")

    def _mark(self, path: str, kind: str) -> None:
        self.emit(walk.MARK, len(self.slots))
        self.slots.append(Slot(path, kind))

    def _value(self, node: Node, path: str, *, inside: bool) -> None:
        if inside and path in self._paths and node.kind != "union":
            self._mark(path, node.kind)
        if node.kind == "record":
            # Only what leads to a wanted field is compiled where it stands.
            if inside and any(wanted.startswith(f"{path}.") for wanted in self._paths):
                self.record(node, path, inside=True)
            else:
                self._calls.append((self.emit(walk.CALL), node))
        elif node.kind == "union":
            if not self._optional(node, marks=inside and path in self._paths):
                self._union(node, path, inside=inside)
        elif node.kind in ("array", "map"):
            self._loop(node)
        else:
            self.emit(*_leaf(node))

    def _optional(self, node: Node, *, marks: bool) -> bool:
        """Compile a union of null and a leaf that is not marked; whether it is one."""
        kinds = [branch.kind for branch in node.items]
        if marks or len(kinds) != 2 or kinds.count("null") != 1 or not _STRUCTURES.isdisjoint(kinds):
            return False
        null = kinds.index("null")
        self.emit(walk.OPTIONAL, null)
        self.emit(*_leaf(node.items[1 - null]))
        return True

    def _union(self, node: Node, path: str, *, inside: bool) -> None:
        table = self.emit(walk.UNION) + 1
        self.code[table - 1] = table
        self.code += [len(node.items), *[0] * len(node.items)]
        exits = []
        for number, branch in enumerate(node.items):
            self.code[table + 1 + number] = len(self.code)
            if branch.kind != "null":
                self._value(branch, path, inside=inside)
            exits.append(self.emit(walk.JUMP))
        for address in exits:
            self.code[address] = len(self.code)

    def _loop(self, node: Node) -> None:
        (item,) = node.items
        loop = self.emit(walk.LOOP)
        body = len(self.code)
        if node.kind == "map":
            self.emit(walk.STRING)
        self._value(item, "", inside=False)
        self.code[loop] = len(self.code)
        # The table that NEXT reads stands out of the way of the instructions, behind the one that leaves the loop.
        self.emit(walk.NEXT, len(self.code) + 4)
        leave = self.emit(walk.LEAVE)
        self.code += [item.min_bytes + (node.kind == "map"), body]
        self.code[leave] = len(self.code)


def _leaf(node: Node) -> tuple[int, int]:
    """Operation and argument for a value without structure."""
    if node.kind == "enum":
        return walk.ENUM, len(node.symbols)
    # Also of no bytes: whatever a decoder makes a value of costs a step, which bounds how many there can be.
    return (_LEAVES[node.kind], 0) if node.kind in _LEAVES else (walk.SKIP, node.min_bytes)
