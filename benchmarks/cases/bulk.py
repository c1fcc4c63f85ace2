"""Two catalogues on disk become a third one: nearest matches, seven columns, written as HATS."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds

from benchmarks import skies
from benchmarks.answers import Answer
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, profiled
from benchmarks.peers import acid_match, lsdb_plain
from benchmarks.timing import Way, in_turn

OURS, PLAIN, ACID = "xmatch-hats", "plain LSDB, written", "ACID, in memory"
LEFT_COLUMNS = ("oid", "ra", "dec", "meanmag")
RIGHT_COLUMNS = ("designation", "w1mpro", "w2mpro")


def bulk(bench: Bench) -> CaseResult:
    """Time the whole way from catalogues to a catalogue."""
    from xmatch_hats.bulk import crossmatch_catalogs
    from xmatch_hats.matching.scheduling import Scheduler

    left, right = skies.left_copy(bench.size), skies.sky_copy(bench.size)
    with tempfile.TemporaryDirectory(prefix="xmatch-hats-bulk-", dir=skies.cache()) as name, cluster() as client:
        work = Path(name)
        scheduler = Scheduler(client)

        def run_ours(out: Path) -> Path:
            crossmatch_catalogs(
                left,
                right,
                out,
                radius_arcsec=RADIUS_ARCSEC,
                left_columns=LEFT_COLUMNS,
                right_columns=RIGHT_COLUMNS,
                scheduler=scheduler,
            )
            return out

        def run_plain(out: Path) -> Path:
            sides = (left.path, LEFT_COLUMNS), (right.path, RIGHT_COLUMNS)
            lsdb_plain.write_crossmatch(*sides, out, RADIUS_ARCSEC)
            return out

        ways = [
            Way(OURS, _fresh(run_ours, work / "ours"), _answer),
            Way(PLAIN, _fresh(run_plain, work / "lsdb"), _answer),
        ]
        acid = acid_match.Acid() if acid_match.is_there() else None
        if acid is not None:
            sides = (left.main_path, LEFT_COLUMNS), (right.main_path, RIGHT_COLUMNS)
            ways.append(
                Way(
                    ACID,
                    lambda _: acid.catalogs(*sides, RADIUS_ARCSEC),
                    _acid_answer,
                    tolerance_arcsec=acid_match.TOLERANCE_ARCSEC,
                )
            )
        turns = in_turn(ways, lambda number: number, rounds=bench.rounds(3, 2), warm_ups=1, back=True)
        result = CaseResult.of(f"{left.total_rows:,} x {right.total_rows:,} rows, nearest, 7 columns", turns)
        sizes = {name: _bytes(work / name) for name in ("ours", "lsdb")}
        margin = _bytes(work / "ours", of_margin=True)
        result.profile = profiled(lambda: _fresh(run_ours, work / "ours")(0))
        result.profile += "\n\nIn this process alone, without workers:\n" + _inside(left, right, work / "inside")
    result.figures = {"ratio_lsdb": turns.ratio(PLAIN, OURS), "bytes_ratio": sizes["ours"] / sizes["lsdb"]}
    if acid is not None:
        result.figures["ratio_acid"] = turns.ratio(ACID, OURS)
    else:
        result.facts.append("ACID is not installed.")
    result.facts.append(
        f"Left in {len(left.partitions)}, right in {len(right.partitions)} partitions; written: "
        f"{sizes['ours'] / 1e6:.1f} MB, by LSDB {sizes['lsdb'] / 1e6:.1f} MB, both by zstd at level "
        f"{lsdb_plain.COMPRESSION_LEVEL}, where LSDB's default is 15, which is slower. Ours is a margin cache of "
        f"{margin / 1e6:.1f} MB besides, within its time and not among these bytes. One process pool each, warm."
    )
    return result


def _inside(left: Any, right: Any, out: Path) -> str:
    from xmatch_hats.bulk import crossmatch_catalogs

    asked: dict[str, Any] = {
        "left_columns": LEFT_COLUMNS,
        "right_columns": RIGHT_COLUMNS,
        "radius_arcsec": RADIUS_ARCSEC,
    }
    return profiled(lambda: crossmatch_catalogs(left, right, out, workers=0, **asked))


def _fresh(run: Callable[[Path], Path], out: Path) -> Callable[[Any], Path]:
    """Write where nothing is: what a former run wrote is removed, which takes milliseconds."""

    def once(_number: Any) -> Path:
        shutil.rmtree(out, ignore_errors=True)
        return run(out)

    return once


def _answer(out: Path) -> Answer:
    # Ours has a margin cache besides, whose rows are there already.
    files = [str(path) for path in sorted(out.rglob("Npix=*.parquet")) if not _is_margin(path)]
    schema = ds.dataset(files[0]).schema
    distance = next(name for name in schema.names if name.startswith("_dist") or name.endswith("arcsec"))
    table = ds.dataset(files).to_table(columns=["oid", distance])
    return Answer.of(table["oid"].to_numpy(), table[distance].to_numpy())


def _acid_answer(table: Any) -> Answer:
    return Answer.of(table["oid"].to_numpy(), np.asarray(table[acid_match.DISTANCE]))


def _bytes(folder: Path, *, of_margin: bool = False) -> int:
    """Bytes of a catalogue's own partitions, or of its margin cache's."""
    return sum(path.stat().st_size for path in folder.rglob("Npix=*.parquet") if _is_margin(path) == of_margin)


def _is_margin(path: Path) -> bool:
    return any(part.endswith("_margin") for part in path.parts)
