"""Cutout images of alerts: gzipped FITS, 63 pixels square, as alert packets carry them."""

from __future__ import annotations

import gzip

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

SIDE = 63
"""Pixels on the side of a stamp."""
_BLOCK = 2880
_STEP = 0.5
"""Counts are kept to half a unit, which halves the bytes of the noise after compression."""


def _header() -> bytes:
    blank = fits.PrimaryHDU(np.zeros((SIDE, SIDE), dtype=">f4"))
    blank.header["BUNIT"] = "DN"
    return bytes(blank.header.tostring(), "ascii")


_HEADER = _header()
_PADDING = bytes(-SIDE * SIDE * 4 % _BLOCK)
_Y, _X = np.mgrid[:SIDE, :SIDE] - SIDE // 2
_PSF = np.exp(-(_X * _X + _Y * _Y) / (2.0 * 0.95**2)).astype(np.float32)


def science_template_difference(rng: np.random.Generator, flux: float) -> tuple[bytes, bytes, bytes]:
    """Draw the three stamps of one alert.

    Parameters
    ----------
    rng : numpy.random.Generator
    flux : float
        Peak of the transient in counts; negative for one that faded.

    Returns
    -------
    tuple of bytes
        Science, template and difference image, each a gzipped FITS file; the last is the first less the second.
    """
    noise = rng.standard_normal((2, SIDE, SIDE), dtype=np.float32)
    sky = 150.0 + 20.0 * rng.random()
    host = abs(flux) * (0.5 + rng.random())
    template = _quantised(sky + 3.0 * noise[1] + host * _PSF)
    science = _quantised(sky + 6.0 * noise[0] + (host + flux) * _PSF)
    return _file(science), _file(template), _file(science - template)


def _quantised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return (np.round(image / _STEP) * _STEP).astype(np.float32)


def _file(image: NDArray[np.float32]) -> bytes:
    # Without a time stamp the same seed gives the same bytes.
    return gzip.compress(_HEADER + image.astype(">f4").tobytes() + _PADDING, compresslevel=1, mtime=0)
