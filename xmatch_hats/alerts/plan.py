"""What is known of a writer schema once it has been allowed: made once, used for every packet that carries it."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xmatch_hats.alerts.limits import Limits
from xmatch_hats.alerts.program import Program, compile_program
from xmatch_hats.alerts.schema import Node, load_schema, parse_schema
from xmatch_hats.errors import PacketError

XMATCHES = "xmatches"
XMATCHES_TYPE: list[Any] = [{"type": "map", "values": {"type": "map", "values": ["string", "float", "null"]}}, "null"]
"""Type of the field that is appended, its branches in the order that consumers of the stream know."""
_POSITION_KINDS = frozenset({"float", "double", "int", "long", "null"})
_CACHED_PLANS = 64


@dataclass(frozen=True)
class FieldPaths:
    """Where a record keeps what the crossmatch needs: dotted paths of fields, through unions where need be.

    A survey other than ZTF names its own, for instance ``diaSource.ra``, ``diaSource.dec``,
    ``("diaObject.diaObjectId",)`` and ``("diaSourceId",)``.
    """

    ra: str = "candidate.ra"
    """Right ascension in degrees."""
    dec: str = "candidate.dec"
    """Declination in degrees."""
    object_id: tuple[str, ...] = ("objectId",)
    """Name or number of the object, the first that a record has; it may lack all."""
    candid: tuple[str, ...] = ("candid", "candidate.candid")
    """Name or number of the alert, the first that a record has; it may lack all."""
    extra: tuple[str, ...] = ()
    """Further numbers and strings that `Alert.extra` is to carry; schema and record may lack them."""


@dataclass(frozen=True, eq=False)
class WriterPlan:
    """One writer schema: how to walk over its records, and the schema that they have with ``xmatches``."""

    schema: dict[str, Any]
    """As it came, parsed."""
    root: Node
    program: Program
    extended_schema: bytes
    """The same with `XMATCHES` as its last field, JSON text."""

    @property
    def version(self) -> str | None:
        """Version that the schema itself tells, None where it tells none."""
        version = self.schema.get("version")
        return version if isinstance(version, str) else None


def make_plan(text: bytes, paths: FieldPaths, limits: Limits) -> WriterPlan:
    """Allow a writer schema and prepare for its records.

    Parameters
    ----------
    text : bytes
        JSON text of the schema.
    paths : FieldPaths
    limits : Limits

    Raises
    ------
    PacketError
        The schema is not allowed, or has no position where `paths` says.
    """
    schema = load_schema(text, limits)
    root = parse_schema(schema, limits)
    for path in (paths.ra, paths.dec):
        _check_position(root, path)
    wanted = frozenset({paths.ra, paths.dec, *paths.object_id, *paths.candid, *paths.extra})
    program = compile_program(root, wanted, frozenset({XMATCHES}))
    extended = extend_schema(schema)
    if root.field(XMATCHES) is not None:
        # A field that goes may have defined a name that another one uses.
        parse_schema(extended, limits)
    return WriterPlan(schema, root, program, json.dumps(extended, ensure_ascii=False).encode("utf-8", "replace"))


def extend_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Append `XMATCHES` to a record's schema, in place of one that it has, wherever that stood.

    Defaults written as the string ``"null"`` become null: within a union they are meant so, and are not Avro otherwise.

    Parameters
    ----------
    schema : dict
        A record that `parse_schema` has allowed.
    """
    kept = [_mend_defaults(field) for field in schema["fields"] if field["name"] != XMATCHES]
    return schema | {"fields": [*kept, {"name": XMATCHES, "type": XMATCHES_TYPE, "default": None}]}


def _mend_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [_mend_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    mended = {key: _mend_defaults(item) if key in ("type", "items", "values", "fields") else item
              for key, item in value.items()}  # fmt: skip
    kind = value.get("type")
    if value.get("default") == "null" and isinstance(kind, list) and "null" in kind:
        mended["default"] = None
    return mended


def _check_position(root: Node, path: str) -> None:
    found = [root]
    for name in path.split("."):
        records = [node for node in _branches(found) if node.kind == "record"]
        found = [child for child in (node.field(name) for node in records) if child is not None]
    kinds = {node.kind for node in _branches(found)}
    if not kinds - {"null"}:
        raise PacketError(f"the writer schema has no field {path}", hint="a packet without a position is no alert")
    if not kinds <= _POSITION_KINDS:
        raise PacketError(f"the writer schema has {path} as {', '.join(sorted(kinds - _POSITION_KINDS))}, not a number")


def _branches(nodes: list[Node]) -> list[Node]:
    return [branch for node in nodes for branch in (node.items if node.kind == "union" else (node,))]


class PlanCache:
    """Plans by the bytes of their schema, the most recently used ones.

    Memory: 64 plans of at most `Limits.schema_bytes` of text each, in practice some 10 MB.
    """

    def __init__(self, make: Callable[[bytes], WriterPlan]) -> None:
        self._make = make
        self._plans: OrderedDict[bytes, WriterPlan] = OrderedDict()
        self.misses = 0
        """Plans made so far, and refused."""

    def get(self, schema: bytes) -> WriterPlan:
        """Plan of a schema, made if need be; a schema that is refused is refused anew each time."""
        plan = self._plans.get(schema)
        if plan is None:
            self.misses += 1
            plan = self._plans[schema] = self._make(schema)
            if len(self._plans) > _CACHED_PLANS:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(schema)
        return plan
