"""Reading pictures: what is drawn where."""

from __future__ import annotations

import numpy as np

from xmatch_hats.plots.sky import to_plane


def value_at(axes, picture, ra, dec):
    """Value that an image of a map has at a position; masked where nothing is drawn."""
    (x,), (y,) = to_plane(axes, np.array([ra]), np.array([dec]))
    return value_in(picture, x, y)


def value_in(picture, x, y):
    """Value that an image has at a point in data coordinates."""
    image = picture.get_array()
    left, right, bottom, top = picture.get_extent()
    height, width = image.shape
    row = int((y - bottom) / (top - bottom) * height)
    column = int((x - left) / (right - left) * width)
    return image[row if picture.origin == "lower" else height - 1 - row, column]


def labels(axes):
    """What the legend says."""
    return [text.get_text() for text in axes.get_legend().get_texts()]
