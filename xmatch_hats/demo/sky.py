"""A made-up infrared sky with the columns of ALLWISE: nobody's data, the same for the same seed.

It has what trips a crossmatch: crowded and empty places, sources without 2MASS counterpart, upper limits, identifiers
that no float can hold, and, where the box asks for it, the seam at RA 0 and the poles.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.demo import photometry as phot
from xmatch_hats.demo.letters import designations, text_array
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.search import Box

__all__ = ["WHOLE_SKY", "SkyBox", "make_sky", "offset_positions"]

Floats = NDArray[np.float64]

_COMPONENTS = (0.68, 0.24, 0.08)
"""Shares of the smooth field, of the dense strip, and of the clusters."""
_CLOUD_TRANSPARENCY = 0.1
_TILE_DEG = 1.5


class SkyBox(Box):
    """A box in right ascension and declination, eastward from `ra_min`: through 0 where that exceeds `ra_max`."""

    @property
    def area_deg2(self) -> float:
        """Solid angle in square degrees."""
        height = np.sin(np.radians(self.dec_max)) - np.sin(np.radians(self.dec_min))
        return float(self.width * np.degrees(height))

    @property
    def centre(self) -> tuple[float, float]:
        """RA and Dec of the middle, in degrees."""
        return (self.ra_min + self.width / 2) % 360.0, (self.dec_min + self.dec_max) / 2


WHOLE_SKY = SkyBox(0.0, 360.0, -90.0, 90.0)


def make_sky(rows: int, *, seed: int = 0, box: SkyBox = WHOLE_SKY, part: int = 0) -> pa.Table:
    """Make a catalogue with the default columns of the ALLWISE definition.

    Memory is about 800 bytes a row while it is made, and half of that after. Larger skies are made in parts: boxes
    side by side, each with its own `part`.

    Parameters
    ----------
    rows : int
        Number of sources; ALLWISE has 18,100 per square degree.
    seed : int
        Same seed, same sky.
    box : SkyBox
        Where the sources lie.
    part : int
        Number of this part of a larger sky, 0 to 99, which keeps identifiers apart.

    Returns
    -------
    pyarrow.Table
        `rows` rows in the order of survey tiles; canonical names; unit, UCD and description in the field metadata.

    Raises
    ------
    UsageError
        A negative number of rows, or a part out of range.
    """
    from xmatch_hats.catalogs.definition import load_definition

    if rows < 0 or not 0 <= part <= 99:
        raise UsageError("a sky needs rows >= 0 and a part of 0...99", value=(rows, part))
    rng = np.random.default_rng([seed, part])
    ra, dec, crowded = _draw_positions(rng, rows, box)
    tiles, numbers, order = _survey_tiles(ra, dec)
    ra, dec, crowded = ra[order], dec[order], crowded[order]
    columns = _columns(rng, ra, dec, crowded)
    columns["cntr"] = _identifiers(tiles, numbers, part)
    definition = load_definition("allwise")
    fields = [definition.field(name) for name in definition.default_columns]
    arrays = [_arrow(columns[field.name], field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _draw_positions(rng: np.random.Generator, rows: int, box: SkyBox) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Draw until enough lie in the box and outside the dark cloud, which lets a tenth through."""
    parts: list[tuple[Floats, Floats, NDArray[np.bool_]]] = []
    clusters = _draw_clusters(rng, box)
    missing = rows
    while missing > 0 or not parts:
        n = int(missing * 1.3) + 1000
        kinds = rng.choice(3, size=n, p=_COMPONENTS)
        ra, dec = _draw_field(rng, n, box)
        strip, cluster = kinds == 1, kinds == 2
        dec[strip] = _strip_dec(rng, ra[strip], box)
        ra[cluster], dec[cluster] = _draw_members(rng, int(cluster.sum()), clusters)
        # The grid of the archive: seven decimals.
        ra, dec = np.round(ra, 7) % 360.0, np.round(dec, 7)
        kept = np.flatnonzero(box.contains(ra, dec) & _passes_cloud(rng, ra, dec, box))[:missing]
        parts.append((ra[kept], dec[kept], (kinds > 0)[kept]))
        missing -= len(kept)
    ra, dec, crowded = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ra, dec, crowded


