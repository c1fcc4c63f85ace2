"""Field metadata: unit, UCD and description of a column, as Arrow carries them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

KEYS = ("unit", "ucd", "description")
"""What is kept of a column beside its values; the keys of `pyarrow.Field.metadata`, as bytes there."""


def make_field(name: str, type_: pa.DataType, **texts: str | None) -> pa.Field:
    """Make a field with metadata.

    Parameters
    ----------
    name : str
    type_ : pyarrow.DataType
    **texts : str or None
        ``unit``, ``ucd``, ``description``, and, for errors alone, ``dtype``: what its type is called where the table
        comes from. Empty ones are left out.
    """
    metadata = {key.encode(): str(text).encode() for key, text in texts.items() if text}
    return pa.field(name, type_, metadata=metadata or None)


def text_of(field: pa.Field, key: str) -> str:
    """One text of a field's metadata, empty if it has none."""
    value: bytes = (field.metadata or {}).get(key.encode(), b"")
    return value.decode("utf-8", "replace")


def texts_of(field: pa.Field) -> dict[str, Any]:
    """The unit, UCD and description that a field has, without the empty ones."""
    return {key: text for key in KEYS if (text := text_of(field, key))}
