"""Writer schemas, allowed by their structure before anything acts on them.

A schema comes with every packet, from anybody. What is allowed: every type of Avro, nested and named as one likes,
that can be walked in bounded time and memory. What is not: types that contain themselves, more types than the limits,
and elements of arrays, maps and unions that are mostly values of no bytes (``null`` other than as a branch, a record
without fields, ``fixed`` of size 0), of which a few bytes could claim billions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from xmatch_hats.alerts.limits import Limits
from xmatch_hats.errors import PacketError

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_FIXED_SIZES = {"null": 0, "float": 4, "double": 8}
_MAX_NAME = 1024
_EMPTIES_PER_BYTE = 4
"""Values of no bytes that an element may hold for each byte that it has at least: so bytes bound time and memory."""


@dataclass(frozen=True, eq=False)
class Node:
    """One type of a schema, its names resolved; a type that is named twice is the same object."""

    kind: str
    """A primitive, ``record``, ``array``, ``map``, ``union``, ``enum`` or ``fixed``."""
    name: str = ""
    """Full name of a named type."""
    fields: tuple[tuple[str, Node], ...] = ()
    """Of a record."""
    items: tuple[Node, ...] = ()
    """Branches of a union; the one element type of an array or a map."""
    symbols: tuple[str, ...] = ()
    """Of an enum."""
    min_bytes: int = 0
    """Length of the shortest value; for ``fixed`` of every value."""
    nodes: int = 1
    """Types met when every name is replaced by what it stands for."""
    empties: int = 0
    """Types of no bytes among them that no union holds."""

    def field(self, name: str) -> Node | None:
        """Type of a record's field, None where there is none."""
        return next((node for field, node in self.fields if field == name), None)


def load_schema(text: bytes, limits: Limits) -> dict[str, Any]:
    """Parse a schema's JSON text, an object.

    Raises
    ------
    PacketError
        Too long, not UTF-8, not JSON, nested beyond reason, or not a record.
    """
    if len(text) > limits.schema_bytes:
        raise PacketError(f"the writer schema has {len(text)} bytes; at most {limits.schema_bytes} are read")
    try:
        schema = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise PacketError(f"the writer schema is not JSON: {error}"[:200]) from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise PacketError("the writer schema is not a record")
    return schema


def parse_schema(schema: Any, limits: Limits) -> Node:
    """Resolve and allow a schema.

    Parameters
    ----------
    schema : dict, list or str
        As JSON gives it.
    limits : Limits

    Returns
    -------
    Node

    Raises
    ------
    PacketError
        The schema is not Avro, or of a structure that is not allowed.
    """
    return _Parser(limits).parse(schema, None, 0)


class _Parser:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._named: dict[str, Node | None] = {}
        self._written = 0

    def parse(self, schema: Any, namespace: str | None, depth: int) -> Node:
        self._written += 1
        if depth > self._limits.schema_depth:
            raise PacketError(f"the writer schema nests types more than {self._limits.schema_depth} deep")
        if self._written > self._limits.schema_nodes:
            raise PacketError(f"the writer schema has more than {self._limits.schema_nodes} types")
        if isinstance(schema, str):
            node = self._reference(schema, namespace)
        elif isinstance(schema, list):
            node = self._union(schema, namespace, depth)
        elif isinstance(schema, dict):
            node = self._complex(schema, namespace, depth)
        else:
            raise PacketError(f"the writer schema has {_show(schema)} where a type belongs")
        if node.nodes > self._limits.schema_nodes:
            raise PacketError(f"the writer schema unfolds to more than {self._limits.schema_nodes} types")
        return node

    def _reference(self, name: str, namespace: str | None) -> Node:
        if name in PRIMITIVES:
            return _primitive(name)
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        # Names without a namespace are also looked for outside of any, as the Java library does.
        found = next((key for key in (full, name) if key in self._named), None)
        if found is None:
            raise PacketError(f"the writer schema names an unknown type, {_show(name)}")
        node = self._named[found]
        if node is None:
            raise PacketError(f"the writer schema has a type that contains itself, {_show(found)}")
        return node

    def _union(self, branches: list[Any], namespace: str | None, depth: int) -> Node:
        nodes = tuple(self.parse(branch, namespace, depth + 1) for branch in branches)
        if not nodes:
            raise PacketError("the writer schema has a union without branches")
        for node in nodes:
            if node.kind == "union":
                raise PacketError("the writer schema has a union within a union")
            # A branch costs the byte that names it.
            _require_bytes(node, "a union branch", 1)
        shortest = 1 + min(node.min_bytes for node in nodes)
        return Node("union", items=nodes, min_bytes=shortest, nodes=1 + sum(node.nodes for node in nodes))

    def _complex(self, schema: dict[str, Any], namespace: str | None, depth: int) -> Node:
        kind = schema.get("type")
        if kind in ("array", "map"):
            return self._repeated(kind, schema, namespace, depth)
        if kind in ("record", "enum", "fixed"):
            return self._definition(kind, schema, namespace, depth)
        if isinstance(kind, str | dict | list):
            # {"type": "long", "logicalType": ...} and its like: on the wire only the inner type counts.
            return self.parse(kind, namespace, depth + 1)
        raise PacketError(f"the writer schema has an unknown type, {_show(kind)}")

    def _repeated(self, kind: str, schema: dict[str, Any], namespace: str | None, depth: int) -> Node:
        word = "items" if kind == "array" else "values"
        if word not in schema:
            raise PacketError(f"the writer schema has {kind} without {word}")
        item = self.parse(schema[word], namespace, depth + 1)
        # An element of a map has its key.
        _require_bytes(item, f"{kind} elements", int(kind == "map"))
        return Node(kind, items=(item,), min_bytes=1, nodes=1 + item.nodes)

    def _definition(self, kind: str, schema: dict[str, Any], namespace: str | None, depth: int) -> Node:
        full = _full_name(schema, namespace)
        if full in self._named or full in PRIMITIVES:
            raise PacketError(f"the writer schema defines {_show(full)} twice")
        self._named[full] = None
        if kind == "record":
            node = self._record(full, schema, depth)
        elif kind == "enum":
            symbols = schema.get("symbols")
            if not isinstance(symbols, list) or not symbols or not all(isinstance(symbol, str) for symbol in symbols):
                raise PacketError(f"the writer schema has an enum without symbols, {_show(full)}")
            node = Node("enum", full, symbols=tuple(symbols), min_bytes=1)
        else:
            node = _fixed(full, schema.get("size"), self._limits)
        self._named[full] = node
        return node

    def _record(self, full: str, schema: dict[str, Any], depth: int) -> Node:
        listed = schema.get("fields")
        if not isinstance(listed, list):
            raise PacketError(f"the writer schema has a record without a list of fields, {_show(full)}")
        inner = full.rpartition(".")[0] or None
        fields: dict[str, Node] = {}
        for field in listed:
            name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or "type" not in field or name in fields:
                raise PacketError(f"the writer schema has a field without a name or type of its own in {_show(full)}")
            fields[name] = self.parse(field["type"], inner, depth + 1)
        nodes = fields.values()
        return Node(
            "record",
            full,
            fields=tuple(fields.items()),
            min_bytes=sum(node.min_bytes for node in nodes),
            nodes=1 + sum(node.nodes for node in nodes),
            # A record is a value of no bytes itself where all of its fields are.
            empties=sum(node.empties for node in nodes) + (0 if any(node.min_bytes for node in nodes) else 1),
        )