def _draw_field(rng: np.random.Generator, n: int, box: SkyBox) -> tuple[Floats, Floats]:
    low, high = np.sin(np.radians([box.dec_min, box.dec_max]))
    ra = box.ra_min + box.width * rng.random(n)
    return ra % 360.0, np.degrees(np.arcsin(low + (high - low) * rng.random(n)))


def _strip_dec(rng: np.random.Generator, ra: Floats, box: SkyBox) -> Floats:
    """Declinations about a slanted line through the box, as the plane of the Galaxy crosses a field."""
    height = box.dec_max - box.dec_min
    along = (ra - box.ra_min) % 360.0 / box.width
    return box.dec_min + height * (0.15 + 0.5 * along + 0.04 * rng.standard_normal(len(ra)))


def _draw_clusters(rng: np.random.Generator, box: SkyBox) -> tuple[Floats, Floats, Floats]:
    """Centres, in degrees, and core radii, in radians: one for about eight square degrees, a hundred at most."""
    number = int(np.clip(box.area_deg2 / 8.0, 1, 100))
    ra, dec = _draw_field(rng, number, box)
    return ra, dec, np.radians(rng.uniform(0.03, 0.10, number))


def _draw_members(rng: np.random.Generator, n: int, clusters: tuple[Floats, Floats, Floats]) -> tuple[Floats, Floats]:
    """Members with the surface density of Plummer's sphere, set on the tangent plane of their cluster."""
    which = rng.integers(0, len(clusters[0]), n)
    ra, dec, core = (column[which] for column in clusters)
    share = 0.97 * rng.random(n)  # cut where a cluster fades into the field
    radius, angle = core * np.sqrt(share / (1.0 - share)), 2.0 * np.pi * rng.random(n)
    return offset_positions(ra, dec, np.degrees(radius) * 3600.0, angle)


def _passes_cloud(rng: np.random.Generator, ra: Floats, dec: Floats, box: SkyBox) -> NDArray[np.bool_]:
    """Thin out an ellipse in the upper east of the box, like a dark cloud."""
    x = (ra - box.ra_min) % 360.0 / box.width
    y = (dec - box.dec_min) / (box.dec_max - box.dec_min)
    inside = ((x - 0.75) / 0.15) ** 2 + ((y - 0.80) / 0.10) ** 2 < 1.0
    return ~inside | (rng.random(len(ra)) < _CLOUD_TRANSPARENCY)


