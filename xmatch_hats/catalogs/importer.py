"""Tables become a local copy: staged, checked, converted, verified, and only then published under its name."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from xmatch_hats import __version__
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.manifest import CoverageRecord, DroppedRows, Manifest, SourceRecord, hash_files
from xmatch_hats.catalogs.side_copy import build_side_copy, remove_side_copy
from xmatch_hats.catalogs.sources import Columns, expand_sources, plan_import
from xmatch_hats.catalogs.staging import Staging
from xmatch_hats.display import told_bytes
from xmatch_hats.errors import CatalogError, TableError, UsageError, XmatchError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.coverage import Coverage
    from xmatch_hats.catalogs.definition import Definition
    from xmatch_hats.catalogs.intake import Intake

__all__ = ["DEFAULT_MARGIN_ARCSEC", "ImportSettings", "Progress", "Silent", "Telling", "build_copy"]

log = logging.getLogger(__name__)

DEFAULT_MARGIN_ARCSEC = 10.0
DISK_FACTOR = 3.0
"""Free disk asked for, in units of the sources' bytes: parts, shards and copy exist at once, each compressed.
The side copy is looked after by itself: how wide its rows are, only the rows tell."""
STAGES = ("reading", "converting", "coverage", "checksums", "verifying", "side copy", "publishing")


class Progress(Protocol):
    """Somebody who watches an import."""

    bar: bool
    """Whether hats-import may draw its own bars on the terminal."""

    def stage(self, name: str, total: int = 0) -> None:
        """A stage of `STAGES` begins; it has so many steps, 0 if it does not count them."""

    def step(self, done: int) -> None:
        """So many steps of the stage are done."""

    def say(self, text: str) -> None:
        """Something worth telling: resumed or clean, rows left out, no definition."""


class Silent:
    """Watches nothing, and leaves what is worth telling in the log."""

    bar = False

    def stage(self, name: str, total: int = 0) -> None:
        """Log the stage."""
        log.debug("%s (%d steps)", name, total)

    def step(self, done: int) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Log it."""
        log.info("%s", text)


class Telling(Silent):
    """Passes on what is worth telling, and watches nothing else."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def say(self, text: str) -> None:
        """Pass it on."""
        self._tell(text)


class ImportSettings(TypedDict, total=False):
    """Settings of an import; each may be left out."""

    definition: Definition | str | Path | None
    """What the columns mean; a name or file is loaded. Default: the one that fits the first source, if any."""
    columns: Columns
    """Columns to keep, under any name of the definition. Default: the definition's default ones, else all.
    Coordinates, id and label are always kept."""
    margin_arcsec: float | None
    """Radius of the margin cache, the largest that can be searched. Default: the definition's, else 10."""
    coverage: Coverage | str | Path
    """Where the sources are complete: a map, "rows" (the default: an estimate), "all-sky", or the path of a MOC."""
    partition_rows: int | None
    """Most rows of a partition."""
    workers: int | None
    """Worker processes; 0 works in this process. Default: by the sources' size."""
    hdu: int | None
    """Which table of FITS files."""
    plain: bool
    """Whether to take the tables as they are: without a definition, even where one fits. Default: no."""
    name: str | None
    """Name of a copy without definition. Default: the output folder's."""
    origin: Sequence[SourceRecord] | None
    """What the manifest tells as sources, where `sources` are only a download of them."""
    side_copy: bool
    """Whether to make the side copy that streams read; see `xmatch_hats.catalogs.side_copy`. Default: yes."""
    keep_rejects: bool
    """Whether rows without a position, however many, are kept in ``rejected.parquet`` beside the copy's tables.
    Default: no, and more than one in a thousand are refused."""
    extra: dict[str, Any]
    """Further settings for the manifest to tell, JSON values."""


def build_copy(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    progress: Progress | None = None,
    **settings: Unpack[ImportSettings],
) -> LocalCopy:
    """Import tables into a HATS collection with a margin cache.

    Under `out` there is only ever a whole, verified copy. A call that was killed is taken up by the next one with the
    same inputs and settings; with others it starts clean.

    Parameters
    ----------
    sources : sequence of str or Path
        Files and folders of tables, in any format that `xmatch_hats.tables.read.open_table` reads.
    out : str or Path
        Folder of the copy; must not exist.
    progress : Progress, optional
    **settings
        See `ImportSettings`.

    Returns
    -------
    LocalCopy

    Raises
    ------
    TableError, DefinitionError, SelfCheckError
        A source cannot be read or contradicts its definition.
    CatalogError
        `out` exists or is being written, the disk is full, or the result fails its verification.
    UsageError
        An argument means nothing.
    """
    return _Job(sources, Path(out).expanduser().absolute(), settings, progress or Silent()).run()