def _require_bytes(node: Node, what: str, own: int) -> None:
    if node.empties > _EMPTIES_PER_BYTE * (node.min_bytes + own):
        raise PacketError(f"the writer schema has {what} that hold values in no bytes")


def _primitive(kind: str) -> Node:
    return Node(kind, min_bytes=_FIXED_SIZES.get(kind, 1), empties=int(kind == "null"))


def _fixed(full: str, size: Any, limits: Limits) -> Node:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= limits.file_bytes:
        raise PacketError(f"the writer schema has a fixed type of size {_show(size)}, {_show(full)}")
    return Node("fixed", full, min_bytes=size, empties=int(size == 0))


def _full_name(schema: dict[str, Any], namespace: str | None) -> str:
    name, space = schema.get("name"), schema.get("namespace", namespace)
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise PacketError(f"the writer schema has a named type without a name, {_show(name)}")
    if "." in name or not space:
        return name
    if not isinstance(space, str) or len(space) > _MAX_NAME:
        raise PacketError(f"the writer schema has namespace {_show(space)}")
    return f"{space}.{name}"


def _show(value: Any) -> str:
    # Never repr a whole hostile value: containers are named by type, text is cut.
    return (
        repr(value[:60]) if isinstance(value, str) else str(value)[:60] if isinstance(value, int) else str(type(value))
    )


def plain_schema(node: Node, skip: frozenset[str] = frozenset()) -> Any:
    """Write a schema's bare structure: names made up, no logical types, documentation, defaults or aliases.

    A general Avro library reads with it exactly what is on the wire: a logical type would turn numbers into objects,
    and fail where they are out of a calendar's range; names would be resolved once more, by other rules.

    Parameters
    ----------
    node : Node
    skip : frozenset of str
        Fields of the outermost record to leave out.
    """
    kept = tuple(field for field in node.fields if field[0] not in skip)
    return _plain(replace(node, fields=kept), {})


def _plain(node: Node, written: dict[str, str]) -> Any:
    if node.name in written:
        return written[node.name]
    if node.name:
        written[node.name] = f"T{len(written)}"
    name = written.get(node.name)
    if node.kind == "record":
        fields = [{"name": field, "type": _plain(child, written)} for field, child in node.fields]
        return {"type": "record", "name": name, "fields": fields}
    if node.kind == "union":
        return [_plain(item, written) for item in node.items]
    if node.kind in ("array", "map"):
        return {"type": node.kind, "items" if node.kind == "array" else "values": _plain(node.items[0], written)}
    if node.kind == "enum":
        return {"type": "enum", "name": name, "symbols": list(node.symbols)}
    if node.kind == "fixed":
        return {"type": "fixed", "name": name, "size": node.min_bytes}
    return node.kind
