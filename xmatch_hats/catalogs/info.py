"""What a copy is, as one JSON object, for people and programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.side_copy import SideCopy
from xmatch_hats.errors import CatalogError


def describe(copy: LocalCopy, *, estimate: bool = True) -> dict[str, Any]:
    """Tell what a copy holds.

    Parameters
    ----------
    copy : LocalCopy
    estimate : bool
        Whether to estimate the coverage of a foreign copy, which reads the index column of all its rows.

    Returns
    -------
    dict
        JSON values only; ``coverage`` is None where it is neither recorded nor estimated, ``side_copy`` where there is
        none. ``bytes`` counts the side copy, too.
    """
    manifest, definition = copy.manifest, copy.definition
    orders = Counter(order for order, _ in copy.partitions)
    return {
        "path": str(copy.path),
        "name": copy.name,
        "definition": definition.name if definition else None,
        "title": definition.title if definition else None,
        "citation": definition.citation if definition else None,
        "rows": copy.total_rows,
        "partitions": len(copy.partitions),
        "partitions_by_order": {str(order): orders[order] for order in sorted(orders)},
        "margin_arcsec": copy.margin_arcsec,
        "coverage": _coverage(copy, estimate=estimate),
        "ra_column": copy.ra_column,
        "dec_column": copy.dec_column,
        "id_column": copy.id_column,
        "columns": _columns(copy),
        "sources": [record.model_dump(mode="json") for record in manifest.sources] if manifest else None,
        "dropped_rows": manifest.dropped.model_dump(mode="json") if manifest else None,
        "settings": manifest.settings if manifest else None,
        "self_check": manifest.self_check if manifest else None,
        "created": manifest.created if manifest else None,
        "software": manifest.software if manifest else None,
        "version": copy.version,
        "bytes": size_on_disk(copy),
        "side_copy": _side_copy(copy),
    }


def size_on_disk(copy: LocalCopy) -> int:
    """Bytes of all files of a copy."""
    return sum(path.stat().st_size for path in copy.path.rglob("*") if path.is_file())


def _coverage(copy: LocalCopy, *, estimate: bool) -> dict[str, Any] | None:
    if copy.manifest is not None:
        return copy.manifest.coverage.model_dump(mode="json")
    return dict(copy.coverage.summary()) if estimate else None


def _side_copy(copy: LocalCopy) -> dict[str, Any] | None:
    try:
        side = SideCopy.open(copy)
    except CatalogError as error:
        return {"bytes": None, "columns": None, "error": str(error)}
    return None if side is None else {"bytes": side.bytes, "columns": list(side.columns), "error": None}


def _columns(copy: LocalCopy) -> list[dict[str, Any]]:
    described = []
    for field in copy.schema:
        if field.name == HEALPIX_COLUMN:
            continue
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        texts = {key: metadata.get(key, "") for key in ("unit", "ucd", "description")}
        described.append({"name": field.name, "type": str(field.type), **texts, "vizier": _vizier(copy, field.name)})
    return described


def _vizier(copy: LocalCopy, name: str) -> str | None:
    if copy.definition is None or name not in copy.definition.by_name:
        return None
    return copy.definition.by_name[name].vizier
