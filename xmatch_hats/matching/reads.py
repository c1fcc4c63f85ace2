"""A catalogue narrowed to some of its partitions, every read of which names its file when it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hats.io import paths
from hats.pixel_math import HealpixPixel
from hats.pixel_tree.pixel_tree import PixelTree
from lsdb.operations.lsdb_ops import FromHealpixMap, SelectPixels

from xmatch_hats.errors import PartitionReadError

if TYPE_CHECKING:
    from lsdb.catalog.dataset.healpix_dataset import HealpixDataset
    from lsdb.operations.operation import Operation

READ_ERRORS = (OSError, EOFError, KeyError, ValueError, pa.ArrowException)
"""What a missing, truncated or altered parquet file raises on its way through pyarrow, pandas and nested-pandas."""


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
    return type(dataset)(_reading(dataset, pixels), narrowed, loading_config=dataset.loading_config)


def pixel_tree(pixels: Sequence[HealpixPixel]) -> PixelTree:
    """Build the tree of some pixels, always in one memory layout.

    LSDB aligns trees by compiled code, and compiles it again, for seconds, for each combination of layouts it meets.
    """
    tree = PixelTree.from_healpix(pixels)
    return PixelTree(np.ascontiguousarray(tree.tree), tree.tree_order)


def _reading(dataset: HealpixDataset, pixels: Sequence[HealpixPixel]) -> Operation:
    operation = dataset._operation
    base = dataset.hc_structure.catalog_base_dir
    if type(operation) is not FromHealpixMap or operation.map_kwargs is not None or base is None:
        return SelectPixels(operation, pixels)
    suffix = dataset.hc_structure.catalog_info.npix_suffix
    # The places also keep the keys of differing selections apart: LSDB numbers tasks by their place in the selection.
    places = [str(paths.pixel_catalog_file(base, pixel, npix_suffix=suffix)) for pixel in pixels]
    return FromHealpixMap(
        read_partition,
        list(pixels),
        *operation.args,
        meta=operation.meta,
        verify_meta=False,
        map_kwargs={"place": places},
        reader=operation.func,
        expected=operation.meta,
        **operation.kwargs,
    )


def read_partition(
    pixel: HealpixPixel,
    *args: Any,
    reader: Callable[..., pd.DataFrame],
    expected: pd.DataFrame,
    place: str,
    **kwargs: Any,
) -> pd.DataFrame:
    """Read one partition.

    Raises
    ------
    PartitionReadError
        The file is missing, damaged, or has other columns than the catalogue says.
    """
    try:
        frame = reader(pixel, *args, **kwargs)
    except READ_ERRORS as error:
        raise PartitionReadError(
            f"partition Norder={pixel.order}, Npix={pixel.pixel} cannot be read: {_one_line(error)}",
            place=place,
            hint="run `xmatch-hats catalog verify` on the copy",
        ) from error
    if list(frame.columns) != list(expected.columns) or not frame.dtypes.equals(expected.dtypes):
        raise PartitionReadError(
            f"partition Norder={pixel.order}, Npix={pixel.pixel} has other columns or types than its catalogue",
            place=place,
            hint="run `xmatch-hats catalog verify` on the copy",
        )
    return frame


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
