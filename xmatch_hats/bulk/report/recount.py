"""An archive's own count: its members, by another reader than that which matched them."""

from __future__ import annotations

import gzip
from contextlib import closing
from typing import IO, cast

from xmatch_hats.alerts.archive import TAR_FAULTS, ForwardStream, next_member, open_forward
from xmatch_hats.alerts.names import is_hidden
from xmatch_hats.bulk.alerts.archives import Archive


def count_members(archive: Archive) -> tuple[int, int]:
    """Count the members of an archive, reading it from one end to the other.

    Parameters
    ----------
    archive : Archive
        Plain or compressed by gzip, as its name tells.

    Returns
    -------
    members, packets : int
        All members, and those of them that are files and not hidden. Of a damaged archive, those before the damage.

    Raises
    ------
    XmatchError
        It cannot be reached.
    """
    members = packets = 0
    with closing(archive.open()) as raw:
        source = cast(IO[bytes], raw)
        plain = source if archive.place.endswith(".tar") else gzip.GzipFile(fileobj=source)
        stream = ForwardStream(cast(IO[bytes], plain))
        try:
            tar = open_forward(stream)
            while (member := next_member(tar, stream)) is not None:
                members += 1
                packets += member.isreg() and not is_hidden(member.name)
                stream.seek(tar.offset)
        except TAR_FAULTS:
            # What it is told of already: it counts as one reject.
            pass
    return members, packets
