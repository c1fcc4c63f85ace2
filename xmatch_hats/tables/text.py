"""Values written as text: which type a column of them has, and their conversion, vectorised."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

NULL_WORDS = ("", "null", "NULL")
"""Cells that mean "missing" where they are not quoted."""
_BLANK_WORDS = pa.array(NULL_WORDS)
_TRUE_WORDS = pa.array(["true", "t"])
_BOOL_WORDS = pa.array(["true", "false", "t", "f"])
_GUESSED_BOOL_WORDS = pa.array(["true", "false"])
_EXACT_IN_FLOAT64 = 2**53


def clean(text: pa.Array) -> pa.Array:
    """Text of numbers without what surrounds them: blanks, a plus sign; what is empty then is null."""
    text = pc.utf8_trim_whitespace(text)
    text = pc.if_else(pc.is_in(text, _BLANK_WORDS), pa.scalar(None, text.type), text)
    plus = pc.starts_with(text, "+")
    if pc.any(plus).as_py():
        text = pc.if_else(plus, pc.utf8_ltrim(text, "+"), text)
    return text


def convert(text: pa.Array, type_: pa.DataType) -> pa.Array:
    """Convert text to a type.

    Raises
    ------
    pyarrow.ArrowInvalid
        A value is not of the type; the message quotes it.
    """
    if pa.types.is_string(type_):
        return text
    text = clean(text)
    if pa.types.is_boolean(type_):
        lower = pc.utf8_lower(text)
        odd = pc.invert(pc.is_in(lower, pc.cast(_BOOL_WORDS, lower.type)))
        if pc.any(pc.and_(odd, pc.is_valid(lower))).as_py():
            return pc.cast(text, type_)
        return pc.if_else(pc.is_valid(lower), pc.is_in(lower, pc.cast(_TRUE_WORDS, lower.type)), None)
    return pc.cast(text, type_)


@dataclass
class TypeGuess:
    """The narrowest type that holds every value of a column, learnt batch by batch.

    Strings of digits with zeros in front stay strings (flags, codes), and so does a column that mixes decimals with
    integers too long for a float: no digit is ever lost by a guess.
    """

    type: pa.DataType | None = None
    """Type of the values so far; None before the first value."""
    fixed: bool = False
    """Whether the type was given and is only checked."""
    direct: bool = True
    """Whether all text so far is a plain rendering that needs no cleaning."""
    smallest: int = 0
    largest: int = 0
    """Bounds of the integers so far."""

    def update(self, raw: pa.Array) -> None:
        """Take account of one batch of cells, null where empty."""
        if self.type is not None and pa.types.is_string(self.type):
            return
        given = raw.drop_null()
        if self._goes_on(given):
            return
        values = clean(given).drop_null()
        self.direct = self.direct and values.equals(given)
        if not self.fixed and len(values):
            self.type = self._widened(values)

    def _goes_on(self, given: pa.Array) -> bool:
        """Whether plain renderings of the type so far go on: the way of nearly all batches, without any cleaning."""
        if self.type is None or not (pa.types.is_integer(self.type) or pa.types.is_floating(self.type)):
            return not len(given)
        numbers = _try_cast(given, self.type)
        if numbers is None or (not self.fixed and _has_leading_zero(given)):
            return False
        if not len(numbers) or self.fixed:
            return True
        if pa.types.is_integer(self.type):
            return self._integer_type(numbers) == self.type
        # Integers too long for a float show by their size; infinities do no harm on the slow way.
        largest = pc.max(pc.abs(numbers)).as_py()
        return largest is None or not largest >= _EXACT_IN_FLOAT64

    def _widened(self, values: pa.Array) -> pa.DataType:
        known = self.type
        if known is None or pa.types.is_boolean(known):
            if pc.all(pc.is_in(pc.utf8_lower(values), _GUESSED_BOOL_WORDS)).as_py():
                return pa.bool_()
            if known is not None:
                return pa.string()
        if _has_leading_zero(values):
            return pa.string()
        if known is None or pa.types.is_integer(known):
            integers = _try_cast(values, pa.int64())
            integers = _try_cast(values, pa.uint64()) if integers is None else integers
            if integers is not None:
                return self._integer_type(integers)
        return self._float_or_string(values)

    def _integer_type(self, integers: pa.Array) -> pa.DataType:
        bounds = pc.min_max(integers).as_py()
        self.smallest, self.largest = min(self.smallest, bounds["min"]), max(self.largest, bounds["max"])
        if self.largest < 2**63:
            return pa.int64()
        return pa.uint64() if self.smallest >= 0 else pa.string()

    def _float_or_string(self, values: pa.Array) -> pa.DataType:
        if max(-self.smallest, self.largest) > _EXACT_IN_FLOAT64 or _try_cast(values, pa.float64()) is None:
            return pa.string()
        has_long = pc.any(pc.match_substring_regex(values, r"^-?[0-9]{16,}$")).as_py()
        return pa.string() if has_long else pa.float64()


def _has_leading_zero(values: pa.Array) -> bool:
    """Whether some are digits with a zero in front, or hexadecimal: codes and not numbers."""
    # Only what begins so needs the slow look.
    signs = pc.or_(pc.starts_with(values, "-"), pc.starts_with(values, "+"))
    candidates = values.filter(pc.or_(pc.starts_with(values, "0"), signs))
    found = pc.any(pc.match_substring_regex(candidates, r"^[+-]?0([0-9]+$|[xX])")).as_py()
    return bool(found)


def _try_cast(values: pa.Array, type_: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(values, type_)
    except pa.ArrowInvalid:
        return None
