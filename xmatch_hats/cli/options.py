"""What verbs share: the catalogues of a command line, lists of columns, and numbers that begin with a minus sign."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.cli.completion import complete_catalog
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xmatch_hats.catalogs.copy import LocalCopy
    from xmatch_hats.matching.crossmatcher import CatalogTarget
    from xmatch_hats.matching.scheduling import Scheduler

CatalogsOption = Annotated[
    list[str],
    typer.Option(
        "--catalog",
        metavar="[NAME=]DIR",
        help="Copy to match with: a folder or a registered name. Repeats.",
        autocompletion=complete_catalog,
    ),
]
CatalogOption = Annotated[
    str,
    typer.Option(
        "--catalog",
        metavar="DIR",
        help="Copy to search: a folder or a registered name.",
        autocompletion=complete_catalog,
    ),
]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="A,B,...", help="Columns of the catalogue; default all that the copy has."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Worker processes; 0: in this process. Default: by the input's size."),
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler to work on.")
]
TlsOption = Annotated[
    tuple[Path, Path, Path] | None,
    typer.Option(
        "--tls",
        metavar="CA CERT KEY",
        help="PEM files for a scheduler at tls://: its authority, a certificate, its key.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]

_NAMED = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)=(?P<place>.+)", re.DOTALL)
_COORDINATE = re.compile(r"\b(ra|dec)=(?=[\s;)]|$)")
_NUMBER = re.compile(r"-\.?[0-9]")
_MARK = "\0"
"""No argument of a process can hold it, so it is safe as a mark."""


class NumericArgs(TyperCommand):
    """A command whose arguments may be negative numbers: ``-5.5`` is a value, never an option.

    Use it as ``app.command(cls=NumericArgs)``. A command that declares an option such as ``-5`` keeps it.
    """

    def make_parser(self, ctx: Any) -> Any:
        """Give the usual parser, which sees negative numbers under a mark that is gone before values are converted."""
        parser = super().make_parser(ctx)
        declared = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        parse = parser.parse_args

        def parse_guarded(args: list[str]) -> tuple[dict[str, Any], list[str], list[Any]]:
            marked = [_MARK + arg if _NUMBER.match(arg) and arg not in declared else arg for arg in args]
            options, rest, order = parse(args=marked)
            return {name: _unmark(value) for name, value in options.items()}, _unmark(rest), order

        setattr(parser, "parse_args", parse_guarded)  # noqa: B010, for mypy a method is no place to assign to
        return parser


def _unmark(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_MARK)
    if isinstance(value, list | tuple):
        return type(value)(_unmark(item) for item in value)
    return value


def split_target(value: str) -> tuple[str | None, str]:
    """Split ``[NAME=]DIR-or-name`` into the name, None where left out, and the rest.

    Only what looks like a name is split off, and never from the path of a folder that exists, so that paths may
    hold ``=`` themselves.

    Raises
    ------
    UsageError
        Nothing stands on one side of ``=``.
    """
    if not value or value.startswith("=") or (value.endswith("=") and not Path(value).is_dir()):
        raise UsageError("a catalogue is given as [NAME=]DIR", place=f"--catalog {value}", value=value)
    found = _NAMED.fullmatch(value)
    if found is None or Path(value).expanduser().is_dir():
        return None, value
    return found["name"], found["place"]


def default_name(copy: LocalCopy, place: str) -> str:
    """Name a copy that was given without one: its definition's, else its registered name, else its folder's."""
    from xmatch_hats.catalogs import registry

    if copy.definition is not None:
        return copy.definition.name
    if not registry.is_folder_argument(place):
        return registry.split_name(place)[0]
    # The link `current` of a name is a folder too, and no name.
    folder = copy.path.resolve()
    return folder.parent.name if registry.is_registered(folder) else folder.name


def parse_targets(
    values: Sequence[str], *, radius_arcsec: float | None, columns: Sequence[str] | None = None
) -> list[CatalogTarget]:
    """Open the catalogues of a command line.

    Parameters
    ----------
    values : sequence of str
        Each ``[NAME=]DIR-or-name``. An argument with a ``/``, or naming an existing folder, is a folder; else it is a
        registered name.
    radius_arcsec : float or None
        Search radius in arcseconds; None takes each catalogue's default.
    columns : sequence of str, optional
        Columns wanted, canonical or VizieR names; default all that a copy has.

    Raises
    ------
    UsageError
        No catalogue, or two of the same name.
    CatalogNotFoundError, CatalogError
        A copy is missing, damaged, or lacks a column.
    """
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.matching.crossmatcher import CatalogTarget

    if not values:
        raise UsageError("no catalogue to match with", hint="give --catalog [NAME=]DIR")
    targets = []
    for value in values:
        name, place = split_target(value)
        copy = open_copy(place)
        name = name or default_name(copy, place)
        targets.append(CatalogTarget(copy, name=name, radius_arcsec=radius_arcsec, columns=columns))
    twice = [name for name, count in Counter(target.name for target in targets).items() if count > 1]
    if twice:
        raise UsageError(
            f"two catalogues are named {twice[0]}", place="--catalog", hint="tell them apart: --catalog NAME=DIR"
        )
    return targets


def require_folder(out: Path) -> None:
    """Refuse an output folder that is a file, or that is or lies in a catalogue."""
    if out.exists() and not out.is_dir():
        raise UsageError("the output is a file", place=out, hint="give the name of a folder")
    refuse_inside_catalog(out, itself=True)


def check_scheduler(address: str | None, workers: int | None) -> None:
    """Refuse a scheduler that is to have a number of workers: it has those that it has.

    Raises
    ------
    UsageError
    """
    if address is not None and workers is not None:
        raise UsageError(
            "--scheduler and --workers exclude each other", hint="leave one out: a scheduler has workers of its own"
        )


def make_scheduler(address: str | None, workers: int | None, tls: tuple[Path, Path, Path] | None) -> Scheduler:
    """Make what the options ``--scheduler``, ``--workers`` and ``--tls`` mean; the caller closes it.

    Raises
    ------
    UsageError
        They do not go together.
    ConfigError
        A file of ``--tls`` cannot be used.
    """
    check_scheduler(address, workers)
    from xmatch_hats.matching.scheduling import Scheduler
    from xmatch_hats.matching.tls import TlsFiles

    return Scheduler(address=address, workers=workers, tls=None if tls is None else TlsFiles.of(*tls))


def begin_workers(address: str | None, workers: int | None) -> None:
    """Have workers of our own, if there will be any, begin to import what they need, before this process does."""
    if address is None and workers != 0:
        from xmatch_hats.matching.forks import start_fork_server

        start_fork_server()


def as_options(text: str) -> str:
    """Text of the library for the command line: arguments that it names, ``ra=``, are options here, ``--ra``."""
    return _COORDINATE.sub(r"--\1", text)


def split_columns(values: Sequence[str] | None, option: str = "--columns") -> list[str] | None:
    """Column names of a repeatable, comma-separated option; None for no option and for ``all``.

    Raises
    ------
    UsageError
        The option is there, but names nothing, or ``all`` among others.
    """
    if not values:
        return None
    names = list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))
    if names == ["all"]:
        return None
    if not names or "all" in names:
        raise UsageError("give column names, or all alone", place=f"{option} {','.join(values)}", value=names)
    return names
