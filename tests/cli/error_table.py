"""What is typed, at a shell and in Python, and what comes back: the tables of error messages, and the page of them.

``python -m tests.cli.error_table`` writes the page anew.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
ROWS_FILE = Path(__file__).with_name("error_table.txt")
CALLS_FILE = Path(__file__).with_name("error_calls.txt")
VERBS = (
    "demo", "doctor", "alerts", "match", "cone", "box", "star-cat", "match-fits", "fits-stats", "run", "catalog",
    "bulk", "db", "dead-letters",
)  # fmt: skip
_TOLD = "> "
INTRODUCTION = """\
# Error messages

What is typed, and what comes back: one or two lines on the error output that name the thing, the place and the way out;
wrong settings have a line each. The exit code is 2 where the command line or a setting is wrong, and 1 where what it
asks for cannot be done. A test types every line of this page.

What `doctor` finds wrong is no error of its own, but a line of its report, with what to do below it.
`xmatch-hats-findgsc` leaves the error output empty, as its callers expect, and tells reasons in the
[first line of its output](how-to/image-pipelines.md#in-the-place-of-the-cds-client).

In the folder lie `sky` and `plain`, copies of catalogues (`sky` has ALLWISE's columns), `damaged`, one that is not
whole, the tables `t.csv` (columns `name`, `ra`, `dec`), `noradec.csv` and `ragged.csv`, a text `notes.txt` (the same
as `notes.fits`), an image `image-51.fits`, a table of SExtractor's `cat-51.fits` and the beginning of it,
`short-51.fits`, an SQLite file `psf-51.sqlite`, a folder `packets` of alerts, and a folder `taken` with something in
it. One catalogue is registered, `stars`."""
IN_PYTHON = """\
## In Python

The same errors are raised, an `XmatchError` each, and advise arguments where a command has options. `t` is the table
`t.csv`, as pandas reads it."""


@dataclass(frozen=True)
class Row:
    """One line of the table; paths below the folder in which it is typed begin with ``./``."""

    command: str
    code: int
    told: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables that are set before the command."""
        return dict(word.split("=", 1) for word in self._words[: self._split])

    @property
    def arguments(self) -> list[str]:
        """What follows the program's name."""
        return self._words[self._split + 1 :]

    @property
    def verb(self) -> str:
        """First word behind the program's name; empty where it is none of the verbs."""
        first = self.arguments[0]
        return first if first in VERBS else ""

    @property
    def _words(self) -> list[str]:
        return shlex.split(self.command)

    @property
    def _split(self) -> int:
        return self._words.index("xmatch-hats")


def read_rows() -> list[Row]:
    """Rows of the file: a line ``$ command  [exit code]``, then what it tells, each line behind ``> ``."""
    rows = []
    for block in ROWS_FILE.read_text().strip().split("\n\n"):
        first, *told = block.splitlines()
        found = re.fullmatch(r"\$ (?P<command>.+)  \[(?P<code>[0-9]+)\]", first)
        assert found, first
        assert all(line.startswith(_TOLD) for line in told), block
        text = "\n".join(line.removeprefix(_TOLD) for line in told)
        rows.append(Row(found["command"], int(found["code"]), text))
    return rows


@dataclass(frozen=True)
class Call:
    """One line of the table of Python."""

    source: str
    raised: str
    """Class of the error, and what it says."""


def read_calls() -> list[Call]:
    """Calls of the file: a line ``>>> source``, then what it raises."""
    blocks = [block.splitlines() for block in CALLS_FILE.read_text().strip().split("\n\n")]
    return [Call(source.removeprefix(">>> "), raised) for source, raised in blocks]


def page_of(rows: list[Row], calls: list[Call]) -> str:
    """The page, in Markdown."""
    lines = [INTRODUCTION]
    verb = None
    for row in rows:
        if row.verb != verb:
            verb = row.verb
            lines += ["", f"## {verb or 'No verb'}", "", "| typed | exit code | came back |", "|---|---|---|"]
        told = "<br>".join(f"`{_cell(line)}`" for line in row.told.splitlines())
        lines.append(f"| `{_cell(row.command)}` | {row.code} | {told} |")
    lines += ["", IN_PYTHON, "", "| typed | raised |", "|---|---|"]
    lines += [f"| `{_cell(call.source)}` | `{_cell(call.raised)}` |" for call in calls]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    # Ticks of a message would end the code that it is shown as.
    return text.replace("`", "'").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page_of(read_rows(), read_calls()))
