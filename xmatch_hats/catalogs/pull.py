"""A public HATS catalogue, or a region of it, or some of its columns, becomes a local copy.

Rows are fetched into local parquet files first (`xmatch_hats.catalogs.fetch`), and imported from there like any other
source: self-checks, margins, verification and publication are the import's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

import numpy as np
import pyarrow as pa

from xmatch_hats import healpix
from xmatch_hats.catalogs.checks import DesignationCheck, UnitVectorCheck
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.fetch import Fetcher, Part, Selection, Task, plan_tasks
from xmatch_hats.catalogs.importer import DEFAULT_MARGIN_ARCSEC, DISK_FACTOR, Progress, Silent, build_copy
from xmatch_hats.catalogs.layout import RESERVED
from xmatch_hats.catalogs.pull_staging import PullStaging, refuse_existing
from xmatch_hats.catalogs.region import Region
from xmatch_hats.catalogs.remote import Retry
from xmatch_hats.catalogs.remote_catalog import RemoteCatalog, open_remote
from xmatch_hats.display import told_bytes
from xmatch_hats.errors import CatalogError, RemoteError, UsageError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.copy import LocalCopy
    from xmatch_hats.catalogs.definition import Definition

__all__ = ["DEFAULT_WORKERS", "PullProgress", "PullSettings", "SilentPull", "pull_catalog"]

DEFAULT_WORKERS = 4
"""Files fetched at once: the network is slower than one core."""


class PullProgress(Progress, Protocol):
    """Somebody who watches a pull: the stages "planning" and "fetching", then those of an import."""

    def fetched(self, bytes_: int, rows: int) -> None:
        """So many more bytes came, and so many more rows were kept."""


class SilentPull(Silent):
    """Watches nothing, and leaves what is worth telling in the log."""

    def fetched(self, bytes_: int, rows: int) -> None:
        """Nothing."""


class PullSettings(TypedDict, total=False):
    """Settings of a pull; each may be left out."""

    region: Region | None
    """Part of the sky; default all of it."""
    columns: Sequence[str] | str | None
    """Columns to keep, under any name of the definition, or "all". Default: the definition's default ones, else all."""
    margin_arcsec: float | None
    """Radius of the margin cache, and of the rim of rows around a region. Default: the definition's, else 10."""
    definition: Definition | str | Path | None
    """What the columns mean. Default: the one that fits, if any."""
    coverage: Coverage | str | Path | None
    """Where the remote catalogue is complete: a map, "rows" (an estimate), "all-sky", or the path of a MOC. Default:
    what the catalogue itself records, else the region's inner cells, or "rows" without a region."""
    workers: int | None
    """Files fetched at once, and worker processes of the import; 0 imports in this process."""
    name: str | None
    """Name of a copy without definition. Default: the catalogue's."""
    side_copy: bool
    """Whether to make the side copy that streams read; see `xmatch_hats.catalogs.side_copy`. Default: yes."""
    retry: Retry | None


def pull_catalog(
    url: str | os.PathLike[str],
    out: str | Path,
    *,
    progress: PullProgress | None = None,
    **settings: Unpack[PullSettings],
) -> LocalCopy:
    """Pull a HATS collection or catalogue into a local copy with a margin cache.

    A call that was killed is taken up by the next one with the same arguments: what has not changed at its source is
    not fetched again. Under `out` there is only ever a whole, verified copy.

    Parameters
    ----------
    url : str or path-like
        Folder of the collection or catalogue: https, s3 (anonymous), a path, or a `upath.UPath` with its own settings.
    out : str or Path
        Folder of the copy; must not exist.
    progress : PullProgress, optional
    **settings
        See `PullSettings`.

    Returns
    -------
    LocalCopy

    Raises
    ------
    RemoteError
        The catalogue cannot be reached or read, has changed meanwhile, or has no row in the region.
    DefinitionError, SelfCheckError
        Its columns are not what the definition says.
    CatalogError
        `out` exists or is being written, or the disk is too full.
    UsageError
        An argument means nothing.
    """
    return _Pull(url, Path(out).expanduser().absolute(), settings, progress or SilentPull()).run()


@dataclass(frozen=True)
class _Columns:
    """Which columns are fetched, and where the positions are among them."""

    names: tuple[str, ...]
    ra: str
    dec: str
    ucds: tuple[tuple[str, str], ...] = ()


