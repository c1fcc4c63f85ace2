"""A made-up exposure over a made-up sky: where its alerts lie, and what each one measured.

Alerts fall on catalogue sources with sub-arcsecond offsets, beside them, where nothing is, and beyond the edge of the
catalogue. Column names are those of the ``candidate`` record of ZTF packets, schema 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.demo.sky import Floats, SkyBox, offset_positions
from xmatch_hats.errors import UsageError

__all__ = ["Exposure", "make_exposure"]

JD = 2460234.8125
"""Start of the exposure, Julian date."""
_JD_OF_NIGHT_0 = 2457754.5
_CHANNELS_A_SIDE = 8
_PIXELS = 3072
"""Pixels on the side of one of the 64 readout channels."""
_SHARE_ON_SOURCES, _SHARE_BESIDE = 0.55, 0.10
_OFFSET_ARCSEC = 0.18
"""Scatter of alerts about their catalogue source, along each axis."""
MISSING = -999.0
"""What the pipeline writes for "none near"."""


@dataclass(frozen=True)
class Exposure:
    """The alerts of one exposure, columns of equal length n."""

    field: int
    columns: dict[str, NDArray[Any]]
    """Values of the ``candidate`` record that differ between alerts, each of shape (n,); ra and dec in degrees."""
    object_ids: list[str]
    seed: int

    def __len__(self) -> int:
        return len(self.object_ids)


def make_exposure(sky: pa.Table, box: SkyBox, *, alerts: int, seed: int = 0, field: int = 1615) -> Exposure:
    """Place alerts in a field and measure them.

    Parameters
    ----------
    sky : pyarrow.Table
        Catalogue with ``ra`` and ``dec`` in degrees; alerts fall on its sources.
    box : SkyBox
        The field of the camera; it may reach beyond the catalogue.
    alerts : int
        Number of alerts.
    seed : int
        Same seed and sky, same exposure.
    field : int
        Number of the field in the survey's grid.

    Raises
    ------
    UsageError
        Fewer than 0 or more than 100,000 alerts.
    """
    if not 0 <= alerts <= 100_000:
        raise UsageError("an exposure has 0...100,000 alerts", value=alerts)
    rng = np.random.default_rng([seed, 33])
    ra, dec = (np.round(column, 7) for column in _place(rng, sky, box, alerts))
    columns: dict[str, NDArray[Any]] = {"ra": ra, "dec": dec}
    columns |= _detector(ra, dec, box)
    columns |= _identifiers(columns["rcid"])
    columns |= _light(rng, alerts)
    columns |= _neighbours(rng, ra, dec, columns["magpsf"])
    columns |= _history(rng, alerts)
    return Exposure(field, columns, [_object_id(number) for number in range(alerts)], seed)


def _place(rng: np.random.Generator, sky: pa.Table, box: SkyBox, n: int) -> tuple[Floats, Floats]:
    low, high = np.sin(np.radians([box.dec_min, box.dec_max]))
    ra = (box.ra_min + box.width * rng.random(n)) % 360.0
    dec = np.degrees(np.arcsin(low + (high - low) * rng.random(n)))
    sky_ra, sky_dec = sky["ra"].to_numpy(), sky["dec"].to_numpy()
    inside = np.flatnonzero(box.contains(sky_ra, sky_dec))
    if len(inside) == 0:
        return ra, dec
    chance = rng.random(n)
    host = rng.choice(inside, size=n)
    distance = np.where(chance < _SHARE_ON_SOURCES, rng.rayleigh(_OFFSET_ARCSEC, n), np.sqrt(rng.uniform(1.0, 16.0, n)))
    on_ra, on_dec = offset_positions(sky_ra[host], sky_dec[host], distance, 2.0 * np.pi * rng.random(n))
    hosted = chance < _SHARE_ON_SOURCES + _SHARE_BESIDE
    return np.where(hosted, on_ra, ra), np.where(hosted, on_dec, dec)


def _detector(ra: Floats, dec: Floats, box: SkyBox) -> dict[str, NDArray[Any]]:
    """Readout channel and pixel of each position, on a mosaic without gaps."""
    x = np.clip((ra - box.ra_min) % 360.0 / box.width, 0.0, 1.0 - 1e-9) * _CHANNELS_A_SIDE
    y = np.clip((dec - box.dec_min) / (box.dec_max - box.dec_min), 0.0, 1.0 - 1e-9) * _CHANNELS_A_SIDE
    xpos, ypos = x % 1.0 * _PIXELS, y % 1.0 * _PIXELS
    edge = np.minimum.reduce([xpos, ypos, _PIXELS - xpos, _PIXELS - ypos])
    rcid = np.floor(x).astype(np.int64) + _CHANNELS_A_SIDE * np.floor(y).astype(np.int64)
    return {"rcid": rcid, "xpos": xpos, "ypos": ypos, "mindtoedge": edge}


def _identifiers(rcid: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Processing and candidate numbers: night, time in it, channel, and for a candidate its number."""
    night, fraction = divmod(JD - _JD_OF_NIGHT_0, 1.0)
    pid = ((int(night) * 100_000 + int(fraction * 1e5)) * 100 + rcid) * 100 + 15
    return {"pid": pid, "candid": pid * 1_000_000 + 15_000 + np.arange(len(rcid))}


