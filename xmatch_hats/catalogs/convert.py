"""From parts in canonical columns to a HATS collection with a margin cache, by hats-import on Dask.

How a copy is laid out, and why:

- **Partitions of at most 131,072 rows.** A stream's batch is an exposure: 1,000 alerts over 47 square degrees touch
  nearly every order-8 cell in them, so whole partitions are read whatever their size, and what counts is that no rows
  far outside are read with them, and that there are enough partitions to share between workers. At ALLWISE's mean
  density this gives order 5 (3.4 square degrees, 61,000 rows, 26 partitions for an exposure), in the Galactic plane
  order 6 or 7. hats-import's million rows would be order 3: two to four partitions of 53 square degrees for the same
  exposure, more rows than needed and no way to split them.
- **Row groups of 8,192 rows.** Positions are read whole, but of the other columns only the rows that matched: these are
  read by row group. Smaller groups cost more in footers and compression than they save.
- **LZ4.** With columns encoded by what they hold it takes a tenth more bytes than zstd and 30 % less time to read, and
  a copy is read far more often than it is written or sent.
- **Sorted by ``_healpix_29``, ties by id**, so that the engine searches by bisection and the same input gives the same
  bytes whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmatch_hats import __version__
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.intake import COUNT_ORDER, Intake, merge_counts
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.margins import MarginPlan, build_margin, finish_margin
from xmatch_hats.catalogs.sources import ImportPlan
from xmatch_hats.errors import CatalogError, UsageError

log = logging.getLogger(__name__)

PARTITION_ROWS = 131_072
ROW_GROUP_ROWS = 8_192
COMPRESSION: dict[str, Any] = {"compression": "lz4"}

LOWEST_COUNT_ORDER = 5
"""Lowest order of hats-import's row counts, which also become the copy's density map (98 kB at order 5)."""

FINEST_MARGIN_ORDER = 16
"""Cells of 3 arcsec. A ring of finer ones around a base cell would be millions of cells, for hardly fewer rows."""

PROCESS_BYTES = 1 << 30
"""Sources larger than this are worth worker processes: they cost nine seconds and a fifth more processor time, and the
work of threads is mostly Arrow's and NumPy's, done without Python's lock."""


@dataclass(frozen=True)
class Layout:
    """How finely a copy is cut."""

    count_order: int
    """Order in which rows are counted; no partition is finer."""
    partition_rows: int
    """Most rows of a partition."""


def choose_layout(
    counted: tuple[NDArray[np.int64], NDArray[np.int64]], partition_rows: int, margin_arcsec: float
) -> Layout:
    """Cut just as finely as the densest place needs.

    Parameters
    ----------
    counted : tuple of ndarray
        Occupied cells of order `COUNT_ORDER` and their rows.
    partition_rows : int
        Most rows wanted in a partition.
    margin_arcsec : float

    Notes
    -----
    A margin consists of cells at least as wide as its radius, which must be finer than every partition; that bounds the
    order. Where even the finest cells hold more rows than wanted, partitions may be as large as the fullest of them: a
    pathologically dense place becomes one large partition.
    """
    cells, counts = counted
    highest = min(COUNT_ORDER, margin_order(margin_arcsec) - 1)
    fullest = 0
    for order in range(min(LOWEST_COUNT_ORDER, highest), highest + 1):
        _, sums = merge_counts([(cells >> (2 * (COUNT_ORDER - order)), counts)])
        fullest = int(sums.max())
        if fullest <= partition_rows:
            return Layout(order, partition_rows)
    log.info("the densest cell of order %d holds %d rows, more than the %d wanted", highest, fullest, partition_rows)
    return Layout(highest, fullest)


def margin_order(margin_arcsec: float) -> int:
    """Finest HEALPix order, up to `FINEST_MARGIN_ORDER`, whose cells are everywhere wider than a margin.

    The narrowest HEALPix cells, high in the polar caps, are 1/1.484 of the mean width (the square root of the area)
    across: measured over 400,000 cells and all borders of base cells at order 13. hats-import reckons with 1/1.6.

    Raises
    ------
    UsageError
        The margin is not a positive number, or wider than an eighth of a base cell.
    """
    if not (math.isfinite(margin_arcsec) and margin_arcsec > 0):
        raise UsageError(
            f"the margin must be a positive number of arcseconds, not {margin_arcsec:g}",
            hint="it is the largest radius that can be searched; 10 is usual",
            value=margin_arcsec,
        )
    base_arcsec = math.degrees(math.sqrt(math.pi / 3)) * 3600.0
    order = min(FINEST_MARGIN_ORDER, math.floor(math.log2(base_arcsec / (1.6 * margin_arcsec))))
    if order < 3:
        raise UsageError(f"a margin of {margin_arcsec:g} arcsec is too wide", hint="at most 16400", value=margin_arcsec)
    return order