class _Job:
    """One import, from its arguments to the published copy."""

    def __init__(self, sources: Sequence[str | Path], out: Path, settings: ImportSettings, progress: Progress) -> None:
        from xmatch_hats.catalogs.convert import PARTITION_ROWS, artifact_name, margin_order

        self.out = out
        self.settings = settings
        self.progress = progress
        self.files = expand_sources(sources)
        self.plan = plan_import(
            self.files,
            _definition(settings.get("definition")),
            settings.get("columns"),
            hdu=settings.get("hdu"),
            plain=settings.get("plain", False),
            keeps_rejects=settings.get("keep_rejects", False),
        )
        definition = self.plan.definition
        self.name = definition.name if definition else settings.get("name") or out.name
        self.folder_name = artifact_name(self.name)
        self.margin_arcsec = _first(
            settings.get("margin_arcsec"), definition.margin_arcsec if definition else None, DEFAULT_MARGIN_ARCSEC
        )
        margin_order(self.margin_arcsec)
        self.partition_rows = _first(settings.get("partition_rows"), PARTITION_ROWS)
        if self.partition_rows < 1:
            raise UsageError("a partition must have at least one row", value=self.partition_rows)
        self.coverage = _coverage(settings.get("coverage", "rows"))
        self.source_bytes = sum(path.stat().st_size for path in self.files)

    def run(self) -> LocalCopy:
        if self.plan.definition is None and not self.settings.get("plain"):
            self.progress.say(
                f"no definition fits: {'the columns asked for are' if self.plan.columns else 'every column is'} kept, "
                f"positions are {self.plan.ra_column} and {self.plan.dec_column}, and no self-checks are made"
            )
        with Staging(self.out, self._recipe(), self.progress.say) as staging:
            self._check_disk(staging)
            try:
                built = self._build_or_rebuild(staging)
                self._make_side_copy(built)
                self.progress.stage("publishing")
                staging.publish(built)
            except OSError as error:
                # Whatever fills the disk, or takes it away, may do so at any write.
                raise CatalogError(
                    f"the import stopped: {error.strerror or error}",
                    place=error.filename or staging.folder,
                    hint="the same command takes it up again",
                ) from error
        return LocalCopy.open(self.out)

    def _build_or_rebuild(self, staging: Staging) -> Path:
        try:
            return self._build(staging)
        except CatalogError as error:
            if not staging.resumed:
                raise
            # What a kill has left may be beyond repair, and the inputs are still there: once more, from nothing.
            self.progress.say(f"the interrupted import cannot be continued ({error}): starting clean")
        staging.clear()
        return self._build(staging)

    def _build(self, staging: Staging) -> Path:
        from xmatch_hats.catalogs.convert import Collection, choose_layout, convert, import_client
        from xmatch_hats.catalogs.encodings import encodings
        from xmatch_hats.catalogs.intake import REJECTED_FILE, gather_rejects, merge_counts, read_counts, read_sample

        inputs = [staging.path("inputs", f"{number:05d}") for number in range(len(self.files))]
        built = staging.path("copy")
        with import_client(self.settings.get("workers"), self.source_bytes, staging.path("dask")) as client:
            intakes = self._take_in(inputs, client)
            self.progress.stage("converting")
            counted = merge_counts([read_counts(folder) for folder in inputs])
            layout = choose_layout(counted, self.partition_rows, self.margin_arcsec)
            collection = Collection(
                built,
                self.folder_name,
                self.plan,
                self.margin_arcsec,
                layout,
                staging.path("work"),
                encodings(read_sample(inputs, self.plan)),
            )
            convert(collection, intakes, inputs, client, progress_bar=self.progress.bar)
        if self.plan.keeps_rejects:
            gather_rejects(inputs, built / REJECTED_FILE)
        self._describe(built, intakes)
        self._verify(built)
        return built

    def _take_in(self, inputs: Sequence[Path], client: Any) -> list[Intake]:
        """Read and check every source, each one by one worker; the first error is the import's."""
        from distributed import as_completed

        from xmatch_hats.catalogs.intake import take_in, tell

        self.progress.stage("reading", len(self.files))
        futures = [
            client.submit(take_in, path, folder, self.plan, pure=False)
            for path, folder in zip(self.files, inputs, strict=True)
        ]
        for done, future in enumerate(as_completed(futures), start=1):
            try:
                future.result()
            except XmatchError:
                client.cancel(futures)
                raise
            self.progress.step(done)
        intakes: list[Intake] = [future.result() for future in futures]
        if not any(intake.rows - intake.dropped for intake in intakes):
            raise TableError(
                "there are no rows to import",
                place=", ".join(str(path) for path in self.files[:3]),
                hint="; ".join([place for intake in intakes for place in intake.places][:3]),
            )
        for sentence in tell(intakes, keeps_rejects=self.plan.keeps_rejects):
            self.progress.say(sentence)
        return intakes

    def _describe(self, built: Path, intakes: Sequence[Intake]) -> None:
        """Give the HATS files what makes them a copy: coverage and manifest."""
        from xmatch_hats.catalogs.coverage import Coverage

        self.progress.stage("coverage")
        Manifest.remove(built)
        bare = LocalCopy.open(built)
        remove_side_copy(bare)
        coverage = self.coverage or Coverage.from_rows(bare.read_healpix())
        coverage.save(built)
        self.progress.stage("checksums")
        definition = self.plan.definition
        records = [SourceRecord(path=i.path, bytes=i.bytes, sha256=i.sha256, rows=i.rows) for i in intakes]
        Manifest(
            software=_software(),
            name=self.name,
            definition=json.loads(definition.to_json()) if definition else None,
            sources=tuple(self.settings.get("origin") or records),
            settings=self._told_settings(),
            rows=bare.total_rows,
            dropped=DroppedRows(
                count=sum(i.dropped for i in intakes), places=tuple(place for i in intakes for place in i.places)[:10]
            ),
            id_column=self.plan.id_column,
            margin_arcsec=self.margin_arcsec,
            coverage=CoverageRecord(**coverage.summary()),
            self_check={i.path: i.self_check for i in intakes} if definition else None,
            files=hash_files(built),
        ).write(built)

    def _verify(self, built: Path) -> None:
        from xmatch_hats.catalogs.verify import verify_copy

        self.progress.stage("verifying")
        # The checksums were taken a moment ago from these very files.
        verify_copy(built, checksums=False).raise_if_failed()

    def _make_side_copy(self, built: Path) -> None:
        """Make and verify the side copy; whatever goes wrong with it, the work done so far stays for a resume."""
        if not self.settings.get("side_copy", True):
            return
        from xmatch_hats.catalogs.verify import verify_side_copy

        copy = LocalCopy.open(built)
        self.progress.stage("side copy", len(copy.partitions))
        try:
            build_side_copy(copy, progress=lambda done, _: self.progress.step(done))
            verify_side_copy(copy).raise_if_failed()
        except CatalogError as error:
            raise CatalogError(
                error.message,
                place=error.place,
                hint="the same command takes it up again; with --no-side-copy it does without",
            ) from error

    def _recipe(self) -> dict[str, Any]:
        """What determines the bytes of the copy; equal recipes may continue each other's work."""
        definition = self.plan.definition
        states = [(str(path), path.stat()) for path in self.files]
        return {
            "inputs": [[path, state.st_size, state.st_mtime_ns] for path, state in states],
            "definition": definition.to_json() if definition else None,
            "columns": [f"{field.name}: {field.type}" for field in self.plan.schema],
            "hdu": self.plan.hdu,
            "name": self.folder_name,
            "margin_arcsec": self.margin_arcsec,
            "partition_rows": self.partition_rows,
            "keep_rejects": self.plan.keeps_rejects,
            "software": _software(),
        }

    def _told_settings(self) -> dict[str, Any]:
        from xmatch_hats.catalogs.convert import COMPRESSION, ROW_GROUP_ROWS

        columns = self.settings.get("columns")
        return {
            "columns": list(columns) if isinstance(columns, tuple | list) else columns,
            "margin_arcsec": self.margin_arcsec,
            "partition_rows": self.partition_rows,
            "row_group_rows": ROW_GROUP_ROWS,
            **COMPRESSION,
            "hdu": self.plan.hdu,
            **self.settings.get("extra", {}),
        }

    def _check_disk(self, staging: Staging) -> None:
        free = shutil.disk_usage(staging.folder).free
        needed = int(DISK_FACTOR * self.source_bytes * self.plan.share)
        if free < needed:
            raise CatalogError(
                f"the disk has {told_bytes(free)} free, the import needs about {told_bytes(needed)}",
                place=self.out.parent,
                hint="choose an --out on another disk",
            )


def _definition(given: Definition | str | Path | None) -> Definition | None:
    if given is None or not isinstance(given, str | Path):
        return given
    from xmatch_hats.catalogs.definition import load_definition

    return load_definition(given)


def _coverage(given: Coverage | str | Path) -> Coverage | None:
    """The coverage map that is asked for; None where the rows must tell."""
    from xmatch_hats.catalogs.coverage import Coverage

    if isinstance(given, Coverage):
        return given
    if given == "rows":
        return None
    return Coverage.all_sky() if given == "all-sky" else Coverage.from_moc_file(given)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _software() -> dict[str, str]:
    libraries = ("hats", "hats-import", "lsdb", "pyarrow")
    return {"xmatch-hats": __version__, **{name: version(name) for name in libraries}}


def __dir__() -> list[str]:
    return sorted(__all__)
