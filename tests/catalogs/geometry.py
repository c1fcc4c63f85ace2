"""Plain geometry for tests: points of discs and caps, and membership of maps looked up point by point."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude
from cdshealpix import vertices

from xmatch_hats import healpix


def offset(ra, dec, distance_deg, angle_rad):
    """Positions at a distance and position angle from one position; poles included."""
    lon, lat = np.radians(ra), np.radians(dec)
    d = np.radians(distance_deg)
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    centre = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    side = np.multiply.outer(np.sin(angle_rad), east) + np.multiply.outer(np.cos(angle_rad), north)
    v = np.cos(d)[..., None] * centre + np.sin(d)[..., None] * side
    return np.degrees(np.arctan2(v[..., 1], v[..., 0])) % 360, np.degrees(
        np.arctan2(v[..., 2], np.hypot(v[..., 0], v[..., 1]))
    )


def disc_points(ra, dec, radius_deg, rng, n=1500):
    """Points all over a disc, a third of them on its edge."""
    share = np.sqrt(rng.random(n))
    share[: n // 3] = 1.0 - 1e-9
    distance = (
        radius_deg * share
        if radius_deg < 30
        else np.degrees(np.arccos(1 - share**2 * (1 - np.cos(np.radians(min(radius_deg, 180))))))
    )
    return offset(ra, dec, distance, rng.uniform(0, 2 * np.pi, n))


def points_near(ra, dec, radius_deg, n, rng):
    return offset(ra, dec, radius_deg * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n))


def in_moc(coverage, ra, dec):
    """Membership as mocpy has it."""
    return coverage.moc.contains_lonlat(Longitude(ra * u.deg), Latitude(dec * u.deg))


def longest_diagonal_deg(coverage):
    """Of the finest cells of a map, over all of them (a thousand at most, which differ little)."""
    finest = np.concatenate(
        list(healpix.cells_in_ranges(coverage.ranges, coverage.order)) or [np.zeros(1, dtype=np.int64)]
    )
    lon, lat = vertices(finest[:: max(1, len(finest) // 1000)].astype(np.uint64), coverage.order)
    x, y, z = np.cos(lat.rad) * np.cos(lon.rad), np.cos(lat.rad) * np.sin(lon.rad), np.sin(lat.rad)
    v = np.stack((x, y, z), axis=-1)
    chord = max(np.linalg.norm(v[:, 0] - v[:, 2], axis=-1).max(), np.linalg.norm(v[:, 1] - v[:, 3], axis=-1).max())
    return float(np.degrees(2 * np.arcsin(min(1.0, chord / 2))))
