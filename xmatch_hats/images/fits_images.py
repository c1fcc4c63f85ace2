"""FITS files of images: which HDUs show a part of the sky, and by which numbers a pipeline calls them.

By the convention a file of many CCDs, an exposure, begins with its number, ``2228303p.fits``; a CCD of its own is
``image-2079614-9.fits``, and a stacked image, a tile, ``CFIS_image-51.fits`` or ``CFIS_image-254-286.fits``.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmatch_hats.errors import ImageError, UsageError
from xmatch_hats.images.footprint import Footprint
from xmatch_hats.images.kinds import Kind
from xmatch_hats.quiet import quiet

__all__ = ["Image", "Naming", "read_images"]

_SUFFIX = re.compile(r"(\.fits?|\.fts|\.fz|\.gz|\.bz2)+$", re.IGNORECASE)
_DASHED = re.compile(r"((?:-\d+)+)$")
_LEADING = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Image:
    """One HDU that shows a part of the sky."""

    path: Path
    hdu: int
    """Number of the HDU, the primary one being 0."""
    ccd: int | None
    """Number of the CCD in its exposure, counted from 0; None for an image of its own."""
    footprint: Footprint


@dataclass(frozen=True)
class Naming:
    """How files are called after the images and tables that they are made of.

    Raises
    ------
    UsageError
        The pattern is no regular expression with a group.
    """

    prefix: str = "star_cat"
    pattern: str | None = None
    """Regular expression whose first group is the number in a file's name; None: the convention."""
    may_lack: bool = False
    """Whether by the convention a file may have no number, as the one that is merged of all tiles has none."""

    def __post_init__(self) -> None:
        if "/" in self.prefix:
            raise UsageError("the prefix of file names cannot hold a slash", place=f"--prefix {self.prefix}")
        try:
            groups = 1 if self.pattern is None else re.compile(self.pattern).groups
        except re.error as error:
            raise UsageError(f"is no regular expression: {error}", place=f"--number {self.pattern}") from error
        if groups < 1:
            raise UsageError(
                "has no group that is the number", place=f"--number {self.pattern}", hint=r"as in 'image-(\d+)'"
            )

    def numbers(self, paths: Sequence[Path], hint: str) -> list[str]:
        """Numbers of files, of which each must be another.

        Parameters
        ----------
        paths : sequence of Path
        hint : str
            The way out where two are alike.

        Raises
        ------
        UsageError
            Two are alike, or there is none.
        """
        seen: dict[str, Path] = {}
        for path in paths:
            number = self.number(path)
            if number in seen:
                has = f"has the number {number.removeprefix('-')}, as" if number else "has no number in its name, nor"
                raise UsageError(f"{has} {seen[number]} has", place=path, hint=hint)
            seen[number] = path
        return list(seen)

    def number(self, path: Path) -> str:
        """Number in a file's name, with a dash before it; empty where there is none and need not be.

        Raises
        ------
        UsageError
            There is none.

        Examples
        --------
        >>> Naming().number(Path("2228303p.fits.fz")), Naming().number(Path("CFIS_image-254-286.fits"))
        ('-2228303', '-254-286')
        """
        stem = _SUFFIX.sub("", path.name)
        if self.pattern is not None:
            found = re.search(self.pattern, path.name)
        else:
            found = _DASHED.search(stem) or _DASHED.search(stem.partition(".")[0]) or _LEADING.match(stem)
        if found is None and self.may_lack and self.pattern is None:
            return ""
        if found is None or not found[1]:
            told = self.pattern or "NAME-NUMBER.fits or NUMBER.fits"
            raise UsageError(
                f"there is no number in its name, as {told} has one", place=path,
                hint=r"tell where, as in --number 'image_(\d+)'",
            )  # fmt: skip
        if "/" in found[1]:
            raise UsageError("the number cannot hold a slash", place=path, value=found[1])
        return "-" + found[1].removeprefix("-")

    def file_name(self, image: Image) -> str:
        """Name of the star catalogue of an image."""
        ccd = "" if image.ccd is None else f"-{image.ccd}"
        return f"{self.prefix}{self.number(image.path)}{ccd}.cat"


