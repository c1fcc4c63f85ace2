"""Which content a copy's folder holds, told by a few file states, so that no batch mixes two."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    import lsdb
    import pandas as pd

_WITNESSES = (
    MANIFEST_NAME,
    layout.COLLECTION_FILE,
    *layout.CATALOG_FILES,
    "partition_info.csv",
    "dataset/_common_metadata",
    "dataset/_metadata",
)
"""Files of a copy, or of one of its tables, of which every rewriting touches some."""


def folder_state(folder: Path) -> str:
    """Tell the state of a copy's folder; another one means other content.

    It takes a few dozen file states and reads no file. Replacing the folder, or writing a copy over it, changes it; a
    partition's file that is exchanged by itself does not.

    Parameters
    ----------
    folder : Path
        Of a collection or a bare catalogue; need not exist.

    Returns
    -------
    str
        Hexadecimal.
    """
    digest = hashlib.sha256()
    for name in _witnesses(folder):
        try:
            # The times of a file can be set, that of its last change cannot. A folder's changes with its entries, and
            # those may be anybody's.
            found = os.stat(folder / name)
            own = () if name == "" else (found.st_ctime_ns, found.st_size)
            digest.update(repr((name, found.st_dev, found.st_ino, *own)).encode())
        except OSError:
            continue
    return digest.hexdigest()


def _witnesses(folder: Path) -> Iterator[str]:
    yield ""
    yield from _WITNESSES
    try:
        tables = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return
    for table in tables:
        yield from (f"{table}/{name}" for name in _WITNESSES[1:])


@dataclass(frozen=True)
class StatedReader:
    """Reads partitions of one state of a copy.

    Dask names tasks after what they do: a scheduler that still holds a read of the same path would give its old rows.
    """

    reader: Callable[..., pd.DataFrame]
    state: str

    def __call__(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Read a partition."""
        return self.reader(*args, **kwargs)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        from dask.tokenize import normalize_token

        return (type(self).__name__, normalize_token(self.reader), self.state)


def state_reads(catalog: lsdb.Catalog, state: str) -> lsdb.Catalog:
    """Keep the reads of a freshly opened copy apart from those of any other state of it.

    Parameters
    ----------
    catalog : lsdb.Catalog
        From `LocalCopy.open_lsdb`.
    state : str
        From `folder_state`.
    """
    for dataset in (catalog, catalog.margin):
        keywords = {} if dataset is None else dataset._operation.kwargs
        if "reader" in keywords:
            keywords["reader"] = StatedReader(keywords["reader"], state)
    return catalog
