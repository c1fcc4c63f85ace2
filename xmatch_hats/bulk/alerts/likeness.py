"""Whether archives were matched alike: with the same radius, and the same version of each catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Catalogs = Sequence[Mapping[str, Any]]
"""What an archive was matched with: by catalogue its name, radius_arcsec and columns, and as ``input`` its version."""


def matched_with(facts: Mapping[str, Any]) -> Catalogs:
    """Tell what an archive was matched with, by its provenance."""
    asked, (_, *inputs) = facts["settings"]["catalogs"], facts["inputs"]
    return [{**one, "input": given} for one, given in zip(asked, inputs, strict=True)]


def difference(these: Catalogs, others: Catalogs) -> str:
    """Say in what two archives were matched differently; empty if in nothing.

    Catalogues that only one of them has are nothing here; nor is the place of a catalogue: what counts are checksums.
    """
    known = {one["name"]: one for one in others}
    for one in these:
        other = known.get(one["name"])
        if other is None:
            continue
        mine, theirs = one["radius_arcsec"], other["radius_arcsec"]
        if mine != theirs:
            return f"another radius of {one['name']} ({mine:g} arcsec, not {theirs:g})"
        if one["input"]["sha256"] != other["input"]["sha256"]:
            return f"another version of {one['name']}"
    return ""


def alike(archives: Iterable[tuple[str, Catalogs]]) -> list[dict[str, Any]]:
    """Put archives together that were matched alike.

    Parameters
    ----------
    archives : iterable of (str, Catalogs)
        With their names.

    Returns
    -------
    list of dict
        ``archives``, their names, and ``catalogs``, what the first of them was matched with; in order. JSON values.
    """
    groups: list[dict[str, Any]] = []
    for name, catalogs in archives:
        names = [one["name"] for one in catalogs]
        for group in groups:
            if names == [one["name"] for one in group["catalogs"]] and not difference(catalogs, group["catalogs"]):
                group["archives"].append(name)
                break
        else:
            groups.append({"archives": [name], "catalogs": list(catalogs)})
    return groups


def told_differences(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say, for each of the groups that `alike` gives but the first, how it differs from that."""
    told = []
    for group in groups[1:]:
        if found := difference(group["catalogs"], groups[0]["catalogs"]):
            first, *more = group["archives"]
            others = f" and {len(more)} more were" if more else " was"
            told.append(f"{first}{others} matched with {found}, than {groups[0]['archives'][0]}")
    return told