def read_images(path: Path, kind: Kind | None = None) -> tuple[list[Image], list[str]]:
    """Find the images of a FITS file; pixels are not read.

    Parameters
    ----------
    path : Path
        Compressed image HDUs (``.fz``) and files (``.gz``), too.
    kind : {"exposure", "tile"}, optional
        Whether every HDU is a CCD, or the first image is all; by default, whether there are several.

    Returns
    -------
    list of Image
    list of str
        HDUs that were left out, and why.

    Raises
    ------
    ImageError
        The file cannot be read, or no HDU of it tells where on the sky it lies.
    """
    from astropy.io import fits

    images: list[Image] = []
    left_out: list[str] = []
    reason = ""
    try:
        with _silent(), fits.open(path) as hdus:
            first = 0 if hdus[0].header.get("NAXIS", 0) >= 2 and hdus[0].is_image else 1
            for number, hdu in enumerate(hdus):
                if not hdu.is_image or len(hdu.shape) < 2:
                    continue
                place = f"{path}[{number}]"
                try:
                    images.append(Image(path, number, number - first, _footprint(hdu, hdus, place)))
                except ImageError as error:
                    reason = reason or f": {error.message}"
                    left_out.append(str(error))
    except FileNotFoundError:
        raise ImageError("there is no such file", place=path) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        told = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be read as FITS: {told.splitlines()[0].partition('. ')[0]}", place=path) from error
    if not images:
        raise ImageError(f"no HDU of it tells where on the sky it lies{reason}", place=path)
    if kind == "tile" and len(images) > 1:
        left_out += [f"{path}[{image.hdu}]: not the first image of a tile" for image in images[1:]]
    if kind == "tile" or (kind is None and len(images) == 1) or (len(images) == 1 and _is_numbered_ccd(path)):
        return [Image(path, images[0].hdu, None, images[0].footprint)], left_out
    return images, left_out


def _is_numbered_ccd(path: Path) -> bool:
    """Whether the number of the CCD stands in the file's name, as in ``image-2079614-9.fits``."""
    found = _DASHED.search(_SUFFIX.sub("", path.name))
    return found is not None and found[1].count("-") > 1


def _footprint(hdu: Any, hdus: Any, place: str) -> Footprint:
    from astropy.wcs import WCS

    try:
        wcs = WCS(hdu.header, fobj=hdus)
        if not wcs.has_celestial:
            raise ImageError("has no celestial WCS", place=place)
        wcs = wcs if wcs.naxis == 2 else wcs.celestial
        wcs.wcs.set()
    except (ValueError, KeyError, TypeError, AssertionError, MemoryError) as error:
        # Of what wcslib says, the last line is for people.
        reason = (str(error).splitlines() or [type(error).__name__])[-1].rstrip(".")
        raise ImageError(f"its WCS cannot be read: {reason}", place=place) from error
    _check_frame(wcs, place)
    return Footprint(wcs, int(hdu.shape[-1]), int(hdu.shape[-2]), place)


def _check_frame(wcs: Any, place: str) -> None:
    """Refuse coordinates that are not the catalogue's: taken as such they would be wrong by degrees."""
    equinox = float(wcs.wcs.equinox)
    frame = wcs.wcs.radesys or ("FK4" if equinox < 1984.0 else "ICRS")
    is_j2000 = frame == "ICRS" or (frame == "FK5" and (math.isnan(equinox) or equinox == 2000.0))
    if wcs.wcs.lngtyp != "RA" or not is_j2000:
        system = f"{wcs.wcs.lngtyp}, {frame}" + ("" if math.isnan(equinox) else f" {equinox:g}")
        raise ImageError(f"its WCS is in {system}, not in right ascension and declination at J2000", place=place)
    if wcs.wcs.lng != 0:
        raise ImageError("its WCS has declination before right ascension", place=place)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what astropy says of odd headers to itself: what matters is raised."""
    with quiet("astropy", logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def __dir__() -> list[str]:
    return sorted(__all__)
