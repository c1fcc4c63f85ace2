"""Where the slices of an archive lie, noted on disk while it is read."""

from __future__ import annotations

import base64
import json
import os
from bisect import bisect_right
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xmatch_hats.bulk.alerts.gzip_stream import BEGINNING, Point
from xmatch_hats.bulk.alerts.inflate import Border
from xmatch_hats.whole import unwritable, written_whole


@dataclass(frozen=True)
class Slice:
    """Some members of an archive."""

    number: int
    """From 0."""
    start: int
    """Bytes of the tar archive, decompressed, that precede it."""
    size: int
    """Bytes that its members have: of one that is too large to be read, only the header."""
    next: int
    """Bytes that precede the next slice."""
    first_member: int
    """Number of its first member in the archive, from 0."""
    members: int
    compressed: int
    """Bytes of the file that it takes, about."""

    @property
    def name(self) -> str:
        """Name of its task."""
        return f"slice-{self.number:06d}"


@dataclass(frozen=True)
class End:
    """How an archive ends."""

    members: int
    """All that it has, up to damage."""
    damage: str | None
    """Why what follows is lost; None where it ends well."""


class SliceBook:
    """Slices and points of one archive.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Half a line, as a kill leaves it, is no note.

    Attributes
    ----------
    slices : list of Slice
    end : End or None
        None as long as nobody has come there.
    is_plain : bool
        Whether the archive is not compressed.
    """

    def __init__(self, folder: Path) -> None:
        self.slices: list[Slice] = []
        self.end: End | None = None
        self.is_plain = False
        self._folder = folder
        self._notes = folder / "slices.jsonl"
        self._scratch = folder / "scratch"
        self._position = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._read()
            self._offsets = sorted(int(path.stem) for path in folder.glob("*.point"))
        except OSError as error:
            raise unwritable(folder, error) from error

    @property
    def next_offset(self) -> int:
        """Where the next slice begins."""
        return self.slices[-1].next if self.slices else 0

    @property
    def next_member(self) -> int:
        """Number of its first member."""
        return self.slices[-1].first_member + self.slices[-1].members if self.slices else 0

    def add(self, start: int, size: int, following: int, members: int, position: int) -> Slice:
        """Note the next slice.

        Parameters
        ----------
        start, size, following, members : int
            As `Slice` has them.
        position : int
            Bytes of the file that were read so far.
        """
        first, self._position = self._position, max(position, self._position)
        piece = Slice(
            len(self.slices), start, size, following, self.next_member, members, max(self._position - first, 1)
        )
        self._append({"slice": asdict(piece)})
        self.slices.append(piece)
        return piece

    def finish(self, end: End) -> None:
        """Note the end of the archive."""
        self._append({"end": asdict(end)})
        self.end = end

    def note_plain(self) -> None:
        """Note that the archive is not compressed, so that every byte of it is a point."""
        if not self.is_plain:
            self._append({"plain": True})
            self.is_plain = True

    def add_point(self, point: Point) -> None:
        """Note a point of the compressed file."""
        if point.offset in self._offsets:
            return
        note: dict[str, Any] = asdict(point)
        if point.border is not None:
            note["border"]["window"] = base64.b64encode(point.border.window).decode()
        with written_whole(self._folder / f"{point.offset:015d}.point", self._scratch) as file:
            file.write(json.dumps(note).encode())
        self._offsets.append(point.offset)
        self._offsets.sort()

    def point_before(self, offset: int) -> Point:
        """The last point that is not behind an offset of the tar archive."""
        if self.is_plain:
            return Point(offset, offset, None)
        for place in range(bisect_right(self._offsets, offset) - 1, -1, -1):
            try:
                note = json.loads((self._folder / f"{self._offsets[place]:015d}.point").read_bytes())
                border = note.pop("border")
                if border is not None:
                    border = Border(**border | {"window": base64.b64decode(border["window"])})
                return Point(**note, border=border)
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return BEGINNING

    def _read(self) -> None:
        lines = self._notes.read_bytes().split(b"\n") if self._notes.exists() else []
        whole = 0
        for line in lines[:-1]:
            try:
                note = json.loads(line)
                if "end" in note:
                    self.end = End(**note["end"])
                elif "plain" in note:
                    self.is_plain = True
                else:
                    self.slices.append(Slice(**note["slice"]))
                    self._position += self.slices[-1].compressed
            except (ValueError, TypeError, KeyError):
                break
            whole += len(line) + 1
        if lines:
            # What is noted next must not follow half a line.
            os.truncate(self._notes, whole)

    def _append(self, note: dict[str, Any]) -> None:
        try:
            with self._notes.open("ab") as file:
                file.write(json.dumps(note).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self._notes, error) from error
