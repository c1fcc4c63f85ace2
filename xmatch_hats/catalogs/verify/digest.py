"""A 64-bit digest of every row of a table, vectorised over columns.

Margin rows are compared with the main table's rows without holding either: equal rows have equal digests, and rows
that differ in any bit of any column share one with a probability of about 2^-64. Column order, string width (32 or 64
bit offsets) and dictionary encoding do not matter; the bits under a null do not either.

Words are mixed with the finaliser of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA); sequences are hashed multilinearly,
each element times an odd pseudo-random weight of its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.errors import CatalogError

Words = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_NULL = np.uint64(0xA5A5F00DDEADBEA7)


def row_digests(batch: pa.RecordBatch, columns: Sequence[str]) -> Words:
    """Digest of each row over the named columns.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        n rows.
    columns : sequence of str
        Columns that count, in an order that is the same wherever digests are compared. One that the batch lacks counts
        as null, so that rows with and without it differ.

    Returns
    -------
    ndarray of uint64, shape (n,)

    Raises
    ------
    CatalogError
        A column is of an Arrow type whose layout is not known here.
    """
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    held = set(batch.schema.names)
    for place, name in enumerate(columns):
        words = _array(batch.column(name)) if name in held else np.full(batch.num_rows, _NULL)
        total += mix(words + _weight(place))
    return mix(total)


def mix(words: Words) -> Words:
    """Scatter the bits of each word (a bijection of 64-bit words)."""
    words = words ^ (words >> np.uint64(30))
    words = words * np.uint64(0xBF58476D1CE4E5B9)
    words = words ^ (words >> np.uint64(27))
    words = words * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _weight(place: int) -> np.uint64:
    return _weights(np.array([place], dtype=np.uint64))[0]


def _weights(places: Words) -> Words:
    return mix((places + np.uint64(1)) * np.uint64(_GOLDEN)) | np.uint64(1)


def _array(array: pa.Array) -> Words:
    if not len(array):
        return np.empty(0, dtype=np.uint64)  # its buffers may be missing
    words = _values(array)
    if array.null_count:
        words = np.where(array.is_null().to_numpy(zero_copy_only=False), _NULL, words)
    return words


def _values(array: pa.Array) -> Words:
    kind, types = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _array(array.storage)
    if types.is_null(kind):
        return np.full(len(array), _NULL)
    if types.is_dictionary(kind):
        return _array(array.dictionary_decode())
    if types.is_boolean(kind):
        return _fixed_width(array.cast(pa.uint8()))
    if types.is_fixed_size_binary(kind) and not types.is_decimal(kind):
        return _text(array.cast(pa.binary()))
    if types.is_nested(kind):
        return _nested(array)
    return _text(array) if _is_text(kind) else _fixed_width(array)


def _nested(array: pa.Array) -> Words:
    kind, types = array.type, pa.types
    if types.is_struct(kind):
        children = [mix(_array(child) + _weight(place)) for place, child in enumerate(array.flatten())]
        return np.sum(children, axis=0, dtype=np.uint64) if children else np.zeros(len(array), dtype=np.uint64)
    if types.is_fixed_size_list(kind):
        return _array(array.cast(pa.list_(kind.value_type)))
    if types.is_map(kind):
        return _sequence(array, mix(_array(array.keys) + _weight(0)) + mix(_array(array.items) + _weight(1)))
    if types.is_list(kind) or types.is_large_list(kind):
        return _sequence(array, _array(array.values))
    raise CatalogError(f"rows with a column of type {kind} cannot be compared", value=str(kind))


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary))


def _fixed_width(array: pa.Array) -> Words:
    try:
        width = array.type.bit_width
    except ValueError:
        width = 0
    if width not in (8, 16, 32, 64, 128, 256) or len(array.buffers()) != 2:
        raise CatalogError(f"rows with a column of type {array.type} cannot be compared", value=str(array.type))
    parts = max(width // 64, 1)
    start = array.offset * width // 8
    flat = np.frombuffer(array.buffers()[1], f"u{min(width, 64) // 8}", len(array) * parts, start).astype(np.uint64)
    if parts == 1:
        return flat
    return (flat.reshape(-1, parts) * _weights(np.arange(parts, dtype=np.uint64))).sum(axis=1, dtype=np.uint64)


def _text(array: pa.Array) -> Words:
    data = array.buffers()[2]
    values = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, np.uint8)
    return _sequence(array, values)


def _sequence(array: pa.Array, values: NDArray) -> Words:
    """Digest runs of `values` (all of the child, from its very start) that the array's offsets delimit."""
    wide = pa.types.is_large_list(array.type) or pa.types.is_large_string(array.type)
    wide = wide or pa.types.is_large_binary(array.type)
    kind = np.dtype(np.int64 if wide else np.int32)
    offsets = np.frombuffer(array.buffers()[1], kind, len(array) + 1, array.offset * kind.itemsize).astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    lengths = np.diff(offsets)
    places = (np.arange(first, last) - np.repeat(offsets[:-1], lengths)).astype(np.uint64)
    terms = (values[first:last].astype(np.uint64) + np.uint64(1)) * _weights(places)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    ends = offsets - first
    return mix(sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64) * np.uint64(_GOLDEN))
