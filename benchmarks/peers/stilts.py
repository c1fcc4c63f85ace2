"""STILTS in one Java process that stays warm, like the others' processes.

Debian's STILTS reads no parquet: its tables are uncompressed FITS, which it maps into memory, both in and out. That is
quicker than parquet.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

TOLERANCE_ARCSEC = 1e-6
JAR = Path("/usr/share/java/starlink-ttools.jar")

_DRIVER = """
import java.io.*;
import uk.ac.starlink.ttools.Stilts;
import uk.ac.starlink.ttools.task.LineInvoker;

public class Driver {
    public static void main(String[] none) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null;) {
            int status = new LineInvoker("stilts", Stilts.getTaskFactory()).invoke(line.split("\\t"), () -> {});
            System.out.println("done " + status);
            System.out.flush();
        }
    }
}
"""


def is_there() -> bool:
    """Whether it and a Java compiler are installed."""
    return JAR.is_file() and shutil.which("javac") is not None


class Stilts:
    """A Java process that runs one task after another."""

    def __init__(self, memory: str = "6g") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="xmatch-hats-stilts-")
        folder = Path(self._folder.name)
        (folder / "Driver.java").write_text(_DRIVER)
        subprocess.run(["javac", "-cp", str(JAR), "Driver.java"], cwd=folder, check=True)
        self._process = subprocess.Popen(
            ["java", f"-Xmx{memory}", "-cp", f"{JAR}:{folder}", "Driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *words: str) -> None:
        """Run one task.

        Raises
        ------
        RuntimeError
            It failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(words) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("done "):
                if line.strip() != "done 0":
                    break
                return
        raise RuntimeError(f"STILTS failed: {' '.join(words)}")

    def match_tables(self, left: Path, right: Path, out: Path, radius_arcsec: float = 1.0) -> None:
        """Match FITS tables: the nearest of the right within a radius, for each row of the left."""
        self.run(
            "tmatch2",
            f"in1={left}",
            f"in2={right}",
            "ifmt1=fits",
            "ifmt2=fits",
            "matcher=sky",
            f"params={radius_arcsec}",
            "values1=ra dec",
            "values2=ra dec",
            "find=best1",
            "join=1and2",
            "progress=none",
            f"out={out}",
            "ofmt=fits-basic",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)
        self._folder.cleanup()
