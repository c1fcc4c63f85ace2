"""Fingerprints of schemas, as the header of a single-object message has them: CRC-64-AVRO of the canonical form."""

from __future__ import annotations

import json
from typing import Any

from fastavro.schema import fingerprint

from xmatch_hats.alerts.schema import Node

FINGERPRINT_BYTES = 8


def schema_fingerprint(root: Node) -> bytes:
    """Fingerprint of a schema, its eight bytes in the order of the wire (little-endian).

    Parameters
    ----------
    root : Node
        A schema that `xmatch_hats.alerts.schema.parse_schema` has allowed.
    """
    canonical = json.dumps(_canonical(root, set()), separators=(",", ":"), ensure_ascii=False)
    return bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def _canonical(node: Node, defined: set[str]) -> Any:
    """What Avro calls the parsing canonical form: full names, keys in this order, nothing else."""
    if node.name in defined:
        return node.name
    if node.kind == "union":
        return [_canonical(item, defined) for item in node.items]
    if node.kind in ("array", "map"):
        word = "items" if node.kind == "array" else "values"
        return {"type": node.kind, word: _canonical(node.items[0], defined)}
    if not node.name:
        return node.kind
    defined.add(node.name)
    form: dict[str, Any] = {"name": node.name, "type": node.kind}
    if node.kind == "record":
        return form | {"fields": [{"name": name, "type": _canonical(child, defined)} for name, child in node.fields]}
    if node.kind == "enum":
        return form | {"symbols": list(node.symbols)}
    return form | {"size": node.min_bytes}
