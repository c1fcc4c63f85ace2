"""What a shell is offered where a catalogue is asked for: registered names, versions behind an ``@``, and folders."""

from __future__ import annotations

from pathlib import Path

import typer

from xmatch_hats.errors import XmatchError


def complete_catalog(incomplete: str) -> list[str]:
    """Names that begin so, ``NAME@VERSION`` once there is an ``@``, or folders once there is a ``/``."""
    if "/" in incomplete or incomplete.startswith((".", "~")):
        return _folders(incomplete)
    pairs = _registered()
    if "@" in incomplete:
        offers = [f"{name}@{version}" for name, version in pairs if version is not None]
    else:
        offers = list(dict.fromkeys(name for name, _ in pairs))
    return [offer for offer in offers if offer.startswith(incomplete)] or _folders(incomplete)


def complete_name(incomplete: str) -> list[str]:
    """Names of which versions can be chosen."""
    names = dict.fromkeys(name for name, version in _registered() if version is not None)
    return [name for name in names if name.startswith(incomplete)]


def complete_version(ctx: typer.Context, incomplete: str) -> list[str]:
    """Versions of the name that stands before."""
    name = ctx.params.get("name")
    return [str(one) for owner, one in _registered() if owner == name and str(one or "").startswith(incomplete) and one]


def _registered() -> list[tuple[str, str | None]]:
    from xmatch_hats.catalogs.registry import list_copies

    try:
        return [(entry.name, entry.version) for entry in list_copies()]
    except (XmatchError, OSError):
        # Whoever presses a key wants no message between what they type.
        return []


def _folders(incomplete: str) -> list[str]:
    head, slash, tail = incomplete.rpartition("/")
    try:
        inside = sorted(Path(f"{head}{slash}" or ".").expanduser().iterdir())
        found = [path.name for path in inside if path.name.startswith(tail) and path.is_dir()]
    except (OSError, RuntimeError):
        return []
    return [f"{head}{slash}{name}" for name in found if tail or not name.startswith(".")]
