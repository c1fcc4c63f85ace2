"""Execute the notebooks from a clean kernel, each in a scratch folder: ``python -m notebooks``.

Fails where a cell does, and where a notebook hangs; one that takes longer than three minutes, which is too long for its
readers, is told. With ``--refresh`` the outputs are kept, if nothing was said on stderr.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).resolve().parent
LONG_SECONDS = 180.0
LIMIT_SECONDS = 900.0
"""A machine that is slow or busy is no fault of a notebook."""
PATH_TAG = "parameters"
"""Of the cell that names the catalogue."""


def main() -> int:
    """Execute notebooks; 1 if one fails."""
    options = _parse()
    books = [FOLDER / f"{Path(name).stem}.ipynb" for name in options.names] or sorted(FOLDER.glob("*.ipynb"))
    failed = 0
    for path in books:
        begun = time.monotonic()
        book = nbformat.read(path, as_version=4)
        fault = execute(book, options.catalog, options.limit)
        said = "" if fault else stderr_of(book)
        if said and options.refresh:
            fault = "not kept, for what was said on stderr"
        seconds = time.monotonic() - begun
        done = "done" if seconds <= LONG_SECONDS else "done, but it takes longer than three minutes"
        print(f"{seconds:6.1f} s  {path.name}: {fault or done}\n{said}".rstrip(), flush=True)
        failed += fault is not None
        if options.refresh and fault is None:
            nbformat.write(book, path)
    return 1 if failed else 0


def execute(book: NotebookNode, catalog: str | None, limit: float) -> str | None:
    """Execute a notebook in a folder of its own; what went wrong, None if nothing did.

    Parameters
    ----------
    book : NotebookNode
        Gets the outputs.
    catalog : str or None
        What to match with in place of the made-up sky.
    limit : float
        Seconds.
    """
    source = None
    if catalog is not None:
        (cell,) = (cell for cell in book.cells if PATH_TAG in cell.metadata.get("tags", ()))
        source, cell.source = cell.source, f"CATALOG = {catalog!r}"
    with tempfile.TemporaryDirectory(prefix="xmatch-hats-notebook-") as scratch:
        client = _client(book, Path(scratch), limit)
        try:
            client.execute(env=_environment(scratch, own_home=catalog is not None))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            return re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    if source is not None:
        cell.source = source
    book.metadata = {"kernelspec": book.metadata["kernelspec"], "language_info": {"name": "python"}}
    return None


def _environment(scratch: str, *, own_home: bool) -> dict[str, str]:
    """Without the user's settings, nor their catalogues but for the one that they name; and nobody looks at bars."""
    home = {} if own_home else {"HOME": scratch}
    return {**os.environ, **home, "IPYTHONDIR": f"{scratch}/.ipython", "TQDM_DISABLE": "1"}


def stderr_of(book: NotebookNode) -> str:
    """What its cells said on stderr."""
    outputs = (output for cell in book.cells for output in cell.get("outputs", ()))
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


def _client(book: NotebookNode, scratch: Path, limit: float) -> NotebookClient:
    ends = time.monotonic() + limit
    return NotebookClient(
        book,
        kernel_name="python3",
        # Spoken to by files, not by ports.
        config=Config({"KernelManager": {"transport": "ipc", "ip": str(scratch / "kernel")}}),
        resources={"metadata": {"path": str(scratch)}},
        # What is left for all cells together; 0 would mean for ever.
        timeout_func=lambda _: max(1, int(ends - time.monotonic())),
        record_timing=False,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones; all by default")
    parser.add_argument("--refresh", action="store_true", help="keep the outputs in the notebooks")
    parser.add_argument("--catalog", help="folder or name of a HATS copy of ALLWISE, in place of the made-up sky")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds that each may take")
    options = parser.parse_args()
    if options.refresh and options.catalog:
        parser.error("what is kept is of the made-up sky: give only one of --refresh and --catalog")
    if options.catalog and Path(options.catalog).is_dir():
        options.catalog = str(Path(options.catalog).absolute())
    return options


if __name__ == "__main__":
    sys.exit(main())
