"""Packets from files into files, beside the naive loop."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import skies
from benchmarks.case import Bench, CaseResult, cluster, profiled
from benchmarks.packets import candid_of, first_record, packet_catalog, packets_of, write_archive, write_folder
from benchmarks.peers import ours
from benchmarks.peers.naive import NaiveStep, run_folder
from benchmarks.timing import Timing
from xmatch_hats.catalogs.copy import LocalCopy

FOLDER_WAY, ARCHIVE_WAY, NAIVE = "xmatch-hats, folder to folder", "xmatch-hats, tar to tar", "naive, folder to folder"
BATCH = 1000


def packets(bench: Bench) -> CaseResult:
    """Time 20,000 packets from disk to disk, on an engine and a cluster that are warm."""
    natives, copy, folder, archive = prepare(bench)
    count = sum(1 for _ in folder.iterdir())
    place = folder.parent
    timings = {name: Timing(name) for name in (FOLDER_WAY, ARCHIVE_WAY, NAIVE)}
    differences: list[str] = []
    names = xmatches_names(copy)
    few = min(len(natives) * (4 if bench.full else 1), 2000)
    with (
        TemporaryDirectory(prefix="out-", dir=place) as name,
        cluster() as client,
        ours.matcher(copy, list(names), client=client) as engine,
    ):
        work = Path(name)
        naive = NaiveStep(copy.path, names)
        some = sorted(folder.iterdir())[:few]
        run_folder(naive, some[:BATCH], work / "warm", BATCH)
        for number in range(bench.rounds(3, 2) + 1):
            for way, source, out in ((FOLDER_WAY, folder, work / "out"), (ARCHIVE_WAY, archive, work / "out.tar")):
                seconds = _timed(lambda s=source, o=out: _run_ours(engine, s, o))
                if number:
                    timings[way].seconds.append(seconds / count)
            if number:
                timings[NAIVE].seconds.append(_timed(lambda: run_folder(naive, some, work / "naive", BATCH)) / few)
                differences += _compare(work, [path.name for path in some])
            print(f"  round {number}: {', '.join(_rate(timing) for timing in timings.values())}", flush=True)
            for way in ("out", "naive"):
                _empty(work / way, f"{way}-{number}")
            (work / "out.tar").unlink()
        profile = profiled(lambda: _run_ours(engine, folder, work / "profiled"))
        profile += "\n\ntar to tar:\n" + profiled(lambda: _run_ours(engine, archive, work / "profiled.tar"))
    ways = {name: timing.to_json() | {"note": f"seconds a packet; {_rate(timing)}"} for name, timing in timings.items()}
    slower = max(timings[FOLDER_WAY].median, timings[ARCHIVE_WAY].median)
    return CaseResult(
        f"{count:,} packets, file to file",
        figures={"rate": 1 / slower, "ratio_naive": timings[NAIVE].median / slower},
        ways=ways,
        differences=differences,
        compared=2 * few * bench.rounds(3, 2),
        compared_what=f"packets: the first {few:,} of folder and archive in each round, with the naive loop's",
        facts=[
            f"{len(natives)} native packets of {sum(map(len, natives)) / len(natives) / 1e3:.0f} kB, copied with "
            f"`candid` changed; the naive loop ran over the first {few:,}. Engine and cluster warm, times of whole "
            "runs from the call to the published output; the figure is the slower of folder and archive. "
            f"The catalogue has {copy.total_rows:,} rows in {len(copy.partitions)} partitions."
        ],
        profile=profile,
    )


def prepare(bench: Bench) -> tuple[list[bytes], LocalCopy, Path, Path]:
    """Native packets, the catalogue around them, and many copies of them as a folder and as an archive."""
    count = 20_000 if bench.full else 5_000
    natives = packets_of()
    place = skies.cache() / "packets"
    copy = packet_catalog(natives)
    folder = write_folder(natives, count, place / f"{count}")
    return natives, copy, folder, write_archive(folder, place / f"{count}.tar")


def xmatches_names(copy: LocalCopy) -> dict[str, str]:
    """From the catalogue's columns to the names that ``xmatches`` has for them."""
    definition = copy.definition
    assert definition is not None
    return {column: definition.vizier_name(column) for column in definition.xmatch_columns}


def answer_of(record: dict[str, Any], catalog: str) -> tuple[str, float | None]:
    """What a packet came back with: the object, and its separation."""
    match = (record["xmatches"] or {}).get(catalog, {})
    return match.get("AllWISE", ""), match.get("angDist")


def _run_ours(engine: Any, source: Path, out: Path) -> None:
    from xmatch_hats.step.files import run_alerts

    report = run_alerts([source], engine, out)
    if report.rejected:
        raise RuntimeError(f"{report.rejected} packets were rejected")


def _empty(folder: Path, name: str) -> None:
    """Free the space of a folder's files and put them out of the way.

    They are removed at the end: for minutes, ext4 looks at every inode that was freed before it takes one for a new
    file, so that a round would pay for the last one's removal, several times what its own files cost.
    """
    if folder.is_dir():
        for path in folder.iterdir():
            os.truncate(path, 0)
        folder.rename(folder.with_name(name))


def _timed(run: Any) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _rate(timing: Timing) -> str:
    return f"{timing.name} {1 / timing.median:,.0f}/s" if timing.seconds else timing.name


def _compare(work: Path, names: list[str]) -> list[str]:
    """Compare what came out for the first packets, all of it read by fastavro."""
    seen = {
        "folder": {name: (work / "out" / name).read_bytes() for name in names},
        "archive": dict(_members(work / "out.tar", set(names))),
    }
    wrong = []
    for what, packets_out in seen.items():
        differing = 0
        for name in names:
            mine, other = first_record(packets_out[name]), first_record((work / "naive" / name).read_bytes())
            one, two = answer_of(mine, "sky"), answer_of(other, "allwise")
            same_distance = (one[1] is None) == (two[1] is None) and abs((one[1] or 0.0) - (two[1] or 0.0)) < 1e-6
            differing += one[0] != two[0] or not same_distance or candid_of(mine) != candid_of(other)
        if differing:
            wrong.append(f"{differing} of {len(names)} packets of the {what} differ from the naive loop's")
    return wrong


def _members(archive: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and Path(member.name).name in names:
                yield Path(member.name).name, file.read()
