"""The notebooks as they are kept, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
NAMES = ("01_explore", "02_crossmatch", "03_stream_and_bulk")
PATH_LINE = 'CATALOG = "demo/allwise"'


@cache
def book(name: str) -> NotebookNode:
    """A notebook."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[NotebookNode]:
    """Its cells of code."""
    return [cell for cell in book(name).cells if cell.cell_type == "code"]


def outputs(name: str) -> list[NotebookNode]:
    """What its cells showed."""
    return [output for cell in code_cells(name) for output in cell.outputs]


def texts(output: NotebookNode) -> list[str]:
    """What an output says, in all of its forms but pictures."""
    if output.output_type == "stream":
        return [output.text]
    return [str(data) for kind, data in output.get("data", {}).items() if not kind.startswith("image/")]
