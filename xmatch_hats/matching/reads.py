"""A catalogue narrowed to some of its partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from hats.pixel_math import HealpixPixel
from hats.pixel_tree.pixel_tree import PixelTree

from xmatch_hats.catalogs.partition_reads import reading

if TYPE_CHECKING:
    from lsdb.catalog.dataset.healpix_dataset import HealpixDataset


def narrow(dataset: HealpixDataset, pixels: Sequence[HealpixPixel]) -> HealpixDataset:
    """Narrow a catalogue or a margin to whole partitions, and to nothing less than whole partitions.

    LSDB's own searches would narrow the margin by the region of the main table and lose the rows just outside it.

    Parameters
    ----------
    dataset : lsdb.Catalog or lsdb margin catalogue
    pixels : sequence of HealpixPixel
        Which of its partitions to keep.

    Returns
    -------
    HealpixDataset
        Of the same class, without a map of its rows: the partitions are all there is to align.
    """
    structure = dataset.hc_structure
    narrowed = type(structure)(
        structure.catalog_info.copy_and_update(total_rows=None),
        pixel_tree(pixels),
        catalog_path=structure.catalog_path,
        schema=structure.schema,
    )
    return type(dataset)(reading(dataset, pixels), narrowed, loading_config=dataset.loading_config)


def pixel_tree(pixels: Sequence[HealpixPixel]) -> PixelTree:
    """Build the tree of some pixels, always in one memory layout.

    LSDB aligns trees by compiled code, and compiles it again, for seconds, for each combination of layouts it meets.
    """
    tree = PixelTree.from_healpix(pixels)
    return PixelTree(np.ascontiguousarray(tree.tree), tree.tree_order)
