"""The call as a whole: arguments, refusals, interruptions, and independence of the workers."""

from __future__ import annotations

import pickle
import shutil
from contextlib import closing, contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from tests.bulk.catalogs.skies import main_table, read_rows
from tests.copies import make_copy, sky_table
from tests.folders import contents
from tests.matching.skies import partition_files
from tests.shared import full_size
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.runs.watch import Listener, read_log
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, RadiusError, UsageError
from xmatch_hats.matching.streaming import Ended, Stream


class Backwards(Stream):
    """Calls go through bytes, and end in the order that it likes."""

    def __init__(self, slots):
        super().__init__()
        self._slots, self._waiting = slots, []

    def slots(self):
        return self._slots

    def submit(self, function, *arguments):
        self._waiting.append((self._count, pickle.dumps((function, arguments))))
        self._count += 1
        return self._count - 1

    def wait(self):
        number, call = self._waiting.pop()
        function, arguments = pickle.loads(call)
        return [Ended(number, pickle.loads(pickle.dumps(function(*arguments))))]

    def close(self):
        self._waiting.clear()


class Elsewhere:
    """A scheduler of so many workers."""

    place, dashboard = "elsewhere", None

    def __init__(self, slots):
        self._slots = slots

    def connect(self):
        pass

    @contextmanager
    def stream(self, name):
        with closing(Backwards(self._slots)) as stream:
            yield stream


@pytest.fixture
def sides(pair):
    return pair.path("left", "fine"), pair.path("right", "fine")


def data_of(folder):
    """Bytes of every file, but of those that tell when and where they were made."""
    told = ("properties", "run.log.jsonl", "xmatch_hats.json")
    return {name: data for name, data in contents(folder).items() if not name.endswith(told)}


def test_the_number_of_workers_changes_no_byte(sides, tmp_path):
    for slots in (1, 3):
        crossmatch_catalogs(*sides, tmp_path / str(slots), radius_arcsec=5.0, scheduler=Elsewhere(slots))
    crossmatch_catalogs(*sides, tmp_path / "threads", radius_arcsec=5.0, workers=0)
    first = data_of(tmp_path / "1")
    assert first == data_of(tmp_path / "3") == data_of(tmp_path / "threads")
    assert len(first) > 10


def test_asked_columns_and_names_that_are_taken(pair, sides, tmp_path):
    left, right = sides
    crossmatch_catalogs(
        left,
        right,
        tmp_path / "out",
        radius_arcsec=5.0,
        left_columns=["mag"],
        right_columns=["cntr", "ra", "mag"],
        workers=0,
    )
    rows = read_rows(tmp_path / "out")
    name = LocalCopy.open(right).name
    assert rows.column_names == [
        "_healpix_29", "mag", "ra", "dec", "cntr", f"ra_{name}", f"mag_{name}", "_dist_arcsec",
    ]  # fmt: skip
    assert rows.schema.field("_dist_arcsec").metadata[b"unit"] == b"arcsec"


def test_no_column_of_the_right_side(sides, tmp_path):
    crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, right_columns=[], left_columns=[], workers=0)
    assert read_rows(tmp_path / "out").column_names == ["_healpix_29", "ra", "dec", "_dist_arcsec"]


def test_an_answer_is_matched_again(sides, tmp_path):
    left, right = sides
    crossmatch_catalogs(left, right, tmp_path / "one", radius_arcsec=5.0, workers=0)
    crossmatch_catalogs(tmp_path / "one", right, tmp_path / "two", radius_arcsec=5.0, workers=0)
    rows = read_rows(tmp_path / "two")
    name = LocalCopy.open(right).name
    assert rows["cntr"].equals(rows[f"cntr_{name}"])
    assert rows["_dist_arcsec"].equals(rows[f"_dist_arcsec_{name}"])


