"""Apache Kafka's own jars, fetched once by Maven into a cache outside the repository."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services.process import MissingComponentError

KAFKA = "4.1.1"
SLF4J = "1.7.36"
"""Of the generation that this Kafka's own jars ask for."""
CACHE = Path(os.environ.get("XMATCH_HATS_CACHE") or Path.home() / ".cache" / "xmatch-hats")
"""Read when this module is imported: tests are given another home."""

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>xmatch-hats</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{SLF4J}</version>
    </dependency>
  </dependencies>
</project>
"""


def kafka_jars() -> Path:
    """Folder of the jars.

    Raises
    ------
    MissingComponentError
        There is no Maven, or it cannot fetch them.
    """
    folder = CACHE / f"kafka-{KAFKA}"
    if not folder.is_dir():
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingComponentError("Maven (mvn) is not installed, which fetches Apache Kafka's jars")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kafka-", dir=folder.parent) as work:
        pom, jars = Path(work, "pom.xml"), Path(work, "jars")
        pom.write_text(POM)
        command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
        if done.returncode or not any(jars.glob("kafka_*.jar")):
            raise MissingComponentError(f"Maven cannot fetch Apache Kafka {KAFKA}:\n{done.stdout[-2000:]}{done.stderr}")
        # Whole or not at all; another process may have been faster.
        with contextlib.suppress(OSError):
            jars.rename(folder)
    if not folder.is_dir():
        raise MissingComponentError(f"the jars of Apache Kafka cannot be put into {folder}")
