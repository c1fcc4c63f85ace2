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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from astropy.io.fits import VerifyError

from xmatch_hats.errors import ImageError, TableError, UsageError
from xmatch_hats.images.footprint import Footprint
from xmatch_hats.images.kinds import Kind
from xmatch_hats.quiet import quiet
from xmatch_hats.tables.fits import check_whole, opened_hdus, remove_unpacked, unpack

__all__ = ["Image", "ImageFile", "Naming", "read_images"]

_SUFFIX = re.compile(r"(\.fits?|\.fts|\.fz|\.gz|\.bz2)+$", re.IGNORECASE)
_DASHED = re.compile(r"((?:-\d+)+)$")
_LEADING = re.compile(r"(\d+)")
_POINTING = re.compile(r"(CRVAL|CRPIX|CDELT)[12]|(CD|PC)[12]_[12]")
_NO_WCS = "has no celestial WCS"


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
class ImageFile:
    """What images a file has."""

    images: list[Image]
    broken: list[str]
    """HDUs that should be among them, and why they cannot."""
    left_out: list[str]
    """HDUs that need not: those without a WCS, and those behind the image of a tile."""


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
    """Regular expression whose groups are the number in a file's name, several with dashes between; None: the
    convention."""
    may_lack: bool = False
    """Whether by the convention a file may have no number, as the one that is merged of all tiles has none."""

    def __post_init__(self) -> None:
        if "/" in self.prefix:
            raise UsageError("the prefix of file names cannot hold a slash", place=f"--prefix {self.prefix}")
        if not self.prefix.isprintable():
            raise UsageError(
                "the prefix of file names cannot hold control characters", place=f"--prefix {self.prefix!r}"
            )
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
        number = "-".join(filter(None, found.groups())) if found is not None else ""
        if not number:
            told = self.pattern or "NAME-NUMBER.fits or NUMBER.fits"
            raise UsageError(
                f"there is no number in its name, as {told} has one", place=path,
                hint=r"tell where, as in --number 'image_(\d+)'",
            )  # fmt: skip
        if "/" in number or not number.isprintable():
            raise UsageError("the number cannot hold a slash nor control characters", place=path, value=number)
        return "-" + number.removeprefix("-")

    def file_name(self, image: Image) -> str:
        """Name of the star catalogue of an image."""
        ccd = "" if image.ccd is None else f"-{image.ccd}"
        return f"{self.prefix}{self.number(image.path)}{ccd}.cat"


def read_images(path: Path, kind: Kind | None = None) -> ImageFile:
    """Find the images of a FITS file; pixels are not read.

    Parameters
    ----------
    path : Path
        Compressed image HDUs (``.fz``) and files (``.gz``), too.
    kind : {"exposure", "tile"}, optional
        Whether every HDU is a CCD, or the first image is all; by default, whether there are several.

    Returns
    -------
    ImageFile

    Raises
    ------
    ImageError
        The file cannot be read or is cut short, or no HDU of it tells where on the sky it lies.
    """
    try:
        unpacked = unpack(path)
        try:
            with _silent(), opened_hdus(path, unpacked) as hdus:
                check_whole(path, unpacked, hdus)
                found, left_out = _find_images(path, hdus)
        finally:
            remove_unpacked(path, unpacked)
    except TableError as error:
        raise ImageError(error.message, place=error.place, hint=error.hint) from error
    # All images count: one that is broken must not give another the name of a tile.
    is_alone = len(found) + len(left_out) == 1 and (kind is None or _is_numbered_ccd(path))
    if kind == "tile" or is_alone:
        left_out += [f"{_place(one)}: not the first image of a tile" for one in found[1:]]
        found = [replace(one, ccd=None) if isinstance(one, Image) else one for one in found[:1]]
    images = [one for one in found if isinstance(one, Image)]
    broken = [one for one in found if isinstance(one, ImageError)]
    if not images:
        reason = broken[0].message if broken else _NO_WCS
        raise ImageError(f"no HDU of it tells where on the sky it lies: {reason}", place=path)
    return ImageFile(images, [str(error) for error in broken], left_out)


def _find_images(path: Path, hdus: Any) -> tuple[list[Image | ImageError], list[str]]:
    """Images of a file as CCDs, or why they can be none; and those that have no WCS at all."""
    found: list[Image | ImageError] = []
    left_out: list[str] = []
    first = 0 if hdus[0].header.get("NAXIS", 0) >= 2 and hdus[0].is_image else 1
    for number, hdu in enumerate(hdus):
        if not hdu.is_image or len(hdu.shape) < 2:
            continue
        place = f"{path}[{number}]"
        try:
            footprint = _footprint(hdu, hdus, place)
        except ImageError as error:
            found.append(error)
        else:
            if footprint is None:
                left_out.append(f"{place}: {_NO_WCS}")
            else:
                found.append(Image(path, number, number - first, footprint))
    return found, left_out


def _place(found: Image | ImageError) -> object:
    return found.footprint.place if isinstance(found, Image) else found.place


def _is_numbered_ccd(path: Path) -> bool:
    """Whether the number of the CCD stands in the file's name, as in ``image-2079614-9.fits``."""
    found = _DASHED.search(_SUFFIX.sub("", path.name))
    return found is not None and found[1].count("-") > 1


def _footprint(hdu: Any, hdus: Any, place: str) -> Footprint | None:
    """Where an image lies; None where nothing of its header tells."""
    from astropy.wcs import WCS

    try:
        # Of a cube the first plane: to take its axes apart later fails for a distortion.
        wcs = WCS(hdu.header, fobj=hdus, naxis=2)
        if not wcs.has_celestial:
            return None
        _check_numbers(hdu.header, place)
        wcs.wcs.set()
    except (ValueError, KeyError, TypeError, AssertionError, MemoryError, RuntimeError, VerifyError) as error:
        # Of what wcslib says, the last line is for people.
        reason = (str(error).splitlines() or [type(error).__name__])[-1].rstrip(".")
        raise ImageError(f"its WCS cannot be read: {reason}", place=place) from error
    _check_frame(wcs, place)
    return Footprint(wcs, int(hdu.shape[-1]), int(hdu.shape[-2]), place)


def _check_numbers(header: Any, place: str) -> None:
    """Refuse what wcslib would make up: the position 0, or a degree for a pixel, where the header tells none."""
    numbers = {key: header[key] for key in header if _POINTING.fullmatch(key)}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ImageError(f"its WCS cannot be read: {key} is no number", place=place, value=value)
    for axis in (1, 2):
        if f"CRVAL{axis}" not in numbers:
            raise ImageError(f"its WCS cannot be read: there is no CRVAL{axis}", place=place)
        if not any(numbers.get(key) for key in (f"CDELT{axis}", f"CD{axis}_1", f"CD{axis}_2")):
            raise ImageError(f"its WCS cannot be read: there is no size of a pixel along axis {axis}", place=place)


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
