"""What tables of an image pipeline should match with, by astropy, and what files of matches hold."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table

from xmatch_hats.matching.targets import CatalogTarget

RADIUS = 2.0


def target(copy, *columns, name="stars", radius=RADIUS):
    return CatalogTarget(copy, name=name, radius_arcsec=radius, columns=columns or None)


def brute(table, columns, radius=RADIUS):
    """All pairs by astropy: rows, rows of the catalogue, arcsec; the nearest of a row first."""
    left = SkyCoord(columns["X_WORLD"], columns["Y_WORLD"], unit="deg")
    right = SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")
    i, j, separation, _ = search_around_sky(left, right, radius * u.arcsec)
    order = np.lexsort((separation, i))
    return i[order], j[order], separation.arcsec[order]


def nearest(table, columns, radius=RADIUS):
    i, j, separation = brute(table, columns, radius)
    first = np.r_[True, i[1:] != i[:-1]] if len(i) else np.empty(0, bool)
    return i[first], j[first], separation[first]


def statuses(data) -> list[str]:
    return [text.strip() for text in data["status"]]


def matched_of(path):
    """Rows of the extension, as a table that does not need the file any more."""
    return Table.read(path, hdu="MATCHED", format="fits")
