"""Packets set aside: untouched, each with a file beside it that says why."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from xmatch_hats.alerts.sinks import FolderSink
from xmatch_hats.errors import PacketError


class Rejects:
    """A folder of rejected packets, which appears at the end, and only if there are any.

    A packet keeps its name; a record of a packet with several is kept as a packet of its own, ``NAME.record-N.avro``.
    ``NAME.reason.json`` tells the error's class and message, where the packet came from, and the record's number,
    counted from 0. What was too large to be read, and archives that break off, are not copied: their reason names them.

    Parameters
    ----------
    folder : Path
        It does not exist, or is empty.

    Raises
    ------
    UsageError
        The folder holds something.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packets = 0
        self._sink = FolderSink(folder)

    def add(
        self,
        name: str,
        data: bytes | None,
        error: PacketError,
        *,
        source: str,
        modified: int,
        record: int | None = None,
    ) -> None:
        """Set a packet aside.

        Parameters
        ----------
        name : str
            Relative name.
        data : bytes or None
            The packet, None for one that is not kept.
        error : PacketError
        source : str
            Where it came from.
        modified : int
            Seconds since 1970.
        record : int, optional
            Number of the record that `data` holds alone.
        """
        self.packets += 1
        if record is not None:
            path = PurePosixPath(name)
            name = str(path.with_name(f"{path.stem}.record-{record}{path.suffix}"))
        if data is not None:
            name = self._sink.write(name, [data], modified)
        reason = {
            "error": type(error).__name__,
            "message": str(error),
            "source": source,
            "record": record,
            "kept": data is not None,
        }
        self._sink.write(f"{name}.reason.json", [json.dumps(reason, indent=1).encode(), b"\n"], modified)

    def commit(self) -> None:
        """Give the folder its name, if there are rejects."""
        if self.packets:
            self._sink.commit()

    def abort(self) -> None:
        """Leave nothing behind."""
        self._sink.abort()