def _light(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    magpsf = 20.6 - np.minimum(rng.exponential(1.1, n), 6.0)
    limit = 20.7 + 0.05 * rng.standard_normal(n)
    sigma = np.maximum(0.2 * 10.0 ** (0.4 * (magpsf - limit)), 0.02)
    magap = magpsf + sigma * rng.standard_normal(n)
    score = rng.beta(6.0, 1.6, n)
    return {
        "magpsf": magpsf,
        "sigmapsf": sigma,
        "diffmaglim": limit,
        "magap": magap,
        "sigmagap": 1.3 * sigma,
        "magapbig": magap - 0.02,
        "sigmagapbig": 1.6 * sigma,
        "magdiff": magap - magpsf,
        "magfromlim": limit - magap,
        "isdiffpos": np.where(rng.random(n) < 0.7, "t", "f"),
        "rb": score,
        "drb": np.clip(score + 0.05 * rng.standard_normal(n), 0.0, 1.0),
        "chipsf": rng.gamma(4.0, 0.3, n),
        "scorr": 1.0857 / sigma,
        "fwhm": rng.normal(2.1, 0.2, n),
        "elong": 1.0 + rng.gamma(2.0, 0.06, n),
        "sumrat": np.clip(rng.normal(0.95, 0.06, n), -1.0, 1.0),
        "nneg": rng.integers(0, 6, n),
    }


def _neighbours(rng: np.random.Generator, ra: Floats, dec: Floats, mag: Floats) -> dict[str, NDArray[Any]]:
    """Nearest sources of the reference image and of an optical catalogue."""
    n = len(ra)
    distance = rng.rayleigh(0.8, n)
    near_ra, near_dec = offset_positions(ra, dec, distance, 2.0 * np.pi * rng.random(n))
    columns: dict[str, NDArray[Any]] = {
        "ranr": near_ra,
        "decnr": near_dec,
        "distnr": distance,
        "magnr": mag + rng.normal(0.0, 1.0, n),
        "nmtchps": rng.integers(1, 20, n),
        "ssdistnr": np.where(rng.random(n) < 0.03, rng.uniform(0.0, 30.0, n), MISSING),
        "neargaia": rng.uniform(0.1, 60.0, n),
        "maggaia": rng.uniform(13.0, 20.5, n),
    }
    separation = np.cumsum(rng.gamma(2.0, 2.0, (3, n)), axis=0)
    for rank in range(3):
        red = mag + rng.normal(0.5 * rank, 0.8, n)
        columns |= {
            f"srmag{rank + 1}": red,
            f"sgmag{rank + 1}": red + 0.6,
            f"simag{rank + 1}": red - 0.3,
            f"szmag{rank + 1}": red - 0.4,
            f"sgscore{rank + 1}": rng.random(n),
            f"distpsnr{rank + 1}": separation[rank],
            f"objectidps{rank + 1}": 130_000_000_000_000_000 + rng.integers(0, 10**16, n),
        }
    return columns


def _history(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    detections = rng.geometric(0.2, n)
    return {
        "ndethist": detections,
        "ncovhist": detections + rng.integers(10, 900, n),
        "jdstarthist": JD - np.where(detections > 1, rng.uniform(1.0, 1500.0, n), 0.0),
        "jdendhist": np.full(n, JD),
    }


def _object_id(number: int) -> str:
    letters = ""
    for _ in range(7):
        number, letter = divmod(number, 26)
        letters = chr(ord("a") + letter) + letters
    return "ZTF23" + letters


def __dir__() -> list[str]:
    return sorted(__all__)
