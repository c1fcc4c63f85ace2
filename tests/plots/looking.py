"""Reading pictures: what is drawn where."""

from __future__ import annotations

import numpy as np

from xmatch_hats.plots.sky import to_plane


def values_at(axes, picture, ra, dec):
    """Values that an image of a map has at positions, shape (n,); masked where nothing is drawn."""
    return values_in(picture, *to_plane(axes, np.asarray(ra, float), np.asarray(dec, float)))


def value_at(axes, picture, ra, dec):
    """The same for one position."""
    return values_at(axes, picture, [ra], [dec])[0]


def values_in(picture, x, y):
    """Values that an image has at points in data coordinates, shape (n,); masked beside it."""
    image = np.ma.asarray(picture.get_array())
    left, right, bottom, top = picture.get_extent()
    height, width = image.shape
    rows = np.floor((np.asarray(y) - bottom) / (top - bottom) * height)
    columns = np.floor((np.asarray(x) - left) / (right - left) * width)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = (np.where(inside, numbers, 0).astype(int) for numbers in (rows, columns))
    found = image[rows if picture.origin == "lower" else height - 1 - rows, columns]
    return np.ma.masked_array(found, np.ma.getmaskarray(found) | ~inside)


def value_in(picture, x, y):
    """The same for one point."""
    return values_in(picture, [x], [y])[0]


def labels(axes):
    """What the legend says."""
    return [text.get_text() for text in axes.get_legend().get_texts()]
