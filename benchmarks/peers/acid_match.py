"""ACID (``pyacid``): queries over HATS with Polars, on a pool of worker processes that is kept between queries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

import pyarrow as pa
from astropy import units as u

DISTANCE = "dist_arcsec"
TOLERANCE_ARCSEC = 1e-6
TABLE_PARTITIONS = 32


def is_there() -> bool:
    """Whether it is installed."""
    from importlib.util import find_spec

    return find_spec("acid") is not None


class Acid:
    """A connection with two workers."""

    def __init__(self, workers: int = 2) -> None:
        # Its own thread pools would fight over the two cores.
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
        import acid

        self._connection = acid.Connection([], workers=workers, progress=False)

    def catalogs(
        self, left: tuple[Path, Sequence[str]], right: tuple[Path, Sequence[str]], radius_arcsec: float = 1.0
    ) -> pa.Table:
        """Match two HATS catalogues; the answer in memory."""
        here, there = (self._connection.open(str(path)) for path, _ in (left, right))
        return self._match(here, there, (left[1], right[1]), radius_arcsec).to_arrow()

    def tables(
        self,
        left: tuple[Path, Sequence[str]],
        right: tuple[Path, Sequence[str]],
        out: Path,
        radius_arcsec: float = 1.0,
    ) -> None:
        """Match two parquet files, and write the answer as parquet.

        It would cut each table into 2,048 partitions, however small: minutes for what takes seconds in a few.
        """
        from acid.api import _virtual

        few = partial(_virtual.build_virtual_spec, max_partitions=TABLE_PARTITIONS)
        with patch.object(_virtual, "build_virtual_spec", few):
            here, there = (self._connection.open(str(path), ra="ra", dec="dec") for path, _ in (left, right))
        self._match(here, there, (left[1], right[1]), radius_arcsec).export(out)

    def _match(self, left: Any, right: Any, columns: tuple[Sequence[str], Sequence[str]], radius_arcsec: float) -> Any:
        joined = left.crossmatch(right, radius=radius_arcsec * u.arcsec, dist_col=DISTANCE, suffix="_right")
        names = [f"{name}_right" if name in ("ra", "dec") else name for name in columns[1]]
        return joined.select(*columns[0], *names, DISTANCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