class _Pull:
    """One pull, from its arguments to the published copy."""

    def __init__(self, url: str | os.PathLike[str], out: Path, settings: PullSettings, progress: PullProgress) -> None:
        self.url, self.out, self.settings, self.progress = url, out, settings, progress
        self.region = settings.get("region")
        self.inner = self.region.coverage() if self.region is not None else None
        self.workers = settings.get("workers") or DEFAULT_WORKERS

    def run(self) -> LocalCopy:
        refuse_existing(self.out)
        self._refuse_contradiction()
        self.progress.stage("planning")
        catalog = open_remote(self.url, self.settings.get("retry"))
        schema = catalog.schema()
        definition = _definition(self.settings.get("definition"), schema)
        margin = self._margin(definition)
        coverage = self._coverage(catalog)
        columns = _choose_columns(catalog, schema, definition, self.settings.get("columns"))
        outer = self.region.outer_ranges(margin) if self.region is not None else None
        selection = Selection(columns.names, columns.ra, columns.dec, outer, self._mask(margin), columns.ucds)
        recipe = self._recipe(catalog, columns, margin)
        with PullStaging(self.out, recipe, self.progress.say) as staging:
            tasks = plan_tasks(catalog, self._partitions(catalog, outer), selection, self.workers)
            check = _checked(definition) if definition is not None and definition.self_checks else None
            fetcher = Fetcher(catalog, selection, staging.parts, self.workers, self.progress, check)
            self._check_disk(catalog, tasks, fetcher, outer)
            self.progress.stage("fetching", sum(task.plan.bytes for task in tasks))
            parts = fetcher.run(tasks)
            inputs = [fetcher.file(task.name) for task, part in zip(tasks, parts, strict=True) if part.rows_kept]
            self._check_rows(catalog, parts)
            return self._import(catalog, inputs, parts, definition, margin, coverage)

    def _refuse_contradiction(self) -> None:
        coverage = self.settings.get("coverage")
        if self.region is not None and coverage in ("rows", "all-sky"):
            raise UsageError(
                f"a region has its own coverage, {coverage} contradicts it", hint="leave --coverage out, or give a MOC"
            )

    def _margin(self, definition: Definition | None) -> float:
        given = self.settings.get("margin_arcsec")
        default = definition.margin_arcsec if definition is not None else DEFAULT_MARGIN_ARCSEC
        margin = default if given is None else given
        if not 0.0 < margin <= 3600.0:
            raise UsageError("the margin must be above 0 and at most 3600 arcsec", value=margin)
        return float(margin)

    def _mask(self, margin: float) -> Callable[[Any, Any], Any] | None:
        region = self.region
        return None if region is None else lambda ra, dec: region.row_mask(ra, dec, margin)

    def _coverage(self, catalog: RemoteCatalog) -> Coverage | str:
        """Coverage of the copy: never more than what is known of the remote, nor than the region."""
        given = self.settings.get("coverage")
        known = catalog.coverage
        if given == "rows":
            return "rows"
        if given == "all-sky":
            known = Coverage.all_sky()
        elif given is not None:
            known = given if isinstance(given, Coverage) else Coverage.from_moc_file(given)
        inner = self.inner
        if inner is None:
            return known if known is not None and not known.estimated else "rows"
        if known is None or known.sky_fraction >= 1.0:
            return inner
        both = inner.moc.intersection(known.moc)
        return Coverage.from_moc(both, "rows" if known.estimated else "region", f"{inner.source}, {known.source}")

    def _partitions(self, catalog: RemoteCatalog, outer: Any) -> list[Any]:
        chosen = catalog.select(outer)
        if not chosen:
            raise RemoteError("the catalogue has nothing in this region", place=catalog.url, value=str(self.region))
        return chosen

    def _recipe(self, catalog: RemoteCatalog, columns: _Columns, margin: float) -> dict[str, Any]:
        """What determines the fetched rows; each file's own version is kept beside it."""
        inner = self.inner
        return {
            "url": catalog.url,
            "catalog": catalog.fingerprint,
            "region": None if inner is None else [str(self.region), hashlib.sha256(inner.ranges.tobytes()).hexdigest()],
            "columns": list(columns.names),
            "margin_arcsec": margin,
        }

    def _check_disk(self, catalog: RemoteCatalog, tasks: Sequence[Task], fetcher: Fetcher, outer: Any) -> None:
        """Tell the sizes, and refuse a pull that cannot fit before it begins."""
        missing = [task for task in tasks if fetcher.finished(task) is None]
        to_fetch = sum(task.plan.bytes for task in missing)
        share = 1.0
        if outer is not None:
            partitions = np.array([p.interval for p in catalog.select(outer)], dtype=np.int64)
            share = min(1.0, healpix.sky_fraction(outer) / healpix.sky_fraction(partitions))
        kept = share * sum(task.plan.bytes for task in tasks)
        underway = sum(sorted((task.plan.bytes for task in missing), reverse=True)[: self.workers])
        needed = int(underway + kept * (1.0 + DISK_FACTOR))
        free = shutil.disk_usage(fetcher.file("x").parent).free
        known = [task.plan.rows for task in tasks if task.plan.rows is not None]
        rows = f"{sum(known):,}" if len(known) == len(tasks) else "an unknown number of"
        self.progress.say(
            f"{len(tasks):,} files, {rows} rows to look at, {told_bytes(to_fetch)} to fetch"
            f" (about {told_bytes(kept)} to keep); {told_bytes(free)} free"
        )
        if free < needed:
            raise CatalogError(
                f"the disk has {told_bytes(free)} free, the pull needs about {told_bytes(needed)}",
                place=self.out.parent,
                hint="choose an --out on another disk, a smaller region, or fewer columns",
            )

    def _check_rows(self, catalog: RemoteCatalog, parts: Sequence[Part]) -> None:
        if not any(part.rows_kept for part in parts):
            raise RemoteError("the catalogue has no row in this region", place=catalog.url, value=str(self.region))
        found = sum(part.rows_read for part in parts)
        if self.region is None and catalog.total_rows is not None and found != catalog.total_rows:
            raise RemoteError(
                f"its partitions hold {found:,} rows, its metadata say {catalog.total_rows:,}",
                place=catalog.url,
                hint="it is being written, or damaged: try again later, or a mirror",
            )

    def _import(
        self,
        catalog: RemoteCatalog,
        inputs: Sequence[Path],
        parts: Sequence[Part],
        definition: Definition | None,
        margin: float,
        coverage: Coverage | str,
    ) -> LocalCopy:
        from xmatch_hats.catalogs.manifest import SourceRecord

        columns = self.settings.get("columns")
        return build_copy(
            inputs,
            self.out,
            progress=self.progress,
            definition=definition,
            columns=columns,
            margin_arcsec=margin,
            coverage=coverage,
            workers=self.settings.get("workers"),
            name=self.settings.get("name") or catalog.name,
            side_copy=self.settings.get("side_copy", True),
            origin=[
                SourceRecord(path=catalog.url, bytes=sum(p.size for p in parts), rows=sum(p.rows_kept for p in parts))
            ],
            extra={"url": catalog.url, "region": None if self.region is None else str(self.region)},
        )


