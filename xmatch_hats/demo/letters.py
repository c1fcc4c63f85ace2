"""Text columns of equal width, built as matrices of bytes: a million designations take a fraction of a second."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_ZERO = ord("0")


def text_array(letters: NDArray[np.uint8]) -> pa.Array:
    """Arrow strings out of a matrix of ASCII codes.

    Parameters
    ----------
    letters : ndarray of uint8, shape (n, width)

    Returns
    -------
    pyarrow.StringArray
        Length n; the letters are not copied.

    Raises
    ------
    ValueError
        More than 2 GiB of letters, which 32-bit offsets cannot address.
    """
    n, width = letters.shape
    if n * width > np.iinfo(np.int32).max:
        raise ValueError(f"{n} strings of {width} letters do not fit one array; make the sky in parts")
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    letters = np.ascontiguousarray(letters)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(letters))


def put_number(letters: NDArray[np.uint8], start: int, width: int, values: NDArray[np.int64]) -> None:
    """Write numbers with leading zeros into columns ``start`` to ``start + width`` of a matrix of letters."""
    rest = values
    for column in range(start + width - 1, start - 1, -1):
        rest, digit = np.divmod(rest, 10)
        letters[:, column] = digit + _ZERO


def designations(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> pa.Array:
    """Names by position, ``JHHMMSS.ss+DDMMSS.s``, truncated and never rounded, as the IAU asks.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Degrees, on a grid of 1e-7 degrees, 0 <= ra < 360.

    Returns
    -------
    pyarrow.StringArray
        Length n.
    """
    # A thousandth of a grid step, so that a value on a border is not truncated to the one before it.
    centiseconds = np.floor(ra * 24000.0 + 1e-6).astype(np.int64)
    tenths = np.floor(np.abs(dec) * 36000.0 + 1e-6).astype(np.int64)
    letters = np.full((len(ra), 19), ord("."), dtype=np.uint8)
    letters[:, 0] = ord("J")
    put_number(letters, 1, 2, centiseconds // 360_000)
    put_number(letters, 3, 2, centiseconds // 6_000 % 60)
    put_number(letters, 5, 2, centiseconds // 100 % 60)
    put_number(letters, 8, 2, centiseconds % 100)
    letters[:, 10] = np.where(dec < 0, ord("-"), ord("+"))
    put_number(letters, 11, 2, tenths // 36_000)
    put_number(letters, 13, 2, tenths // 600 % 60)
    put_number(letters, 15, 2, tenths // 10 % 60)
    put_number(letters, 18, 1, tenths % 10)
    return text_array(letters)
