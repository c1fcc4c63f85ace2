"""Versions of Python and of the libraries, held against what this package asks for; nothing is imported for it."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version

from xmatch_hats import __version__
from xmatch_hats.doctor.report import State, Symptom

PACKAGE = "xmatch-hats"
TOLD = ("lsdb", "hats", "hats-import", "nested-pandas", "dask", "distributed", "pyarrow", "pandas", "numpy", "astropy")
"""Libraries whose versions are told first: what catalogues are read and matched with."""
EXTRAS = {"matplotlib": ("plots", "pictures")}
"""Libraries that not everybody has, with the extra that brings them and what it is for."""
AGAIN = f"pip install --upgrade {PACKAGE}"


def installed(name: str) -> str | None:
    """Version of a distribution; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Versions of this package, Python, and every library that this package asks for."""
    names = dict.fromkeys([*TOLD, *(name for name, _ in required()), *EXTRAS])
    return {
        "xmatch-hats": __version__,
        "python": platform.python_version(),
        **{name: installed(name) for name in names},
    }


def required() -> list[tuple[str, str]]:
    """Names and version specifiers of what this package asks for, extras apart; empty where nobody knows."""
    try:
        from packaging.requirements import Requirement

        texts = requires(PACKAGE) or []
    except (ImportError, PackageNotFoundError):
        return []
    found = [Requirement(text) for text in texts]
    return [(one.name, str(one.specifier)) for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def look_at_software() -> list[Symptom]:
    """Tell versions, what is missing, and what does not fit."""
    lines = [_python()]
    needed = required()
    if not needed:
        todo = "run it from where it is installed, or pip install it"
        lines.append(Symptom("package", State.WARNING, f"{PACKAGE} {__version__} runs, but is not installed", todo))
    else:
        lines.append(Symptom("package", State.OK, f"{PACKAGE} {__version__}"))
    wrong = [line for name, specifier in needed if (line := _misfit(name, specifier))]
    told = ", ".join(f"{name} {found}" for name in TOLD if (found := installed(name)))
    lines += wrong or [Symptom("libraries", State.OK, told)]
    for name, (extra, purpose) in EXTRAS.items():
        found = installed(name)
        detail = f"{name} {found}" if found else f"no {name}, so there are no {purpose}"
        lines.append(Symptom(purpose, State.OK, detail, "" if found else f"pip install '{PACKAGE}[{extra}]' for them"))
    return lines


def _python() -> Symptom:
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if platform.system() != "Linux":
        return Symptom("python", State.WARNING, told, "it is tested on Linux alone: verify what you make")
    return Symptom("python", State.OK, told)


def _misfit(name: str, specifier: str) -> Symptom | None:
    from packaging.specifiers import SpecifierSet

    found = installed(name)
    if found is None:
        return Symptom(name, State.PROBLEM, "is not installed", AGAIN)
    if not SpecifierSet(specifier).contains(found, prereleases=True):
        return Symptom(name, State.PROBLEM, f"is {found}, and {specifier} is asked for", AGAIN)
    return None