def artifact_name(name: str) -> str:
    """A name as HATS folders may have it: letters, digits and ``. _ -``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "catalog"


@contextlib.contextmanager
def import_client(workers: int | None, source_bytes: int, scratch: Path) -> Iterator[Any]:
    """A Dask client to import with: worker processes for large sources, threads of this process for small ones.

    Parameters
    ----------
    workers : int or None
        Number of worker processes; 0 or 1 means none, None chooses.
    source_bytes : int
        Size of all sources.
    scratch : Path
        Folder for the workers' own files.
    """
    from distributed import Client, LocalCluster

    cores = os.cpu_count() or 1
    if workers is None:
        workers = cores if source_bytes > PROCESS_BYTES else 0
    processes = workers > 1
    with (
        LocalCluster(
            n_workers=workers if processes else 1,
            threads_per_worker=1 if processes else cores,
            processes=processes,
            dashboard_address="127.0.0.1:0",
            # Nobody is told where it would be, and it takes a second to import.
            scheduler_kwargs={"dashboard": False},
            # A failed task raises its error here; Dask would also log it with a traceback.
            silence_logs=logging.CRITICAL,
            local_directory=str(scratch),
            memory_limit="auto" if processes else 0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@dataclass(frozen=True)
class Collection:
    """What is built, and where."""

    folder: Path
    name: str
    """Name of the main table, as `artifact_name` gives it."""
    plan: ImportPlan
    margin_arcsec: float
    layout: Layout
    scratch: Path
    """Folder for what exists only while the import runs."""
    encodings: dict[str, Any]
    """Of the columns, as `pyarrow.parquet.write_table` takes them."""

    @property
    def main(self) -> Path:
        """Folder of the main table."""
        return self.folder / self.name

    @property
    def margin(self) -> Path:
        """Folder of the margin cache."""
        return self.folder / f"{self.name}_margin"


def convert(
    collection: Collection, intakes: Sequence[Intake], inputs: Sequence[Path], client: Any, *, progress_bar: bool
) -> None:
    """Build the HATS collection; whatever an interrupted call did in its folder is taken up.

    Parameters
    ----------
    collection : Collection
    intakes : sequence of Intake
        What was taken in, by source.
    inputs : sequence of Path
        Folders of the sources' parts.
    client : distributed.Client
    progress_bar : bool
        Whether hats-import draws its bars on stderr.

    Raises
    ------
    CatalogError
        hats-import failed; its words are in the message.
    """
    from hats.catalog.dataset.collection_properties import CollectionProperties

    done = collection.scratch / "main.done"
    if not done.exists():
        _import_main(collection, intakes, inputs, client, progress_bar=progress_bar)
        done.touch()
    plan = MarginPlan(
        main=collection.main,
        margin=collection.margin,
        shards=collection.scratch / "margin",
        order=margin_order(collection.margin_arcsec),
        sort_columns=(HEALPIX_COLUMN, collection.plan.id_column),
        write=COMPRESSION | collection.encodings,
        row_group_rows=ROW_GROUP_ROWS,
    )
    margins = build_margin(plan, layout.read_partitions(collection.main), client)
    with _quiet():
        finish_margin(plan, margins, collection.margin.name, collection.margin_arcsec)
    CollectionProperties(
        name=collection.name,
        hats_primary_table_url=collection.main.name,
        all_margins=[collection.margin.name],
        default_margin=collection.margin.name,
        **CollectionProperties.new_provenance_dict(collection.folder, builder=f"xmatch-hats v{__version__}"),
    ).to_properties_file(collection.folder)


def _import_main(
    collection: Collection, intakes: Sequence[Intake], inputs: Sequence[Path], client: Any, *, progress_bar: bool
) -> None:
    """Run hats-import for the main table."""
    from hats_import.catalog.arguments import ImportArguments
    from hats_import.catalog.run_import import run

    from xmatch_hats.catalogs.reader import PartReader

    # hats-import refuses a folder with properties, which an interrupted run may have left as its last but one act.
    for name in layout.CATALOG_FILES:
        (collection.main / name).unlink(missing_ok=True)
    firsts = np.concatenate(([0], np.cumsum([intake.rows for intake in intakes])))
    reader = PartReader({folder.name: int(first) for folder, first in zip(inputs, firsts, strict=False)})
    files = [folder / part for intake, folder in zip(intakes, inputs, strict=True) for part in intake.parts]
    with _quiet() as said:
        try:
            arguments = ImportArguments(
                output_path=str(collection.folder),
                output_artifact_name=collection.name,
                tmp_dir=str(collection.scratch),
                input_file_list=[str(path) for path in files],
                file_reader=reader,
                ra_column=collection.plan.ra_column,
                dec_column=collection.plan.dec_column,
                sort_columns=collection.plan.id_column,
                expected_total_rows=sum(intake.rows - intake.dropped for intake in intakes),
                pixel_threshold=collection.layout.partition_rows,
                lowest_healpix_order=0,
                highest_healpix_order=collection.layout.count_order,
                write_table_kwargs=COMPRESSION | collection.encodings,
                row_group_kwargs={"num_rows": ROW_GROUP_ROWS},
                progress_bar=progress_bar,
                simple_progress_bar=True,
            )
            run(arguments, client)
        except (ValueError, RuntimeError, OSError, AssertionError) as error:
            words = said.getvalue().strip()[-500:]
            raise CatalogError(f"hats-import failed: {error}; {words}", place=collection.folder) from error


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """hats-import prints; stdout belongs to whoever called us."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Computing partitions from catalog parquet files")
        yield said
    for line in said.getvalue().splitlines():
        log.debug("hats-import: %s", line)
