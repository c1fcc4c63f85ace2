"""Where an image lies on the sky, and which positions lie within its edges.

Pixels are looked for by the way from pixels to the sky alone, which a WCS knows exactly within its image. Its own way
back fails here and there far from the image, where the polynomials of a distortion mean nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.errors import ImageError
from xmatch_hats.matching.search import Cone
from xmatch_hats.sphere import ARCSEC_PER_RADIAN, unit_vectors

__all__ = ["Footprint", "around"]

Floats = NDArray[np.float64]

_EDGE_POINTS = 128
"""Points along each edge by which the circle around the image is drawn."""
_SEEDS = 17
"""Points along each side of the grid from which pixels are looked for."""
_STEPS = 30
_CLOSE_PIXELS = 1e-7
_BORDER_PIXELS = 1e-6
"""Rounding that is allowed at the edges."""
_HALF_TURN_ARCSEC = 180.0 * 3600.0
_DEPTH = 8
"""How often a piece of the image is divided that lies near the border of a coverage."""


class Footprint:
    """The part of the sky that an image shows: its pixels, each in whole, and nothing beyond.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Two celestial axes, equatorial, in ICRS or FK5 at J2000.
    width, height : int
        Pixels along the first and the second axis of the WCS.
    place : str
        What errors call the image.

    Raises
    ------
    ImageError
        The WCS gives no position for some pixel of the image, or pixels no area.
    """

    def __init__(self, wcs: Any, width: int, height: int, place: str = "image") -> None:
        self.wcs, self.width, self.height, self.place = wcs, width, height, place
        if not np.isfinite(self._edge).all() or not np.isfinite(self._seeds[1]).all():
            raise ImageError("its WCS gives no position for some of its pixels", place=place)
        x, y = width / 2.0, height / 2.0
        here, right, up = self._sky(np.array([x, x + 1.0, x]), np.array([y, y, y + 1.0]))
        sides = float(np.linalg.norm(right - here) * np.linalg.norm(up - here))
        if not float(np.linalg.norm(np.cross(right - here, up - here))) > 1e-6 * sides:
            raise ImageError("its WCS gives its pixels no area on the sky", place=place)

    @cached_property
    def circle(self) -> Cone:
        """A circle that holds the whole image."""
        edge = self._edge
        between = float(np.linalg.norm(np.diff(edge, axis=0), axis=1).max())
        return _circle(np.concatenate((edge, self._seeds[1])), 2.0 * np.arcsin(min(1.0, between / 2.0)))

    def contains(self, ra: Floats, dec: Floats) -> NDArray[np.bool_]:
        """Tell which positions lie within the edges of the image.

        Parameters
        ----------
        ra, dec : ndarray of float, shape (n,)
            Degrees.

        Returns
        -------
        ndarray of bool, shape (n,)
            True where the pixel position is from half a pixel before the centre of the first pixel to half a pixel
            behind the centre of the last one, along both axes. No pad is added.
        """
        inside = self.circle.contains(ra, dec)
        near = np.flatnonzero(inside)
        inside[near] = self._within(self._pixels(ra[near], dec[near]), _BORDER_PIXELS)
        return inside

    def is_covered(self, coverage: Coverage) -> bool:
        """Whether the whole image lies in a coverage, and keeps some distance from its border.

        That distance is a cell of the map, and a 256th of the image.
        """
        circle = self.circle
        if coverage.contains_discs([circle.ra], [circle.dec], circle.radius_arcsec)[0]:
            return True
        boxes = np.array([[-0.5, self.width - 0.5, -0.5, self.height - 0.5]])
        for _ in range(_DEPTH):
            x = np.stack([boxes[:, 0], boxes[:, :2].mean(axis=1), boxes[:, 1]], axis=1)
            y = np.stack([boxes[:, 2], boxes[:, 2:].mean(axis=1), boxes[:, 3]], axis=1)
            points = self._sky(np.repeat(x, 3, axis=1).ravel(), np.tile(y, 3).ravel()).reshape(-1, 9, 3)
            middle = points[:, 4]
            chord = np.linalg.norm(points - middle[:, None], axis=-1).max()
            # The edges of a piece may bulge a little between the points.
            radius = 2.0 * np.arcsin(min(1.0, 1.05 * chord / 2.0)) * ARCSEC_PER_RADIAN
            ra, dec = _angles(middle)
            open_ = ~coverage.contains_discs(ra, dec, radius)
            if not open_.any():
                return True
            if not coverage.contains_discs(ra[open_], dec[open_], 0.0).all():
                return False
            boxes = _quarters(boxes[open_])
        return False

    @cached_property
    def _edge(self) -> Floats:
        """Unit vectors around the image, once round, shape (n, 3)."""
        along = np.linspace(0.0, 1.0, _EDGE_POINTS)
        x, y = along * self.width - 0.5, along * self.height - 0.5
        first, last = np.full(_EDGE_POINTS, -0.5), np.ones(_EDGE_POINTS)
        right, top = last * (self.width - 0.5), last * (self.height - 0.5)
        return self._sky(np.concatenate((x, right, x[::-1], first)), np.concatenate((first, y, top, y[::-1])))

    @cached_property
    def _seeds(self) -> tuple[Floats, Floats]:
        """Pixel positions spread over the image, shape (n, 2), and their unit vectors, shape (n, 3)."""
        along = np.linspace(0.0, 1.0, _SEEDS)
        x, y = (grid.ravel() for grid in np.meshgrid(along * self.width - 0.5, along * self.height - 0.5))
        return np.stack((x, y), axis=-1), self._sky(x, y)

    @cached_property
    def _tree(self) -> Any:
        return cKDTree(self._seeds[1])

    def _sky(self, x: Floats, y: Floats) -> Floats:
        """Unit vectors of pixel positions counted from 0, shape (n, 3)."""
        with np.errstate(all="ignore"):
            ra, dec = self.wcs.all_pix2world(x, y, 0)
        return np.asarray(unit_vectors(ra, dec))

    def _pixels(self, ra: Floats, dec: Floats) -> Floats:
        """Pixel positions of positions near the image, shape (n, 2); NaN where there is none near it."""
        wanted = unit_vectors(ra, dec)
        if len(wanted) == 0:
            return np.empty((0, 2))
        pixels = self._seeds[0][self._tree.query(wanted)[1]].copy()
        # Far from the image a distortion is no guide: nobody goes there.
        room = 0.05 * np.array([self.width, self.height]) + 4.0
        lowest, highest = -0.5 - room, np.array([self.width, self.height]) - 0.5 + room
        moving = np.arange(len(wanted))
        for _ in range(_STEPS):
            step = self._newton(pixels[moving], wanted[moving])
            before = pixels[moving]
            pixels[moving] = np.clip(before + step, lowest, highest)
            far = ~(np.abs(pixels[moving] - before).max(axis=1) <= _CLOSE_PIXELS)
            moving = moving[far]
            if len(moving) == 0:
                break
        pixels[moving] = self._astropy_pixels(ra[moving], dec[moving])
        # Where somebody stopped elsewhere, there is no way there.
        pixel = np.linalg.norm(np.diff(self._sky(np.array([0.0, 1.0]), np.zeros(2)), axis=0))
        off = np.linalg.norm(self._sky(*pixels.T) - wanted, axis=1)
        pixels[~(off < 0.01 * pixel)] = np.nan
        return pixels

    def _newton(self, pixels: Floats, wanted: Floats) -> Floats:
        """Steps towards unit vectors, from the slopes of the sky along both axes, pixels."""
        here = self._sky(*pixels.T)
        right = self._sky(pixels[:, 0] + 0.5, pixels[:, 1]) - here
        up = self._sky(pixels[:, 0], pixels[:, 1] + 0.5) - here
        rest = wanted - here
        a, b, c = (np.einsum("ij,ij->i", *pair) for pair in ((right, right), (right, up), (up, up)))
        p, q = np.einsum("ij,ij->i", right, rest), np.einsum("ij,ij->i", up, rest)
        with np.errstate(all="ignore"):
            steps = 0.5 * np.stack((c * p - b * q, a * q - b * p), axis=-1) / (a * c - b * b)[:, None]
        return np.where(np.isfinite(steps), steps, 0.0)

    def _astropy_pixels(self, ra: Floats, dec: Floats) -> Floats:
        """What the WCS itself says, of the few positions that its slopes lead nowhere."""
        from astropy.wcs import NoConvergence

        if len(ra) == 0:
            return np.empty((0, 2))
        try:
            return np.stack(self.wcs.all_world2pix(ra, dec, 0, quiet=True), axis=-1)
        except (NoConvergence, ValueError):
            return np.full((len(ra), 2), np.nan)

    def _within(self, pixels: Floats, slack: float) -> NDArray[np.bool_]:
        x, y = pixels.T
        in_x = (x >= -0.5 - slack) & (x <= self.width - 0.5 + slack)
        return in_x & (y >= -0.5 - slack) & (y <= self.height - 0.5 + slack)


def around(circles: list[Cone]) -> Cone:
    """A circle that holds others."""
    if len(circles) == 1:
        return circles[0]
    centres = unit_vectors(np.array([c.ra for c in circles]), np.array([c.dec for c in circles]))
    return _circle(centres, max(c.radius_arcsec for c in circles) / ARCSEC_PER_RADIAN)


def _circle(points: Floats, pad_rad: float) -> Cone:
    """A circle that holds points with a pad around each."""
    middle = points.mean(axis=0)
    length = float(np.linalg.norm(middle))
    if length < 1e-3:
        return Cone(0.0, 90.0, _HALF_TURN_ARCSEC)
    middle /= length
    reach = 2.0 * np.arcsin(np.minimum(1.0, np.linalg.norm(points - middle, axis=1) / 2.0)).max()
    radius = float(reach + pad_rad + 1e-9) * ARCSEC_PER_RADIAN
    ra, dec = _angles(middle[None])
    # Of a region wider than half the sky a circle around its border may be its outside.
    return Cone(float(ra[0]), float(dec[0]), _HALF_TURN_ARCSEC if radius > _HALF_TURN_ARCSEC / 2.0 else radius)


def _angles(vectors: Floats) -> tuple[Floats, Floats]:
    x, y, z = vectors.T
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def _quarters(boxes: Floats) -> Floats:
    x0, x1, y0, y1 = boxes.T
    x, y = (x0 + x1) / 2.0, (y0 + y1) / 2.0
    parts = ((x0, x, y0, y), (x, x1, y0, y), (x0, x, y, y1), (x, x1, y, y1))
    return np.concatenate([np.stack(part, axis=-1) for part in parts])


def __dir__() -> list[str]:
    return sorted(__all__)
