"""Star catalogues as mask modules of image pipelines read them.

Text, blank-separated. Three free lines; the fourth is the header; rows from the fifth; five lines at the end that
readers drop. There is no line feed behind the last line, so that readers which split at line feeds and those which read
line by line drop the same five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.catalogs.magnitudes import BANDS

__all__ = ["HEADER", "Stars", "star_text"]

HEADER = " ".join(("RA(J2000)", "Dec(J2000)", *BANDS, "Clas"))
_FREE_LINES = 3
_FOOTER = ("# end of the rows", *["#"] * 4)
_MISSING = "---"
_LONGEST_LINE = 400


@dataclass(frozen=True)
class Stars:
    """Rows of a star catalogue."""

    ra: NDArray[np.float64]
    """Degrees, shape (n,)."""
    dec: NDArray[np.float64]
    magnitudes: NDArray[np.float64]
    """One column for each of `BANDS`, shape (n, 4); NaN where there is none."""
    clas: NDArray[np.int64]
    """0 for a star, 1 for what is none, shape (n,)."""

    def __len__(self) -> int:
        return len(self.ra)

    @classmethod
    def none(cls) -> Stars:
        """No rows."""
        nothing = np.empty(0)
        return cls(nothing, nothing, np.empty((0, len(BANDS))), np.empty(0, dtype=np.int64))

    def take(self, which: NDArray[np.bool_] | slice) -> Stars:
        """Rows that are true, or a stretch of them."""
        return Stars(self.ra[which], self.dec[which], self.magnitudes[which], self.clas[which])

    @property
    def brightness(self) -> NDArray[np.float64]:
        """Mean of the magnitudes that are there, shape (n,); NaN where there is none."""
        there = np.isfinite(self.magnitudes)
        with np.errstate(invalid="ignore"):
            return np.where(there, self.magnitudes, 0.0).sum(axis=1) / there.sum(axis=1)


def star_text(stars: Stars, free: Sequence[str] = ()) -> str:
    """Write a star catalogue.

    Parameters
    ----------
    stars : Stars
    free : sequence of str
        Up to three sentences for the free lines.

    Examples
    --------
    >>> print(star_text(Stars.none(), ["nothing"]))
    # nothing
    #
    #
    RA(J2000) Dec(J2000) Fmag Jmag Vmag Nmag Clas
    # end of the rows
    #
    #
    #
    #
    """
    lines = [_free_line(free[place]) if place < len(free) else "#" for place in range(_FREE_LINES)]
    lines.append(HEADER)
    columns = (stars.ra.tolist(), stars.dec.tolist(), stars.magnitudes.tolist(), stars.clas.tolist())
    for ra, dec, magnitudes, clas in zip(*columns, strict=True):
        shown = " ".join(f"{value:.4f}" if math.isfinite(value) else _MISSING for value in magnitudes)
        lines.append(f"{_right_ascension(ra)} {dec:.9f} {shown} {clas}")
    return "\n".join([*lines, *_FOOTER])


def _right_ascension(ra: float) -> str:
    text = f"{ra % 360.0:.9f}"
    return "0.000000000" if text == "360.000000000" else text


def _free_line(text: str) -> str:
    """One line of printable ASCII without tabs, whatever the text."""
    plain = " ".join(text.encode("ascii", "replace").decode().split())
    return f"# {''.join(c if c.isprintable() else '?' for c in plain)}"[:_LONGEST_LINE]


def __dir__() -> list[str]:
    return sorted(__all__)