def test_sides_of_one_row_and_no_match(tmp_path):
    one = make_copy(sky_table(1, seed=1), tmp_path / "one")
    other = make_copy(sky_table(1, seed=2), tmp_path / "other")
    same = crossmatch_catalogs(one, one, tmp_path / "same", radius_arcsec=1.0, workers=0)
    assert (same.rows, same.matched, same.partitions) == (1, 1, 1)
    left = crossmatch_catalogs(one, other, tmp_path / "left", radius_arcsec=1.0, join="left", workers=0)
    assert (left.rows, left.matched) == (1, 0)
    assert read_rows(tmp_path / "left")["_dist_arcsec"].null_count == 1
    none = crossmatch_catalogs(one, other, tmp_path / "none", radius_arcsec=1.0, workers=0)
    assert (none.rows, none.left_rows, none.partitions) == (0, 1, 0)
    assert LocalCopy.open(tmp_path / "none").schema.names[0] == "_healpix_29"
    verify_copy(tmp_path / "none").raise_if_failed()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"radius_arcsec": 0.0}, RadiusError, "radius"),
        ({"n_neighbors": 0}, UsageError, "neighbours"),
        ({"join": "outer"}, UsageError, "join"),
        ({"left_columns": ["nope"]}, CatalogError, "--left-columns: .*left_fine: has no column nope"),
        ({"right_columns": ["nope"]}, CatalogError, "--right-columns: .*has no column nope"),
        ({"margin_arcsec": 0.0}, UsageError, "the margin must be a positive number"),
        ({"scheduler": Elsewhere(1), "workers": 1}, UsageError, "one of"),
    ],
)
def test_arguments_that_mean_nothing(sides, tmp_path, arguments, error, words):
    with pytest.raises(error, match=words):
        crossmatch_catalogs(*sides, tmp_path / "out", **{"radius_arcsec": 1.0, "workers": 0, **arguments})
    assert not list(tmp_path.iterdir())


def test_a_query_that_fails_on_a_row_stops_the_run_at_once(pair, sides, tmp_path):
    query = f"1000 // (oid - {pair.left['oid'][50]}) > 5"
    with pytest.raises(UsageError, match="--left-where: the query fails: divide by zero"):
        crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, left_where=query, workers=0)
    (log,) = tmp_path.rglob("run.log.jsonl")
    assert not {"retried", "failed"} & {event["event"] for event in read_log(log)}


def test_a_catalogue_that_is_not_there(sides, tmp_path):
    with pytest.raises(CatalogNotFoundError, match="nowhere"):
        crossmatch_catalogs(sides[0], tmp_path / "nowhere", tmp_path / "out", radius_arcsec=1.0, workers=0)


def test_an_output_that_exists_stays_as_it_is(sides, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=1.0, workers=0)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_two_calls_on_one_output_refuse_each_other(sides, tmp_path):
    (tmp_path / ".out.matching").mkdir()
    with FileLock(tmp_path / ".out.matching" / "lock"), pytest.raises(CatalogError, match="by another match"):
        crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=1.0, workers=0)


class Stopped(Listener):
    """Stops a call when so many units of a stage are done."""

    def __init__(self, stage, done):
        self._stage, self._done = stage, done

    def show(self, stage, progress):
        if (stage, progress.done) == (self._stage, self._done):
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [full_size(("matching", 5)), ("margins", 3)], ids=lambda stop: stop[0])
def test_an_interrupted_call_is_taken_up(sides, tmp_path, stop):
    """What was finished is not done again, and the result is as if nothing had happened."""
    whole = crossmatch_catalogs(*sides, tmp_path / "whole", radius_arcsec=5.0, workers=0)
    with pytest.raises(KeyboardInterrupt):
        crossmatch_catalogs(
            *sides, tmp_path / "out", radius_arcsec=5.0, scheduler=Elsewhere(1), listener=Stopped(*stop)
        )
    assert not (tmp_path / "out").exists()
    (tmp_path / ".out.matching" / "scratch").mkdir(exist_ok=True)
    (tmp_path / ".out.matching" / "scratch" / "half").write_bytes(b"PAR1")
    result = crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, scheduler=Elsewhere(1))
    assert result.units_skipped >= 5
    assert replace(result, path=whole.path, units_skipped=0) == whole
    assert data_of(tmp_path / "out") == data_of(tmp_path / "whole")
    assert not (tmp_path / ".out.matching").exists()
    log = read_log(tmp_path / "out" / "run.log.jsonl")
    done = [event["task"] for event in log if event["event"] == "done"]
    assert len(done) == len(set(done))


