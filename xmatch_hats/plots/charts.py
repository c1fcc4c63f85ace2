"""Finding charts: an alert's image, and what a catalogue has around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.visualization import AsinhStretch, ImageNormalize
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from xmatch_hats.alerts.container import MAGIC
from xmatch_hats.alerts.cutouts import CUTOUTS, Cutout, decode_record, read_cutout
from xmatch_hats.alerts.packet import Alert, Packet, PacketReader
from xmatch_hats.errors import PacketError, RadiusError, UsageError
from xmatch_hats.matching.batch import as_degrees
from xmatch_hats.matching.forms import form_of
from xmatch_hats.plots.results import Floats, arcsec
from xmatch_hats.plots.style import BLUE, GREEN, GREY, ORANGE, entitle, plain, plain_axes
from xmatch_hats.plots.subjects import margin_of, name_of, neighbours_of, opened
from xmatch_hats.sphere import PositionFault, offsets_arcsec, position_faults

ZTF_PIXEL_ARCSEC = 1.0125
"""Scale of ZTF's images, as positions on detectors in its alerts tell (1.01 by Bellm et al. 2019, PASP 131, 018002)."""
_HALO = [withStroke(linewidth=3.2, foreground="white")]
_LEGEND_INCHES = 0.55
_RADII = 10.0
"""Of the search, that are drawn around a position where the catalogue has no margin."""


@dataclass(frozen=True)
class Subject:
    """What a chart is made for."""

    ra: float
    """Degrees."""
    dec: float
    title: str
    record: Mapping[str, Any] = field(default_factory=dict)
    """An alert, decoded."""