def _definition(given: Definition | str | Path | None, schema: pa.Schema) -> Definition | None:
    from xmatch_hats.catalogs.definition import definition_for, load_definition

    if given is None:
        return definition_for(schema)
    return load_definition(given) if isinstance(given, str | Path) else given


def _choose_columns(
    catalog: RemoteCatalog, schema: pa.Schema, definition: Definition | None, columns: Sequence[str] | str | None
) -> _Columns:
    if isinstance(columns, str) and columns != "all":
        raise UsageError('columns are a list of names, or "all"', value=columns)
    if definition is None:
        return _columns_without(catalog, schema, columns)
    asked: Any = columns
    chosen = [name for name in definition.source_columns(schema, asked) if name not in RESERVED]
    canonical = definition.canonical_names(schema)
    source = {name: found for found, name in canonical.items()}
    # Only the checks that look across columns see that columns are shifted: what they need comes along.
    across = (DesignationCheck, UnitVectorCheck)
    needed = [definition.label_column]
    needed += [name for check in definition.self_checks if isinstance(check, across) for name in check.used]
    more = [source[name] for name in dict.fromkeys(needed) if name in source and source[name] not in chosen]
    return _Columns((*chosen, *more), source[definition.ra_column], source[definition.dec_column])


def _columns_without(catalog: RemoteCatalog, schema: pa.Schema, columns: Sequence[str] | str | None) -> _Columns:
    """No definition: positions are where the catalogue's own metadata say, and their UCDs tell the import so."""
    from xmatch_hats.tables.coordinates import find_coordinates

    ra, dec = catalog.ra_column, catalog.dec_column
    kept = [name for name in schema.names if name not in RESERVED]
    if missing := [name for name in (ra, dec, *(columns or ())) if columns != "all" and name not in kept]:
        raise RemoteError(
            f"has no column {missing[0]}", place=catalog.url, hint=f"there are {', '.join(kept[:20])}", value=missing[0]
        )
    names = kept if columns is None or columns == "all" else list(dict.fromkeys([*columns, ra, dec]))
    ucds = ((ra, "pos.eq.ra;meta.main"), (dec, "pos.eq.dec;meta.main"))
    marked = pa.schema(
        [schema.field(name).with_metadata({"ucd": dict(ucds)[name]} if name in dict(ucds) else None) for name in names]
    )
    if (found := find_coordinates(marked)) != (ra, dec):
        raise UsageError(
            f"the catalogue is sorted by {ra}, {dec}, but its columns {found[0]}, {found[1]} look like its positions",
            place=catalog.url,
            hint="give a --definition that names them, or choose --columns without the others",
        )
    return _Columns(tuple(names), ra, dec, ucds)


def _checked(definition: Definition) -> Callable[[Iterator[pa.RecordBatch], str], Iterator[pa.RecordBatch]]:
    """Self-checks on the way: a catalogue whose columns are shifted is refused at its first file, not after all."""
    from xmatch_hats.catalogs.selfcheck import SelfChecker

    def check(batches: Iterator[pa.RecordBatch], place: str) -> Iterator[pa.RecordBatch]:
        checker = SelfChecker(definition)
        for batch in batches:
            checker.check(batch)
            yield batch
        checker.finish(place)

    return check


def __dir__() -> list[str]:
    return sorted(__all__)
