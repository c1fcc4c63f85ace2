"""What each kind of self-check finds in a batch: one vectorised function a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xmatch_hats.catalogs.checks import (
    DesignationCheck,
    DifferenceCheck,
    ErrorWithoutValueCheck,
    LettersCheck,
    OrderedCheck,
    PatternCheck,
    RangeCheck,
    SelfCheck,
    UnitVectorCheck,
)
from xmatch_hats.sphere import separation_arcsec, unit_vectors

Mask = NDArray[np.bool_]
Columns = dict[str, pa.Array]

_DESIGNATION = (
    r"(?P<h>[0-9]{2})(?P<m>[0-9]{2})(?P<s>[0-9]{2}(?:\.[0-9]*)?)"
    r"(?P<sign>[+-])(?P<dd>[0-9]{2})(?P<dm>[0-9]{2})(?P<ds>[0-9]{2}(?:\.[0-9]*)?)$"
)


def failing_rows(check: SelfCheck, columns: Columns) -> Mask | None:
    """Rows that fail a check.

    Parameters
    ----------
    check : SelfCheck
    columns : dict of str to pyarrow.Array, each of length n
        Values by canonical name, in the definition's types.

    Returns
    -------
    ndarray of bool, shape (n,), or None
        None where the columns of the check are not there.
    """
    return _KINDS[type(check)](check, columns)


def _fill(mask: pa.Array | pa.ChunkedArray) -> Mask:
    """Null is the outcome of comparing a missing value, which fails nothing."""
    filled: Mask = pc.fill_null(mask, False).to_numpy(zero_copy_only=False).copy()
    return filled


def _any_of(masks: list[Mask]) -> Mask | None:
    return np.logical_or.reduce(masks) if masks else None


def _range(check: RangeCheck, columns: Columns) -> Mask | None:
    masks = []
    for name in check.columns:
        if (values := columns.get(name)) is not None:
            masks.append(_fill(pc.or_(pc.less(values, check.minimum), pc.greater(values, check.maximum))))
    return _any_of(masks)


def _pattern(check: PatternCheck, columns: Columns) -> Mask | None:
    there = [columns[name] for name in check.columns if name in columns]
    return _any_of([_fill(pc.invert(pc.match_substring_regex(values, check.pattern))) for values in there])


def _error_without_value(check: ErrorWithoutValueCheck, columns: Columns) -> Mask | None:
    pairs = [(columns[value], columns[error]) for value, error in check.pairs if {value, error} <= columns.keys()]
    return _any_of([_fill(pc.and_(pc.is_null(value), pc.is_valid(error))) for value, error in pairs])


def _floats(values: pa.Array) -> NDArray[np.float64]:
    floats: NDArray[np.float64] = pc.fill_null(pc.cast(values, pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    return floats


def _unit_vector(check: UnitVectorCheck, columns: Columns) -> Mask | None:
    if not set(check.used) <= columns.keys():
        return None
    vectors = np.stack([_floats(columns[name]) for name in check.columns], axis=-1)
    failing = np.abs(np.sqrt((vectors * vectors).sum(axis=-1)) - 1.0) > check.tolerance
    if check.ra and check.dec:
        expected = unit_vectors(_floats(columns[check.ra]), _floats(columns[check.dec]))
        failing |= np.abs(vectors - expected).max(axis=-1) > check.tolerance
    return failing


def _designation(check: DesignationCheck, columns: Columns) -> Mask | None:
    if not set(check.used) <= columns.keys():
        return None
    text = columns[check.column]
    ra, dec = parse_designations(text)
    found = unit_vectors(_floats(columns[check.ra]), _floats(columns[check.dec]))
    apart = separation_arcsec(unit_vectors(ra, dec), found)
    known = pc.is_valid(text).to_numpy(zero_copy_only=False)
    # Not "greater than": a designation that is none, or a missing coordinate, gives NaN and fails.
    return known & ~(apart <= check.tolerance_arcsec)


def parse_designations(text: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions written in designations such as ``J224840.67-003303.6``.

    Parameters
    ----------
    text : pyarrow.StringArray, length n
        Whatever stands before the digits is ignored.

    Returns
    -------
    ra, dec : ndarray of float64, shape (n,)
        Degrees; NaN where the text is not a designation. The IAU's convention cuts digits off and does not round, so
        each lies up to one unit of the last digit before the position.
    """
    parts = pc.extract_regex(text, _DESIGNATION)
    number = {name: _floats(pc.struct_field(parts, name)) for name in ("h", "m", "s", "dd", "dm", "ds")}
    negative = _fill(pc.equal(pc.struct_field(parts, "sign"), "-"))
    ra = 15.0 * (number["h"] + number["m"] / 60.0 + number["s"] / 3600.0)
    dec = number["dd"] + number["dm"] / 60.0 + number["ds"] / 3600.0
    return ra, np.where(negative, -dec, dec)


def _difference(check: DifferenceCheck, columns: Columns) -> Mask | None:
    pairs = [(columns[a], columns[b]) for a, b in check.pairs if {a, b} <= columns.keys()]
    return _any_of([_fill(pc.greater(pc.abs(pc.subtract(a, b)), check.maximum)) for a, b in pairs])


def _ordered(check: OrderedCheck, columns: Columns) -> Mask | None:
    pairs = [(columns[a], columns[b]) for a, b in check.pairs if {a, b} <= columns.keys()]
    return _any_of([_fill(pc.greater(smaller, larger)) for smaller, larger in pairs])


def _letters(check: LettersCheck, columns: Columns) -> Mask | None:
    if check.column not in columns:
        return None
    text = columns[check.column]
    masks = []
    for place, name in enumerate(check.errors):
        if (error := columns.get(name)) is not None:
            detected = pc.is_in(pc.utf8_slice_codeunits(text, place, place + 1), pa.array(list(check.detected)))
            masks.append(_fill(pc.and_(pc.is_valid(text), pc.not_equal(detected, pc.is_valid(error)))))
    return _any_of(masks)


_KINDS: dict[type, Callable[[Any, Columns], Mask | None]] = {
    RangeCheck: _range,
    PatternCheck: _pattern,
    ErrorWithoutValueCheck: _error_without_value,
    UnitVectorCheck: _unit_vector,
    DesignationCheck: _designation,
    DifferenceCheck: _difference,
    OrderedCheck: _ordered,
    LettersCheck: _letters,
}