def finder(  # noqa: PLR0913 - all by keyword but what is always given
    alert: Any, catalog: Any, radius: u.Quantity | float = 1.0 * u.arcsec, *, cutout: str = "science",
    margin: u.Quantity | float | None = None, width: u.Quantity | float | None = None, number: int = 0,
    pixel: u.Quantity | float = ZTF_PIXEL_ARCSEC, others: Any = None, ranks: bool = False, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw an alert's image with the rows of a catalogue around it, all to scale, north up and east on the left.

    Circles show the search radius and the margin; rows of the catalogue within the margin are marked, and the nearest
    one within the radius, which is the match, with its separation. Where there is no image, a cross marks the position.

    Parameters
    ----------
    alert : bytes, str, Path, Packet, Alert, dict, SkyCoord or (ra, dec)
        A packet or its file, read or not; a decoded record; or a position alone, for which no image is drawn. Of a bare
        `Alert` the container must be at hand: give its packet where that is compressed.
    catalog : str, Path, LocalCopy, lsdb.Catalog or a table
        An LSDB catalogue that has been narrowed shows what is left of it.
    radius : Quantity or float, optional
        Of the search; a number is arcseconds.
    cutout : {"science", "template", "difference"}, optional
        Which image. Pixels of the first row that is stored are taken for the northernmost, as it is in ZTF's FITS
        cutouts; JPEG cutouts do not tell.
    margin : Quantity or float, optional
        How far around the position rows are marked; by default the margin of the catalogue, else ten radii.
    width : Quantity or float, optional
        Of what is shown; by default three margins.
    number : int, optional
        Which alert of a packet that holds several, from 0.
    pixel : Quantity or float, optional
        Scale of the image, arcseconds per pixel; by default ZTF's.
    others : str, Path, LocalCopy, lsdb.Catalog or a table, optional
        A second list, drawn as dots all over the picture: of a row that several positions match with, those positions.
    ranks : bool, optional
        Number the rows of the catalogue, 1 for the nearest, as ``_rank`` of `xmatch_hats.crossmatch` does.
    ax : Axes, optional
        Plain ones, of a figure with ``layout="constrained"``, which makes room for the legend below.

    Returns
    -------
    Axes
        In arcseconds from the position, in the plane that touches the sphere there.

    Raises
    ------
    PacketError
        The packet or its image cannot be read.
    UsageError, RadiusError
        Something else than these, a position that is not on the sphere, or no angle above 0.
    CatalogNotFoundError, CatalogError
        There is no such copy, or it is damaged.
    """
    if cutout not in CUTOUTS:
        raise UsageError(f"there is no cutout {cutout!r}", hint=f"choose from {', '.join(CUTOUTS)}", value=cutout)
    catalog = opened(catalog)
    axes = plain_axes(ax, 5.6, 6.0)
    subject = _subject_of(alert, number)
    search, scale = _size(radius, "radius"), _size(pixel, "pixel")
    asked = _size(margin, "margin") if margin is not None else margin_of(catalog)
    reach = max(search, asked or _RADII * search)
    half = 0.5 * _size(width, "width") if width is not None else 1.5 * reach
    ra, dec, apart = neighbours_of(catalog, subject.ra, subject.dec, reach)
    stamp = read_cutout(subject.record, CUTOUTS[cutout])
    if stamp is not None:
        _show(axes, stamp, scale)
    else:
        axes.plot(0.0, 0.0, "+", color=GREY, markersize=16, linestyle="none", label="position")
    if others is not None:
        _add(axes, opened(others), subject, half)
    east, north = offsets_arcsec(ra, dec, subject.ra, subject.dec)
    _mark(axes, east, north, apart, (search, half))
    if ranks:
        _number(axes, east, north)
    axes.set(xlim=(half, -half), ylim=(-half, half))
    _circle(axes, search, f'radius {search:g}"', ORANGE, "-")
    _circle(axes, reach, f'{"margin" if asked else "shown to"} {reach:g}"', BLUE, "--")
    axes.set_aspect("equal")
    axes.set_xlabel("ΔRA cos(Dec) (arcsec)")
    axes.set_ylabel("ΔDec (arcsec)")
    _explain(axes, subject, cutout if stamp is not None else "", stamp, name_of(catalog))
    return axes


def _size(angle: u.Quantity | float, what: str) -> float:
    value = arcsec(angle, f"the {what}")
    if value.ndim or not (np.isfinite(value) and value > 0.0):
        raise RadiusError(f"the {what} must be one angle above 0, not {angle!r}", value=angle)
    return float(value)


def _circle(axes: Axes, radius: float, label: str, color: str, stroke: str) -> None:
    # The legend speaks of nothing that lies beyond the corners.
    if radius > math.hypot(axes.get_xlim()[0], axes.get_ylim()[1]):
        return
    axes.add_patch(Circle((0.0, 0.0), radius, fill=False, color=color, linestyle=stroke, linewidth=1.4))
    # A circle would have a rectangle in the legend.
    axes.plot([], [], color=color, linestyle=stroke, linewidth=1.4, label=label)


def _show(axes: Axes, stamp: Cutout, scale: float) -> None:
    height, width = (0.5 * scale * pixels for pixels in stamp.image.shape)
    known = stamp.image[np.isfinite(stamp.image)]
    low, sky, over, high = np.percentile(known, (1.0, 50.0, 84.0, 99.8)) if known.size else (0.0, 0.0, 0.5, 1.0)
    high = max(high, low + 1e-6 * max(1.0, abs(low)))
    # Linear in the noise, logarithmic in what is bright.
    stretch = AsinhStretch(float(np.clip(3.0 * (over - sky) / (high - low), 0.01, 1.0)))
    axes.set_facecolor("#d0d0d0")
    # Dark on white, as on paper. The first row lies in the north, the first pixel of it in the east.
    axes.imshow(
        stamp.image, origin="upper", extent=(width, -width, -height, height), interpolation="nearest",
        cmap="gray_r", norm=ImageNormalize(vmin=low, vmax=high, stretch=stretch),
    )  # fmt: skip


def _mark(axes: Axes, east: Floats, north: Floats, apart: Floats, sizes: tuple[float, float]) -> None:
    """Mark the rows that the picture shows; the sizes are the radius of the search and half of the picture's width."""
    radius, half = sizes
    shown = _shown(east, north, half)
    matched = np.zeros(len(apart), bool)
    matched[:1] = shown[:1] & (apart[:1] <= radius)
    others = shown & ~matched
    if others.any():
        axes.scatter(
            east[others], north[others], s=60, facecolors="none", edgecolors=BLUE, marker="s", linewidths=1.6,
            zorder=4, path_effects=_HALO, label=f"other rows: {int(others.sum()):,}",
        )  # fmt: skip
    if matched.any():
        axes.scatter(
            east[matched], north[matched], s=90, color=ORANGE, marker="x", linewidths=1.8, zorder=4, path_effects=_HALO,
            label=f'match at {apart[0]:.2f}"',
        )  # fmt: skip


def _shown(east: Floats, north: Floats, half: float) -> NDArray[np.bool_]:
    return np.asarray((np.abs(east) <= half) & (np.abs(north) <= half))


def _add(axes: Axes, catalog: Any, subject: Subject, half: float) -> None:
    """Draw the rows of a second list as dots, wherever the square picture shows them."""
    ra, dec, _ = neighbours_of(catalog, subject.ra, subject.dec, math.sqrt(2.0) * half)
    east, north = offsets_arcsec(ra, dec, subject.ra, subject.dec)
    shown = _shown(east, north, half)
    if shown.any():
        label = plain(f"{name_of(catalog) or 'second list'}: {int(shown.sum()):,}")
        axes.scatter(east[shown], north[shown], s=22, color=GREEN, linewidths=0, zorder=3, label=label)


def _number(axes: Axes, east: Floats, north: Floats) -> None:
    """Write beside each mark how many there are up to it, the nearest first."""
    for rank, place in enumerate(zip(east, north, strict=True), start=1):
        axes.annotate(
            str(rank), place, xytext=(7, 5), textcoords="offset points", fontsize="small", color=GREY, zorder=5,
            path_effects=_HALO, annotation_clip=True, clip_on=True,
        )  # fmt: skip


def _explain(axes: Axes, subject: Subject, cutout: str, stamp: Cutout | None, name: str) -> None:
    place = f"RA {subject.ra:.5f}°, Dec {subject.dec:+.5f}°"
    entitle(axes, f"{subject.title}\n{place}" if subject.title else place, fontsize="medium")
    words = [f"{cutout} image{' (JPEG)' if stamp.kind == 'JPEG' else ''}"] if stamp is not None else []
    if stamp is None and subject.record:
        words.append("no image")
    if name:
        words.append(f"marks: {name}")
    # So many inches below, however large the axes: layouts come out right then.
    below = axes.transAxes + ScaledTranslation(0.0, -_LEGEND_INCHES, axes.figure.dpi_scale_trans)
    axes.legend(
        title=plain(", ".join(words)), loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, ncols=2,
        frameon=False, borderaxespad=0.0, fontsize="small", title_fontsize="small",
    )  # fmt: skip


def _subject_of(alert: Any, number: int) -> Subject:
    """Recognise what a chart is made for."""
    if isinstance(alert, Mapping):
        return _of_record(alert)
    if isinstance(alert, Alert):
        if not alert.data.startswith(MAGIC):
            raise UsageError("an alert of a compressed packet does not hold its schema", hint="give the packet")
        packet = PacketReader().read(alert.data)
        return _of_packet(packet, next((own for own in packet.alerts if own.start == alert.start), packet.alerts[0]))
    if isinstance(alert, str | Path):
        path = Path(alert).expanduser()
        try:
            alert = path.read_bytes()
        except OSError as error:
            hint = "text is the name of a packet's file; a position is a SkyCoord, or right ascension and declination"
            raise PacketError(f"cannot be read: {error.strerror or error}", place=path, hint=hint) from error
    if isinstance(alert, bytes | bytearray | memoryview):
        alert = PacketReader().read(bytes(alert))
    if isinstance(alert, Packet):
        if not 0 <= number < len(alert.alerts):
            raise UsageError(f"the packet holds {len(alert.alerts)} alerts, and none of number {number}", value=number)
        return _of_packet(alert, alert.alerts[number])
    return _of_position(alert)


def _of_packet(packet: Packet, alert: Alert) -> Subject:
    return _subject(alert.ra, alert.dec, _title(alert.object_id, alert.candid), decode_record(packet, alert))


def _of_record(record: Mapping[str, Any]) -> Subject:
    candidate = record.get("candidate") or record.get("diaSource") or record
    try:
        ra, dec = float(candidate["ra"]), float(candidate["dec"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            "the record has no position in candidate.ra and candidate.dec", hint="give an alert, decoded, or a SkyCoord"
        ) from error
    return _subject(ra, dec, _title(record.get("objectId"), record.get("candid")), record)


def _of_position(position: Any) -> Subject:
    if isinstance(position, SkyCoord):
        form = form_of(position)
        ra, dec = form.ra, form.dec
    else:
        try:
            ra, dec = (np.atleast_1d(as_degrees(angle)) for angle in position)
        except (TypeError, ValueError, UsageError) as error:
            raise UsageError(
                f"no chart can be made for a {type(position).__name__}",
                hint="give a packet, its file, an alert, a SkyCoord, or right ascension and declination",
                value=position,
            ) from error
    if ra.shape != (1,) or dec.shape != (1,):
        raise UsageError(f"a chart is made for one position, not for {ra.size}", value=position)
    return _subject(float(ra[0]), float(dec[0]), "", {})


def _subject(ra: float, dec: float, title: str, record: Mapping[str, Any]) -> Subject:
    fault = PositionFault(int(position_faults([ra], [dec])[0]))
    if fault:
        raise UsageError(f"no chart can be made: {fault.reason}", place=title or None, value=(ra, dec))
    return Subject(math.fmod(ra + 720.0, 360.0), dec, title, record)


def _title(object_id: Any, candid: Any) -> str:
    names = [str(object_id) if object_id is not None else "", f"candid {candid}" if candid is not None else ""]
    return ", ".join(name for name in names if name)
