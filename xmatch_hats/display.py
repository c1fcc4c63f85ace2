"""How objects and counts are shown: what notebooks show is plain HTML without any style of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

ROWS_SHOWN = 12


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def as_html(
    title: str,
    facts: Mapping[str, object],
    names: Sequence[str] = (),
    rows: Sequence[Sequence[object]] = (),
    total: int | None = None,
) -> str:
    """Write an object down for ``_repr_html_``.

    Parameters
    ----------
    title : str
    facts : mapping of str to object
        What is said of it; values that are None or empty are left out. Paths below the current folder are shown from
        there, so that a notebook that is given away does not tell where it was run.
    names : sequence of str, optional
        Of the columns of a table below.
    rows : sequence of sequence of object, optional
        The table's rows, of which the first `ROWS_SHOWN` are shown.
    total : int, optional
        How many rows there are, where only the first are given.

    Returns
    -------
    str
        HTML; everything that is put in is escaped.
    """
    told = {name: value for name, value in facts.items() if value is not None and value != ""}
    parts = [f"<div><strong>{escape(title)}</strong>", "<table><tbody>"]
    parts += [_row((name, value), "th", "td") for name, value in told.items()]
    parts.append("</tbody></table>")
    if names:
        parts += ["<table><thead>", _row(names, "th", "th"), "</thead><tbody>"]
        parts += [_row(row, "td", "td") for row in rows[:ROWS_SHOWN]]
        parts.append("</tbody></table>")
        if (more := (len(rows) if total is None else total) - ROWS_SHOWN) > 0:
            parts.append(f"<p>and {more:,} more</p>")
    return "".join([*parts, "</div>"])


def told_bytes(size: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def from_here(path: Path) -> Path:
    """A path below the current folder as seen from there, any other as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _row(values: Sequence[object], first: str, others: str) -> str:
    tags = [first, *[others] * (len(values) - 1)]
    cells = (f"<{tag}>{_text(value)}</{tag}>" for tag, value in zip(tags, values, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Path):
        value = from_here(value)
    return escape(f"{value:.6g}" if isinstance(value, float) else str(value))
