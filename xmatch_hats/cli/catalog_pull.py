"""``xmatch-hats catalog pull``: a public HATS catalogue, or a part of it, to local disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.destination import (
    AsOption,
    MadeJsonOption,
    OutOption,
    SideCopyOption,
    choose_destination,
    registered_name,
    tell_finished,
)
from xmatch_hats.cli.options import split_columns
from xmatch_hats.cli.progress import StageProgress
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from xmatch_hats.catalogs.region import Region


class _FetchProgress(StageProgress):
    """Bytes and rows while fetching, then the import's stages."""

    def __init__(self) -> None:
        super().__init__()
        self._rows = 0
        self._fetch: Progress | None = None
        self._fetch_task: TaskID | None = None

    def __enter__(self) -> _FetchProgress:
        return self

    def stage(self, name: str, total: int = 0) -> None:
        """Begin a stage; of "fetching", `total` is bytes."""
        self._stop()
        if name != "fetching" or not self.bar:
            super().stage(name, total)
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._fetch = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._fetch.start()
        self._fetch_task = self._fetch.add_task(name, total=total or None, rows=0)

    def fetched(self, bytes_: int, rows: int) -> None:
        """Advance by bytes and rows."""
        self._rows += rows
        if self._fetch is not None and self._fetch_task is not None:
            self._fetch.update(self._fetch_task, advance=bytes_, rows=self._rows)

    def _stop(self) -> None:
        super()._stop()
        if self._fetch is not None:
            self._fetch.stop()
        self._fetch = self._fetch_task = None


def pull(  # noqa: PLR0913, options are the arguments of a command
    url: Annotated[str, typer.Argument(metavar="URL", help="HATS collection or catalogue: https, s3, or a path.")],
    out: OutOption = None,
    name: AsOption = None,
    cone: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--cone", metavar="RA DEC RADIUS_DEG", help="Only a cone, degrees."),
    ] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            "--box",
            metavar="RA_MIN RA_MAX DEC_MIN DEC_MAX",
            help="Only a box, degrees, eastward; through 0 if RA_MIN > RA_MAX.",
        ),
    ] = None,
    moc: Annotated[Path | None, typer.Option("--moc", metavar="FILE", help="Only the cells of a MOC.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", metavar="A,B,...|all", help="Default: the definition's default columns, else all."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", metavar="ARCSEC", help="Largest radius to be searched. Default: 10.")
    ] = None,
    definition: Annotated[
        str | None, typer.Option("--definition", metavar="NAME|FILE", help="Default: the one that fits.")
    ] = None,
    coverage: Annotated[
        str | None,
        typer.Option(
            "--coverage",
            metavar="rows|all-sky|FILE",
            help="Where the catalogue is complete. Default: the region; without one, what it records, else rows.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Files fetched at once, and worker processes.")
    ] = None,
    side_copy: SideCopyOption = True,
    as_json: MadeJsonOption = False,
) -> None:
    """Pull a public HATS catalogue, whole or a region or some columns, into a verified local copy with a margin cache.

    A pull that was interrupted resumes when the same command is given again.

    Example: xmatch-hats catalog pull https://data.lsdb.io/hats/wise/allwise --cone 10.5 -5 1 --as allwise
    """
    region = _region(cone, box, moc)
    destination = _destination(out, name)
    from xmatch_hats.catalogs.pull import pull_catalog

    with _FetchProgress() as progress:
        copy = pull_catalog(
            url,
            destination,
            progress=progress,
            region=region,
            columns=_columns(columns),
            margin_arcsec=margin,
            definition=definition,
            coverage=coverage,
            workers=workers,
            side_copy=side_copy,
            name=registered_name(name),
        )
    tell_finished(copy, name, as_json=as_json)


def _region(
    cone: tuple[float, float, float] | None, box: tuple[float, float, float, float] | None, moc: Path | None
) -> Region | None:
    if sum(given is not None for given in (cone, box, moc)) > 1:
        raise UsageError("give one region: --cone, --box or --moc")
    if cone is None and box is None and moc is None:
        return None
    from xmatch_hats.catalogs.region import Box, Cone, MocRegion

    if cone is not None:
        return Cone(*cone)
    return Box(*box) if box is not None else MocRegion.from_file(str(moc))


def _columns(values: list[str] | None) -> list[str] | str | None:
    if values == ["all"]:
        return "all"
    return split_columns(values)


def _destination(out: Path | None, name: str | None) -> Path:
    """Folder of the copy; a name without version takes up an interrupted pull under the version it had."""
    if out is None and name is not None and "@" not in name:
        from xmatch_hats.catalogs.pull_staging import interrupted_pulls
        from xmatch_hats.catalogs.registry import split_name
        from xmatch_hats.config import load_config

        folder = load_config().catalogs_root / split_name(name)[0]
        left = [version for version in interrupted_pulls(folder) if not (folder / version).exists()]
        if left:
            return choose_destination(None, f"{name}@{left[0]}")
    return choose_destination(out, name)
