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
    lefts, rights, seps = [], [], []
    for start in range(0, len(a), block):
        d = a[start : start + block, None, :] - b[None, :, :]
        sep = 2 * np.arcsin(np.minimum(np.sqrt((d * d).sum(-1)) / 2, 1.0)) * ARCSEC
        keep = sep <= radius_arcsec
        if min_radius_arcsec > 0:
            keep &= sep > min_radius_arcsec
        i, j = np.nonzero(keep)
        lefts.append(i + start), rights.append(j), seps.append(sep[i, j])
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