def offset_positions(ra: Floats, dec: Floats, distance_arcsec: Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Positions at a distance and position angle from others, exact at the poles too.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Degrees.
    distance_arcsec : ndarray of float64, shape (n,)
    angle : ndarray of float64, shape (n,)
        Radians, from north through east.

    Returns
    -------
    ra, dec : ndarray of float64, shape (n,)
        Degrees, 0 <= ra < 360.
    """
    lon, lat, arc = np.radians(ra), np.radians(dec), np.radians(distance_arcsec / 3600.0)
    north, east = np.sin(arc) * np.cos(angle), np.sin(arc) * np.sin(angle)
    inward = np.cos(arc) * np.cos(lat) - north * np.sin(lat)
    upward = np.cos(arc) * np.sin(lat) + north * np.cos(lat)
    new_ra = np.degrees(lon + np.arctan2(east, inward)) % 360.0
    # A tiny negative angle becomes 360 itself by the rounding of the modulus.
    return np.where(new_ra >= 360.0, 0.0, new_ra), np.degrees(np.arctan2(upward, np.hypot(inward, east)))


def _survey_tiles(ra: Floats, dec: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Tile of each source, its running number in the tile, and the order that brings them so.

    A tile is named by the tenths of degrees of its corner: RA, then a digit for the sign of Dec, then Dec.
    """
    corner_ra = (np.floor(ra / _TILE_DEG) * _TILE_DEG * 10.0).astype(np.int64)
    corner_dec = (np.floor(np.abs(dec) / _TILE_DEG) * _TILE_DEG * 10.0).astype(np.int64)
    tiles = corner_ra * 10_000 + (dec >= 0) * 1_000 + corner_dec
    order = np.argsort(tiles, kind="stable")
    tiles = tiles[order]
    first = np.r_[True, tiles[1:] != tiles[:-1]][: len(tiles)]
    starts = np.flatnonzero(first)
    numbers = np.arange(len(tiles)) - np.repeat(starts, np.diff(np.r_[starts, len(tiles)]))
    return tiles, numbers + 1, order


def _identifiers(tiles: NDArray[np.int64], numbers: NDArray[np.int64], part: int) -> NDArray[np.int64]:
    """Tile, version and running number in one integer of 17 to 19 digits, like the archive's ``cntr``.

    The RA of a tile counts from 100 here, so that every identifier needs more than the 53 bits of a float.
    """
    return ((tiles + 1_000_000) * 100_000 + (1_300 + part) % 100_000) * 1_000_000 + numbers


def _columns(
    rng: np.random.Generator, ra: Floats, dec: Floats, crowded: NDArray[np.bool_]
) -> dict[str, NDArray | pa.Array]:
    n = len(ra)
    w1 = phot.draw_w1(rng, n)
    kinds = phot.draw_populations(rng, w1, crowded)
    bands = phot.wise_bands(rng, w1, kinds)
    columns: dict[str, NDArray | pa.Array] = {"designation": designations(ra, dec), "ra": ra, "dec": dec}
    columns |= _astrometry(rng, bands[0].snr, kinds)
    for number, band in enumerate(bands, start=1):
        columns |= {
            f"w{number}mpro": band.mag,
            f"w{number}sigmpro": band.error,
            f"w{number}snr": band.snr,
            f"w{number}rchi2": band.rchi2,
        }
    blended = rng.random(n) < np.where(crowded, 0.25, 0.10)
    columns["nb"] = 1 + blended.astype(np.int32) * (1 + (rng.random(n) < 0.2))
    columns["na"] = (blended & (rng.random(n) < 0.3)).astype(np.int32)
    columns["cc_flags"] = text_array(phot.confusion_letters(rng, crowded))
    columns["ext_flg"] = phot.extension_flags(bands, kinds, w1)
    columns["var_flg"] = text_array(phot.variability_letters(rng, bands))
    columns["ph_qual"] = text_array(phot.quality_letters(bands))
    moonlit = np.minimum(rng.geometric(0.8, (n, 4)) - 1, 9) * (rng.random((n, 1)) < 0.15)
    columns["moon_lev"] = text_array((moonlit + ord("0")).astype(np.uint8))
    return columns | phot.two_mass(rng, w1, kinds)


def _astrometry(rng: np.random.Generator, snr: Floats, kinds: NDArray[np.int8]) -> dict[str, Floats]:
    """Errors of position that grow as the signal fades, and the apparent motion that such errors leave."""
    n = len(snr)
    sigma = np.hypot(0.034, 1.25 / np.maximum(snr, 1.5))
    sigra, sigdec = sigma * rng.uniform(0.97, 1.03, n), sigma * rng.uniform(0.97, 1.06, n)
    correlation = 0.12 * rng.standard_normal(n)
    columns = {
        "sigra": np.round(sigra, 4),
        "sigdec": np.round(sigdec, 4),
        "sigradec": np.round(np.sign(correlation) * np.sqrt(np.minimum(np.abs(correlation), 0.9) * sigra * sigdec), 4),
    }
    # Half a year between the two epochs: an error of position becomes one of motion twice as large per year, and more.
    measured = rng.random(n) < np.where(snr > 5.0, 0.995, 0.85)
    for axis, sigma_axis in (("ra", sigra), ("dec", sigdec)):
        error = 30.0 + 1200.0 * sigma_axis
        motion = error * rng.standard_normal(n) + np.where(kinds == phot.STAR, 15.0, 0.0) * rng.standard_normal(n)
        columns[f"pm{axis}"] = np.where(measured, np.round(motion), np.nan)
        columns[f"sigpm{axis}"] = np.where(measured, np.round(error), np.nan)
    return columns


def _arrow(values: NDArray | pa.Array, kind: pa.DataType) -> pa.Array:
    """Arrow array of a column's type, NaN become null."""
    if isinstance(values, pa.Array):
        return values.cast(kind)
    if not np.issubdtype(values.dtype, np.floating):
        return pa.array(values).cast(kind)
    missing = np.isnan(values)
    if pa.types.is_floating(kind):
        return pa.array(values, kind, mask=missing)
    return pa.array(np.where(missing, 0.0, values).astype(np.int64), mask=missing).cast(kind)


def __dir__() -> list[str]:
    return sorted(__all__)
