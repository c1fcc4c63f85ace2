"""Reads of partitions through LSDB that name the file when they fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from hats.io import paths
from hats.pixel_math import HealpixPixel
from lsdb.operations.lsdb_ops import FromHealpixMap, SelectPixels

from xmatch_hats.errors import PartitionReadError

if TYPE_CHECKING:
    import lsdb
    from lsdb.catalog.dataset.healpix_dataset import HealpixDataset
    from lsdb.operations.operation import Operation

READ_ERRORS = (OSError, EOFError, KeyError, ValueError, pa.ArrowException)
"""What a missing, truncated or altered parquet file raises on its way through pyarrow, pandas and nested-pandas."""


def name_reads(catalog: lsdb.Catalog) -> lsdb.Catalog:
    """Make every read of a freshly opened catalogue and its margin name its file, whatever is done to them later."""
    for dataset in (catalog, catalog.margin):
        if dataset is not None:
            # In place: LSDB's own way to change an operation forgets the number of rows and the schema.
            dataset._operation = reading(dataset, dataset.get_healpix_pixels())
    return catalog


def reading(dataset: HealpixDataset, pixels: Sequence[HealpixPixel]) -> Operation:
    """Operation that reads some partitions of a catalogue or a margin; of one that was changed, what makes them."""
    operation = dataset._operation
    base = dataset.hc_structure.catalog_base_dir
    if type(operation) is not FromHealpixMap or base is None:
        return SelectPixels(operation, pixels)
    is_named = operation.func is read_partition
    if operation.map_kwargs is not None and not is_named:
        return SelectPixels(operation, pixels)
    suffix = dataset.hc_structure.catalog_info.npix_suffix
    # The places also keep the keys of differing selections apart: LSDB numbers tasks by their place in the selection.
    places = [str(paths.pixel_catalog_file(base, pixel, npix_suffix=suffix)) for pixel in pixels]
    named = {} if is_named else {"reader": operation.func, "expected": operation.meta}
    return FromHealpixMap(
        read_partition,
        list(pixels),
        *operation.args,
        meta=operation.meta,
        verify_meta=False,
        map_kwargs={"place": places},
        **named,
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
        if os.path.isdir(place) and not os.listdir(place):
            # A partition may be a folder of files; one without any would be read as no rows.
            raise FileNotFoundError("it is an empty folder")
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
