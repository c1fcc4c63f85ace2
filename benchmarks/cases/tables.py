"""Two tables on disk become a third: parquet in, the index built, matched, parquet out, in processes that are warm."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import skies
from benchmarks.answers import Answer
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, profiled
from benchmarks.peers import acid_match, astropy_match, lsdb_plain, stilts
from benchmarks.timing import Turns, Way, in_turn

OURS, ASTROPY, STILTS, ACID, LSDB = "xmatch-hats", "astropy", "STILTS", "ACID", "LSDB from_dataframe"
LEFT_COLUMNS = ["oid", "ra", "dec", "meanmag"]
RIGHT_COLUMNS = ["designation", "ra", "dec", "cntr", "w1mpro", "w2mpro"]


def tables(bench: Bench) -> CaseResult:
    """Time a match of a million rows with four million, or a tenth of it."""
    rows = (1_000_000, 4_000_000) if bench.full else (100_000, 400_000)
    left, right = make_tables(*rows)
    with TemporaryDirectory(prefix="xmatch-hats-tables-", dir=skies.cache()) as name:
        turns = time_tables((left, right), Path(name), rounds=bench.rounds(3, 2), all_peers=bench.full)
        result = CaseResult.of(f"{rows[0]:,} x {rows[1]:,} rows, table to table", turns)
        result.profile = profiled(lambda: match_ours(left, right, Path(name) / "profiled.parquet"))
    for peer, key in ((STILTS, "ratio_stilts"), (ASTROPY, "ratio_astropy"), (ACID, "ratio_acid")):
        if peer in turns.timings:
            result.figures[key] = turns.ratio(peer, OURS)
        elif peer == ACID and not bench.full:
            result.facts.append(f"{peer} is left to the full size: it takes ten seconds for tables of any.")
        else:
            result.facts.append(f"{peer} is not installed.")
    result.facts.append(
        "Imports, the start of Java and of ACID's workers are outside of the clock. STILTS reads and writes FITS, as "
        "Debian's has no parquet; what it reads was made of the same parquet. ACID plans queries of bare tables on a "
        "map of the whole sky, at a cost that does not depend on their size."
    )
    return result


def time_tables(
    files: tuple[Path, Path], folder: Path, *, rounds: int, for_curve: bool = False, all_peers: bool = True
) -> Turns:
    """Time every method that is installed on two parquet files; for a curve also LSDB, and without their memory.

    Not all peers is without ACID and LSDB, which take ten seconds for tables of any size.
    """
    left, right = files
    with ExitStack() as stack:
        ways = [
            Way(OURS, lambda _: match_ours(left, right, folder / "ours.parquet"), _answer),
            Way(
                ASTROPY,
                lambda _: _out(astropy_match.match_tables, left, right, folder / "astropy.parquet"),
                _answer,
                tolerance_arcsec=astropy_match.TOLERANCE_ARCSEC,
            ),
        ]
        if stilts.is_there():
            java = stack.enter_context(stilts.Stilts())
            fits = [as_fits(path) for path in files]
            ways.append(
                Way(
                    STILTS,
                    lambda _: _out(java.match_tables, *fits, folder / "stilts.fits"),
                    _fits_answer,
                    tolerance_arcsec=stilts.TOLERANCE_ARCSEC,
                )
            )
        if all_peers and acid_match.is_there():
            acid = stack.enter_context(acid_match.Acid())
            sides = (left, LEFT_COLUMNS), (right, RIGHT_COLUMNS)
            ways.append(
                Way(
                    ACID,
                    lambda _: _out(acid.tables, *sides, folder / "acid.parquet"),
                    _answer,
                    tolerance_arcsec=acid_match.TOLERANCE_ARCSEC,
                )
            )
        if all_peers and for_curve:
            ways.append(
                Way(LSDB, lambda _: _out(lsdb_plain.match_tables, left, right, folder / "lsdb.parquet"), _answer)
            )
        return in_turn(ways, lambda number: number, rounds=rounds, warm_ups=1, watched=not for_curve, back=True)


def match_ours(left: Path, right: Path, out: Path) -> Path:
    """Read, match and write with this package."""
    import xmatch_hats
    from xmatch_hats.tables.write import write_table

    here, there = (pq.read_table(path) for path in (left, right))
    joined = xmatch_hats.crossmatch(here, there, RADIUS_ARCSEC, how="inner")
    write_table(joined, out, overwrite=True)
    return out


def make_tables(left_rows: int, right_rows: int) -> tuple[Path, Path]:
    """Two parquet files over the same stretch of sky, in no order along it; made once."""
    folder = skies.cache() / "matches"
    folder.mkdir(exist_ok=True)
    paths = folder / f"left_{left_rows}.parquet", folder / f"right_{right_rows}.parquet"
    for path, make, columns, rows in (
        (paths[0], skies.left_file, LEFT_COLUMNS, left_rows),
        (paths[1], skies.sky_file, RIGHT_COLUMNS, right_rows),
    ):
        if not path.is_file():
            pq.write_table(_rows(make, columns, rows), path)
    return paths


def _rows(make: Any, columns: list[str], rows: int) -> pa.Table:
    parts: list[pa.Table] = []
    number = 0
    while sum(map(len, parts)) < rows:
        parts.append(pq.read_table(make(number), columns=columns))
        number += 1
    return pa.concat_tables(parts).slice(0, rows).combine_chunks()


def as_fits(path: Path) -> Path:
    """The same table as uncompressed FITS; made once."""
    from xmatch_hats.tables.write import write_table

    out = path.with_suffix(".fits")
    if not out.is_file():
        write_table(pq.read_table(path), out)
    return out


def _out(match: Any, *arguments: Any) -> Path:
    match(*arguments, RADIUS_ARCSEC)
    return Path(arguments[-1])


def _answer(path: Path) -> Answer:
    names = pq.read_schema(path).names
    distance = next(name for name in ("_dist_arcsec", acid_match.DISTANCE) if name in names)
    table = pq.read_table(path, columns=["oid", distance])
    return Answer.of(table["oid"].to_numpy(), table[distance].to_numpy())


def _fits_answer(path: Path) -> Answer:
    from astropy.io import fits

    with fits.open(path) as units:
        data = units[1].data
        return Answer.of(np.array(data["oid"]), np.array(data["Separation"]))
