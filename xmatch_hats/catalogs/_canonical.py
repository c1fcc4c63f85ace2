"""From a source's names and types to a definition's: the work behind `Definition`'s methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.errors import DefinitionError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.definition import Column, Definition

_MISSING_WORDS = pa.array(["", "null", "NULL", "nan", "NaN"])
_EXACT_IN_FLOAT64 = 2.0**53


def _name_sets(definition: Definition) -> tuple[dict[str, str], dict[str, str]]:
    """Source name to canonical name, for the canonical set and for VizieR's."""
    own = {alias: column.name for column in definition.columns for alias in (*column.aliases, column.name)}
    vizier = {column.vizier: column.name for column in definition.columns if column.vizier}
    return own, vizier


def _lookup(names: Iterable[str], known: dict[str, str], *, fold: bool) -> dict[str, str]:
    """Map the names that are known; ``fold`` lets case differ where nothing else has the column."""
    names = list(names)
    found = {name: known[name] for name in names if name in known}
    if fold:
        taken = set(found.values())
        lower = {name.lower(): canonical for name, canonical in known.items()}
        for name in names:
            canonical = lower.get(name.lower())
            if name not in found and canonical is not None and canonical not in taken:
                found[name] = canonical
                taken.add(canonical)
    return _first_of_each(names, found)


def _first_of_each(names: Sequence[str], found: dict[str, str]) -> dict[str, str]:
    """Source order; an exact canonical name wins over an alias of the same column."""
    chosen: dict[str, str] = {}
    for name in names:
        canonical = found.get(name)
        if canonical is not None and (name == canonical or canonical not in chosen):
            chosen[canonical] = name
    return {name: found[name] for name in names if name in found and chosen[found[name]] == name}


def _keys(definition: Definition) -> set[str]:
    keys = {definition.ra_column, definition.dec_column}
    return keys | {definition.label_column} if definition.label_column else keys


def name_map(definition: Definition, names: Sequence[str]) -> dict[str, str]:
    """See `Definition.canonical_names`."""
    own, vizier = _name_sets(definition)
    # Columns that VizieR lacks or calls the same are found under its set too.
    vizier = {name: canonical for name, canonical in own.items() if canonical not in vizier.values()} | vizier
    keys = _keys(definition)
    candidates = [_lookup(names, own, fold=True), _lookup(names, vizier, fold=False)]
    return max(candidates, key=lambda found: (len(keys & set(found.values())), len(found)))


def fits(definition: Definition, names: Sequence[str]) -> bool:
    """Whether a source has the definition's coordinate and label columns, under one name set, and none it excludes."""
    if definition.label_column is None or set(definition.excludes) & set(names):
        return False
    return _keys(definition) <= set(name_map(definition, names).values())


def source_columns(definition: Definition, schema: pa.Schema, columns: Sequence[str] | str | None) -> list[str]:
    """See `Definition.source_columns`."""
    source_of = {canonical: name for name, canonical in name_map(definition, schema.names).items()}
    place = f"definition {definition.name}"
    if missing := [name for name in (definition.ra_column, definition.dec_column) if name not in source_of]:
        raise DefinitionError(
            f"the source has no column {' and '.join(missing)}",
            place=place,
            hint=f"its columns are: {', '.join(schema.names[:20])}{', ...' if len(schema.names) > 20 else ''}",
            value=missing,
        )
    if isinstance(columns, str):
        if columns != "all":
            raise DefinitionError('columns must be a list of names or "all"', place=place, value=columns)
        return list(schema.names)
    if columns is None:
        wanted = [name for name in definition.default_columns if name in source_of]
    else:
        wanted = definition.resolve_columns(columns)
        if missing := [name for name in wanted if name not in source_of]:
            raise DefinitionError(f"the source has no column {', '.join(missing)}", place=place, value=missing)
    must = [definition.ra_column, definition.dec_column]
    if definition.id_column in source_of:
        must.append(str(definition.id_column))
    return [source_of[name] for name in [*wanted, *(name for name in must if name not in wanted)]]