def test_other_arguments_start_clean(sides, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        crossmatch_catalogs(
            *sides, tmp_path / "out", radius_arcsec=9.0, n_neighbors=None, workers=0, listener=Stopped("margins", 1)
        )
    result = crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=1.0, workers=0)
    assert result.units_skipped == 0
    crossmatch_catalogs(*sides, tmp_path / "whole", radius_arcsec=1.0, workers=0)
    assert data_of(tmp_path / "out") == data_of(tmp_path / "whole")


def test_an_output_that_exists_does_not_cost_unfinished_work(sides, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, workers=0, listener=Stopped("matching", 30))
    (tmp_path / "out").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, workers=0)
    (tmp_path / "out").rmdir()
    assert crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, workers=0).units_skipped >= 30


def test_a_partition_exchanged_after_a_kill_starts_clean(sides, tmp_path):
    """Nothing but its file tells that it holds other rows; old and new ones must not end in one answer."""
    left, right = tmp_path / "left", sides[1]
    shutil.copytree(sides[0], left)
    with pytest.raises(KeyboardInterrupt):
        crossmatch_catalogs(left, right, tmp_path / "out", radius_arcsec=5.0, workers=0, listener=Stopped("margins", 1))
    for file in partition_files(left):
        table = pq.read_table(file, partitioning=None)
        place = table.column_names.index("oid")
        pq.write_table(table.set_column(place, "oid", pa.array([-1] * len(table), pa.int64())), file)
    crossmatch_catalogs(left, right, tmp_path / "out", radius_arcsec=5.0, workers=0)
    assert set(read_rows(tmp_path / "out")["oid"].to_pylist()) == {-1}


@pytest.mark.parametrize("side", [0, 1], ids=["left", "right"])
def test_rows_without_an_index_are_not_called_unmatched(sides, tmp_path, side):
    paths = [main_table(path) for path in sides]
    shutil.copytree(paths[side], tmp_path / "damaged")
    paths[side] = tmp_path / "damaged"
    for file in partition_files(paths[side]):
        table = pq.read_table(file, partitioning=None)
        place = table.column_names.index("_healpix_29")
        pq.write_table(table.set_column(place, "_healpix_29", pa.nulls(len(table), pa.int64())), file)
    with pytest.raises(CatalogError, match="without a _healpix_29"):
        crossmatch_catalogs(*paths, tmp_path / "out", radius_arcsec=1.0, join="left", workers=0)


def test_a_broken_partition_stops_the_call(sides, tmp_path):
    left, right = sides
    shutil.copytree(main_table(right), tmp_path / "right")
    file = partition_files(tmp_path / "right")[0]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CatalogError, match=file.name):
        crossmatch_catalogs(left, tmp_path / "right", tmp_path / "out", radius_arcsec=1.0, workers=0)
    assert not (tmp_path / "out").exists()


def test_a_partition_of_several_files(pair, sides, tmp_path):
    """HATS allows a folder of files in place of each file."""
    _, right = sides
    shutil.copytree(main_table(right), tmp_path / "right")
    for file in partition_files(tmp_path / "right"):
        table = pq.read_table(file, partitioning=None)
        file.unlink()
        folder = file.with_suffix("")
        folder.mkdir()
        half = len(table) // 2
        for number, part in enumerate((table.slice(0, half), table.slice(half))):
            pq.write_table(part, folder / f"part{number}.parquet")
    properties = tmp_path / "right" / "hats.properties"
    properties.write_text(properties.read_text().replace("hats_npix_suffix=.parquet", "hats_npix_suffix=/"))
    for name, path in (("folders", tmp_path / "right"), ("files", main_table(right))):
        crossmatch_catalogs(
            sides[0], path, tmp_path / name, radius_arcsec=9.0, right_columns=["cntr"], n_neighbors=3, workers=0
        )
    folders, files = (read_rows(tmp_path / name) for name in ("folders", "files"))
    assert isinstance(folders, pa.Table)
    assert folders.equals(files)


@pytest.mark.campaign
def test_worker_processes(sides, tmp_path):
    crossmatch_catalogs(*sides, tmp_path / "two", radius_arcsec=5.0, workers=2)
    crossmatch_catalogs(*sides, tmp_path / "threads", radius_arcsec=5.0, workers=0)
    assert data_of(tmp_path / "two") == data_of(tmp_path / "threads")
