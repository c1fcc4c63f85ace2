"""Notebooks are kept executed, small, and free of what only one machine knows; nothing is executed here."""

from __future__ import annotations

import ast
import base64
import io
import re

import nbformat
import pytest
from PIL import Image

from tests.docs.test_python import missing
from tests.notebooks.books import FOLDER, NAMES, PATH_LINE, book, code_cells, outputs, texts

LARGEST_BYTES = 1_500_000
MACHINE = re.compile(
    r"(?<![\w.:/<])/(?:home|root|tmp|usr|var|opt|mnt|work|Users|private)\b"  # an absolute path
    r"|\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:tcp|tls|inproc|ipc)://|localhost"  # an address
    r"|0x[0-9a-f]{6,}"  # where an object lay in memory
)
"""What tells of the machine that a notebook was executed on."""


def test_these_are_all():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestBook:
    def test_is_valid_and_small(self, name):
        nbformat.validate(book(name))
        assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST_BYTES

    def test_was_executed_from_top_to_bottom(self, name):
        assert [cell.execution_count for cell in code_cells(name)] == list(range(1, len(code_cells(name)) + 1))

    def test_nothing_failed_and_nothing_was_said_on_stderr(self, name):
        assert [output for output in outputs(name) if output.output_type == "error"] == []
        assert [output.text for output in outputs(name) if output.get("name") == "stderr"] == []

    def test_tells_nothing_of_the_machine(self, name):
        words = [text for output in outputs(name) for text in texts(output)] + [
            cell.source for cell in book(name).cells
        ]
        assert [match.group() for text in words for match in MACHINE.finditer(text)] == []
        assert set(book(name).metadata) == {"kernelspec", "language_info"}
        assert all(set(cell.metadata) <= {"tags"} for cell in book(name).cells)

    def test_one_line_names_the_catalogue(self, name):
        first = code_cells(name)[0]
        assert first.metadata.tags == ["parameters"]
        assert first.source.startswith(PATH_LINE)
        assert "\n" not in first.source
        others = [
            cell for cell in code_cells(name)[1:] for line in cell.source.splitlines() if line.startswith("CATALOG")
        ]
        assert others == []

    def test_imports_what_is_there_and_public(self, name):
        for cell in code_cells(name):
            for node in ast.walk(ast.parse(cell.source)):
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                assert missing(node) == []
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names = [*modules, *(alias.name for alias in node.names)]
                assert [part for one in names for part in one.split(".") if part.startswith("_")] == []

    def test_uses_no_magic_and_nothing_of_its_own(self, name):
        for cell in code_cells(name):
            ast.parse(cell.source)  # a magic or a shell command is no Python
        tree = ast.parse("\n".join(cell.source for cell in code_cells(name)))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {module for module in modules if module and module.startswith(("notebooks", "tests"))}

    def test_pictures_show_something(self, name):
        pictures = [output.data["image/png"] for output in outputs(name) if "image/png" in output.get("data", {})]
        assert len(pictures) >= 5
        for picture in pictures:
            with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
                assert 250 <= image.width <= 1200
                assert len(image.convert("RGB").getcolors(1 << 24)) > 20

    def test_figures_that_are_drawn_by_hand_have_labelled_axes(self, name):
        for cell in code_cells(name):
            # A function of the notebook may have them.
            if "plt.subplots" in cell.source and "draw(ax" not in cell.source:
                assert "xlabel" in cell.source
                assert "ylabel" in cell.source
