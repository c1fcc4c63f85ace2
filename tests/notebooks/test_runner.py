"""What executes the notebooks: in a place of their own, and with a word on what went wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.__main__ import execute, main, stderr_of


def book_of(*sources: str) -> NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = new_notebook(cells=[new_code_cell(source) for source in sources], metadata={"kernelspec": kernel})
    book.cells[0].metadata["tags"] = ["parameters"]
    return book


def test_a_notebook_is_executed_in_a_place_of_its_own():
    book = book_of('CATALOG = "demo"', "import os\nprint(os.getcwd(), os.environ['HOME'], CATALOG)")
    assert execute(book, None, 60.0) is None
    folder, home, catalog = book.cells[1].outputs[0].text.split()
    assert folder == home
    assert folder not in (os.getcwd(), os.environ["HOME"])
    assert not Path(folder).exists()
    assert catalog == "demo"
    assert set(book.metadata) == {"kernelspec", "language_info"}


def test_another_catalogue_is_put_in_its_line_and_not_kept():
    book = book_of('CATALOG = "demo"', "import sys\nprint(CATALOG, file=sys.stderr)")
    assert execute(book, "/data/it's", 60.0) is None
    assert stderr_of(book) == "/data/it's\n"
    assert book.cells[0].source == 'CATALOG = "demo"'


@pytest.mark.parametrize(
    ("source", "limit", "words"),
    [("1 / 0", 60.0, "ZeroDivisionError: division by zero"), ("import time\ntime.sleep(60)", 2.0, "timed out")],
)
def test_what_went_wrong_is_told(source, limit, words):
    fault = execute(book_of(source), None, limit)
    assert fault is not None
    assert words in fault
    assert "\x1b" not in fault


def test_outputs_of_another_catalogue_are_not_kept(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["notebooks", "--refresh", "--catalog", "allwise"])
    with pytest.raises(SystemExit):
        main()
    assert "give only one of --refresh and --catalog" in capsys.readouterr().err
