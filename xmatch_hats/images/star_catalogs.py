"""Star catalogues of images: one file for each CCD or tile, all CCDs of an exposure in one pass over the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.errors import ImageError
from xmatch_hats.images.fits_images import Image, Naming, read_images
from xmatch_hats.images.footprint import around
from xmatch_hats.images.kinds import Kind
from xmatch_hats.images.scratch import scratch_folder
from xmatch_hats.images.star_choice import StarChoice
from xmatch_hats.images.star_files import star_text
from xmatch_hats.matching.search import Bounds, Cone, Floats, region_rows
from xmatch_hats.whole import written_whole

__all__ = ["Outcome", "StarFile", "StarJob", "write_star_catalogs"]


class Outcome(StrEnum):
    """What became of an image."""

    WRITTEN = "written"
    PARTIAL = "written, partly outside the coverage"
    KEPT = "kept"
    OUTSIDE = "not wholly inside the coverage"
    UNREADABLE = "unreadable"
    LEFT_OUT = "left out"

    @property
    def is_failure(self) -> bool:
        """Whether an image that was asked for has no file."""
        return self in (Outcome.OUTSIDE, Outcome.UNREADABLE)


@dataclass(frozen=True)
class StarFile:
    """One image, and its file."""

    image: str
    """File and number of the HDU."""
    file: str
    """Name of the star catalogue; empty where there is none."""
    outcome: Outcome
    rows: int = 0
    stars: int = 0
    """Rows with Clas 0."""
    reason: str = ""


@dataclass(frozen=True)
class StarJob:
    """How star catalogues are written."""

    out: Path
    """Folder, made if need be."""
    naming: Naming = field(default_factory=Naming)
    kind: Kind | None = None
    """Of all images; None: by the number of their HDUs."""
    allow_partial: bool = False
    """Whether a file is written where the copy does not surely hold the whole image."""
    overwrite: bool = False
    """Whether files that exist are written anew."""


def write_star_catalogs(
    paths: Sequence[Path],
    choice: StarChoice,
    job: StarJob,
    *,
    catalog: str | None = None,
    on_image: Callable[[int], None] = lambda _: None,
) -> list[StarFile]:
    """Write a star catalogue for every image.

    Parameters
    ----------
    paths : sequence of Path
        FITS files.
    choice : StarChoice
        The catalogue, and what of it.
    job : StarJob
        Where to, and how.
    catalog : str, optional
        Name of the catalogue in the files; default the copy's.
    on_image : callable
        Told how many files are done.

    Returns
    -------
    list of StarFile
        One for each image and each HDU that was left out, in order; files and HDUs that could not be read are among
        them.

    Raises
    ------
    UsageError
        Two files lead to the same name, or a name has no number.
    ImageError
        The only file cannot be read.
    OutputError
        A file cannot be written.
    PartitionReadError
        A partition of the copy cannot be read.
    """
    job.naming.numbers(
        paths, "give the images alone, no weights or flags; or tell where the number stands with --number"
    )
    told: list[StarFile] = []
    with scratch_folder(job.out) as scratch:
        for done, path in enumerate(paths, start=1):
            try:
                found = read_images(path, job.kind)
            except ImageError as error:
                if len(paths) == 1:
                    raise
                told.append(StarFile(str(path), "", Outcome.UNREADABLE, reason=str(error)))
            else:
                told += _write_exposure(found.images, choice, job, scratch, catalog or choice.copy.name)
                for outcome, texts in ((Outcome.UNREADABLE, found.broken), (Outcome.LEFT_OUT, found.left_out)):
                    told += [StarFile(text.partition(": ")[0], "", outcome, reason=text) for text in texts]
            on_image(done)
    return told


@dataclass(frozen=True)
class _Patches:
    """The circles of several images as one region of the sky, so that each partition is read once."""

    circles: tuple[Cone, ...]

    @cached_property
    def whole(self) -> Cone:
        return around(list(self.circles))

    @cached_property
    def bounds(self) -> Bounds:
        return self.whole.bounds

    def contains(self, ra: Floats, dec: Floats) -> NDArray[np.bool_]:
        inside = self.whole.contains(ra, dec)
        near = np.flatnonzero(inside)
        hit = np.zeros(len(near), dtype=bool)
        for circle in self.circles:
            hit |= circle.contains(ra[near], dec[near])
        inside[near] = hit
        return inside


def _write_exposure(
    images: Sequence[Image], choice: StarChoice, job: StarJob, scratch: Path, catalog: str
) -> list[StarFile]:
    """Write the files of the images of one FITS file."""
    told: dict[int, StarFile] = {}
    wanted: list[tuple[Image, bool]] = []
    for image in images:
        name, place = job.naming.file_name(image), image.footprint.place
        if (job.out / name).exists() and not job.overwrite:
            told[image.hdu] = StarFile(place, name, Outcome.KEPT)
            continue
        covered = choice.copy.manifest is not None and image.footprint.is_covered(choice.copy.coverage)
        if covered or job.allow_partial:
            wanted.append((image, covered))
        else:
            told[image.hdu] = StarFile(place, "", Outcome.OUTSIDE, reason=_uncovered(choice))
    if wanted:
        region = _Patches(tuple(image.footprint.circle for image, _ in wanted))
        stars = choice.stars_of(region_rows(choice.copy, region, choice.columns))
        for image, covered in wanted:
            mine = stars.take(image.footprint.contains(stars.ra, stars.dec))
            name = job.naming.file_name(image)
            free = [
                f"stars of {catalog} in {image.path.name}[{image.hdu}]: {len(mine)} rows, no pad around the edges",
                choice.describe(),
                "the whole image was searched" if covered else f"PARTIAL: {_uncovered(choice)}",
            ]
            with written_whole(job.out / name, scratch) as file:
                file.write(star_text(mine, free).encode("ascii"))
            outcome = Outcome.WRITTEN if covered else Outcome.PARTIAL
            told[image.hdu] = StarFile(image.footprint.place, name, outcome, len(mine), int((mine.clas == 0).sum()))
    return [told[image.hdu] for image in images]


def _uncovered(choice: StarChoice) -> str:
    copy = choice.copy
    if copy.manifest is None:
        return f"the copy {copy.name} has no recorded coverage, so stars may be missing"
    return f"the image is not wholly inside the coverage of {copy.name}, so stars may be missing"


def __dir__() -> list[str]:
    return sorted(__all__)
