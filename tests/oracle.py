"""Brute force: every pair of two small skies, in blocks, in float64. It shares no code with the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ARCSEC = 180.0 * 3600.0 / np.pi


@dataclass
class Pairs:
    left: np.ndarray
    right: np.ndarray
    sep_arcsec: np.ndarray

    def __len__(self) -> int:
        return len(self.left)


def xyz(ra, dec):
    lon, lat = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)


def brute_force(
    left_ra,
    left_dec,
    right_ra,
    right_dec,
    radius_arcsec,
    *,
    min_radius_arcsec=0.0,
    k=None,
    ids=None,
    block=2000,
) -> Pairs:
    """All pairs with separation <= radius (and > a minimum where one is set), sorted by left row, separation, id.

    k keeps the k nearest of each left row (None: all). Ties go to the smaller id (default: the right row number).
    """
    a, b = xyz(left_ra, left_dec), xyz(right_ra, right_dec)
    ids = np.arange(len(b)) if ids is None else np.asarray(ids)
    # Every pair's chord is looked at; the costly arc is taken of those that are not clearly too far.
    chord = 2 * np.sin(min(radius_arcsec / ARCSEC, np.pi) / 2)
    lefts, rights, seps = [], [], []
    for start in range(0, len(a), block):
        part = a[start : start + block]
        squared = sum((part[:, None, axis] - b[None, :, axis]) ** 2 for axis in range(3))
        i, j = np.nonzero(squared <= (chord * (1 + 1e-6) + 1e-12) ** 2)
        d = part[i] - b[j]
        sep = 2 * np.arcsin(np.minimum(np.sqrt((d * d).sum(-1)) / 2, 1.0)) * ARCSEC
        keep = sep <= radius_arcsec
        if min_radius_arcsec > 0:
            keep &= sep > min_radius_arcsec
        lefts.append(i[keep] + start), rights.append(j[keep]), seps.append(sep[keep])
    left, right, sep = (np.concatenate(x) if x else np.empty(0) for x in (lefts, rights, seps))
    left, right = left.astype(np.int64), right.astype(np.int64)
    order = np.lexsort((ids[right], sep, left))
    left, right, sep = left[order], right[order], sep[order]
    if k is not None and len(left):
        starts = np.r_[0, np.flatnonzero(np.diff(left)) + 1]
        rank = np.arange(len(left)) - np.repeat(starts, np.diff(np.r_[starts, len(left)]))
        keep = rank < k
        left, right, sep = left[keep], right[keep], sep[keep]
    return Pairs(left, right, sep)