def canonicalise(definition: Definition, batch: pa.RecordBatch, place: object) -> pa.RecordBatch:
    """See `Definition.canonicalise`."""
    mapped = name_map(definition, batch.schema.names)
    arrays, fields = [], []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        canonical = mapped.get(field.name)
        if canonical is None:
            arrays.append(array)
            fields.append(field)
            continue
        column = definition.by_name[canonical]
        try:
            arrays.append(to_column(array, column))
        except pa.ArrowInvalid as error:
            raise DefinitionError(
                f"column {field.name} cannot be {column.type}: {error}",
                place=place or f"definition {definition.name}",
                hint="are the columns in step with their names? or give another definition",
                value=field.name,
            ) from error
        fields.append(column.field)
    names = [field.name for field in fields]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise DefinitionError(
            f"two columns of the source would be called {doubled[0]}",
            place=place or f"definition {definition.name}",
            hint="drop or rename one of them",
            value=doubled,
        )
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=batch.schema.metadata))


def to_column(array: pa.Array, column: Column) -> pa.Array:
    """Cast values to a column's type, missing ones to null.

    Raises
    ------
    pyarrow.ArrowInvalid
        A value does not fit; the message quotes it.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    target = column.arrow_type
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    if not _is_text(array.type) and not _is_number(array.type):
        raise pa.ArrowInvalid(f"its values are {array.type}")
    if pa.types.is_string(target):
        result = _to_text(array, column)
    elif _is_text(array.type):
        result = _text_to_number(array, target)
    else:
        result = _number_to_number(array, target)
    for marker in column.missing:
        result = _without(result, marker)
    return result


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_number(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)
        or pa.types.is_decimal(type_)
    )  # fmt: skip


def _to_text(array: pa.Array, column: Column) -> pa.Array:
    if pa.types.is_floating(array.type):
        # Flags such as "0211" that a source had read as numbers, with gaps, arrive as floats.
        array = _number_to_number(array, pa.int64())
    text = array if pa.types.is_string(array.type) else pc.cast(array, pa.string())
    # Fixed-width formats pad; what is blank is missing.
    text = pc.utf8_trim_whitespace(text)
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if column.zero_pad:
        digits = pc.match_substring_regex(text, r"^[0-9]+$")
        text = pc.if_else(digits, pc.utf8_lpad(text, column.zero_pad, "0"), text)
    return text


def _text_to_number(array: pa.Array, target: pa.DataType) -> pa.Array:
    text = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    text = pc.if_else(pc.is_in(text, _MISSING_WORDS), pa.scalar(None, pa.string()), text)
    if not pa.types.is_integer(target):
        return pc.cast(text, target)
    try:
        return pc.cast(text, target)
    except pa.ArrowInvalid:
        # "12.0" is an integer; a large one never takes this way, as its digits must be exact.
        return _number_to_number(pc.cast(text, pa.float64()), target)


def _number_to_number(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(array.type):
        array = pc.cast(array, pa.float64() if pa.types.is_floating(target) else target)
    if pa.types.is_floating(array.type):
        # NaN is how floating columns say "missing".
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        if pa.types.is_integer(target):
            _refuse_rounded(array)
    # Floats may round to the narrower float, and large integers to the nearest one; integers never change.
    return pc.cast(array, target, safe=not pa.types.is_floating(target))


def _refuse_rounded(array: pa.Array) -> None:
    largest = pc.max(pc.abs(array)).as_py()
    if largest is not None and largest >= _EXACT_IN_FLOAT64:
        raise pa.ArrowInvalid(f"{largest:.0f} has passed through a float, which cannot hold its last digits")


def _without(array: pa.Array, marker: str | float) -> pa.Array:
    try:
        value = pa.scalar(marker).cast(array.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return array
    return pc.if_else(pc.equal(array, value), pa.scalar(None, array.type), array)


def upper_limits(column: Column, table: pa.Table | pa.RecordBatch) -> pa.BooleanArray:
    """See `Definition.upper_limits`."""
    if column.upper_limit is None or column.error is None or column.error not in table.schema.names:
        return pa.array([False] * table.num_rows, pa.bool_())
    limits = pc.and_(pc.is_valid(table[column.name]), pc.is_null(table[column.error]))
    return limits.combine_chunks() if isinstance(limits, pa.ChunkedArray) else limits
