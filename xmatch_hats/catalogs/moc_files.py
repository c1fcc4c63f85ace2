"""MOC files: the user's, in every form of the standard, and the one kept in a copy's folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from xmatch_hats import healpix
from xmatch_hats.errors import CoverageError

if TYPE_CHECKING:
    from mocpy import MOC

MAP_FILE = "coverage.fits"
SUMMARY_FILE = "coverage.json"
_FORMAT = 1
_WAY_OUT = "give a spatial MOC, in FITS, JSON or ASCII"


class Summary(TypedDict):
    """What ``coverage.json`` says of its map, as `load` gives it."""

    kind: Any
    order: int
    source: str


def moc_of(ranges: NDArray[np.int64], order: int) -> MOC:
    """A `mocpy.MOC` of ranges."""
    from mocpy import MOC

    if len(ranges) == 0:
        return MOC.new_empty(order)
    return MOC.from_depth29_ranges(order, ranges.astype(np.uint64))


def read_moc(path: Path) -> MOC:
    """Read a spatial MOC in FITS, JSON or ASCII; the form is told by the content.

    Raises
    ------
    CoverageError
        The file is missing, or is not a spatial MOC.
    """
    from mocpy import MOC

    try:
        head = path.read_bytes()[:2880]
        if head.startswith(b"SIMPLE"):
            return _checked(MOC.load(str(path), format="fits"), path)
        if head.lstrip().startswith(b"{"):
            return _moc_of_json(path)
        if not head.strip():
            raise CoverageError("the MOC file is empty", place=path)
        return _checked(MOC.load(str(path), format="ascii"), path)
    except FileNotFoundError as error:
        hint = "give the file of a spatial MOC; a coverage may also be rows or all-sky"
        raise CoverageError("there is no such file", place=path, hint=hint) from error
    except OSError as error:
        # mocpy reports what it cannot parse as OSError too, over several lines, with where it stood in its own grammar.
        reason = error.strerror or " ".join(str(error).split())
        if reason.startswith("Parse error"):
            reason = "neither a FITS file, nor JSON, nor text of cells"
        raise CoverageError(f"not a readable MOC: {reason}", place=path, hint=_WAY_OUT) from error
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise CoverageError(f"not a readable MOC: {error}", place=path, hint=_WAY_OUT) from error


def _checked(moc: MOC, path: Path) -> MOC:
    """Parsers accept files whose numbers make no sense."""
    if not healpix.check_ranges(moc.to_depth29_ranges.astype(np.int64).reshape(-1, 2)):
        raise CoverageError("the MOC holds cells that do not exist", place=path)
    return moc


def _moc_of_json(path: Path) -> MOC:
    """Parsed here, because mocpy takes orders and cells that do not exist without a word."""
    content = json.loads(path.read_text(encoding="utf-8"))
    parts = [np.empty((0, 2), dtype=np.int64)]
    deepest = 0
    for key, members in content.items():
        order = int(key) if key.isdecimal() else -1
        if not 0 <= order <= healpix.MAX_ORDER or not isinstance(members, list):
            raise CoverageError(f"not a MOC: {key!r} is not a HEALPix order with a list of cells", place=path)
        if not all(isinstance(cell, int) and 0 <= cell < 12 << (2 * order) for cell in members):
            raise CoverageError(f"not a MOC: order {order} holds cells that do not exist", place=path)
        parts.append(healpix.ranges_of_cells(np.array(members, dtype=np.int64), order))
        deepest = max(deepest, order)
    return moc_of(healpix.merge_ranges(np.concatenate(parts)), deepest)


def save(folder: Path, summary: dict[str, Any], ranges: NDArray[np.int64]) -> None:
    """Write the map and its summary into a copy's folder; the summary, which makes them valid, comes last."""
    moc_of(ranges, summary["order"]).save(str(folder / f".{MAP_FILE}"), format="fits", overwrite=True)
    data = (folder / f".{MAP_FILE}").read_bytes()
    document = {"format": _FORMAT, **summary, "map": {"file": MAP_FILE, "sha256": hashlib.sha256(data).hexdigest()}}
    (folder / f".{SUMMARY_FILE}").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for name in (MAP_FILE, SUMMARY_FILE):
        os.replace(folder / f".{name}", folder / name)


def load(folder: Path) -> tuple[Summary, NDArray[np.int64]]:
    """Read what `save` wrote.

    Raises
    ------
    CoverageError
        A file is missing, damaged, or does not belong to the other.
    """
    place = folder / SUMMARY_FILE
    hint = "import or pull the catalogue again"
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
        data = (folder / MAP_FILE).read_bytes()
        if document["format"] != _FORMAT:
            raise CoverageError(f"format {document['format']!r} is not known", place=place, hint="update xmatch-hats")
        if hashlib.sha256(data).hexdigest() != document["map"]["sha256"]:
            raise CoverageError("the coverage map is damaged", place=folder / MAP_FILE, hint=hint)
        summary = Summary(kind=document["kind"], order=int(document["order"]), source=str(document["source"]))
    except OSError as error:
        raise CoverageError(f"cannot be read: {error.strerror}", place=error.filename or place, hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CoverageError(f"the summary of the coverage is damaged: {error}", place=place, hint=hint) from error
    moc = read_moc(folder / MAP_FILE)
    return summary, moc.to_depth29_ranges.astype(np.int64).reshape(-1, 2)
