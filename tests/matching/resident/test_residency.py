"""What stays open between batches, where it is kept, and that it never answers for what is no longer there."""

from __future__ import annotations

import gc
import pickle
import shutil
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.copies import make_copy, patch_table
from tests.matching.resident.test_engines import assert_equal
from tests.matching.skies import offset, partition_files
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import build_side_copy, remove_side_copy
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.batch import sort_positions
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
from xmatch_hats.matching.following import FollowingMatcher
from xmatch_hats.matching.resident import side, work
from xmatch_hats.matching.resident.cache import CacheCounts, PartitionCache
from xmatch_hats.matching.scheduling import Scheduler


@pytest.fixture(autouse=True)
def cache(monkeypatch) -> PartitionCache:
    """What this process keeps, of these tests alone."""
    cache = PartitionCache()
    for module in (work, side):
        monkeypatch.setattr(module, "CACHE", cache)
    return cache


@pytest.fixture(scope="module")
def patch():
    return patch_table(3000, 45.0, 0.0, 3.0, seed=7)


@pytest.fixture(scope="module")
def pristine(patch, tmp_path_factory):
    """A copy of some partitions around a corner of four base cells, to be copied from."""
    copy = make_copy(patch, tmp_path_factory.mktemp("patch") / "patch", margin_arcsec=30.0, partition_rows=250)
    remove_side_copy(copy)
    assert len(copy.partitions) > 12
    return copy


@pytest.fixture
def copy(pristine, tmp_path) -> LocalCopy:
    return LocalCopy.open(shutil.copytree(pristine.path, tmp_path / "patch"))


@pytest.fixture(scope="module")
def positions(patch):
    return offset(np.random.default_rng(1), patch["ra"].to_numpy(), patch["dec"].to_numpy(), 20.0)


@pytest.fixture(scope="module")
def answer(pristine, positions):
    with Crossmatcher([CatalogTarget(pristine, "patch", 30.0)], n_neighbors=2, engine="lsdb", workers=0) as matcher:
        return matcher.match(*positions)["patch"]


def open_matcher(copy, **keywords) -> Crossmatcher:
    target = CatalogTarget(copy, "patch", 30.0)
    return Crossmatcher([target], n_neighbors=2, **({"workers": 0} if "client" not in keywords else {}), **keywords)


def test_what_was_met_is_not_opened_again(copy, positions, answer, cache):
    with open_matcher(copy) as matcher:
        assert matcher.cache_counts() == CacheCounts()
        assert_equal(matcher.match(*positions)["patch"], answer)
        first = matcher.cache_counts()
        assert first.misses == len(copy.partitions)
        assert first.hits == first.evictions == 0
        assert first.bytes == 24 * copy.total_rows
        for _ in range(2):
            # What is met a second time stays.
            assert_equal(matcher.match(*positions)["patch"], answer)
        second = matcher.cache_counts()
        assert second == CacheCounts(2 * first.misses, first.misses, 0, second.bytes)
        assert second.bytes > first.bytes
        # Of a few positions few partitions are looked at.
        matcher.match(positions[0][:1], positions[1][:1])
        assert matcher.cache_counts().hits - second.hits <= 4
    # Threads of a process give up what they kept when nobody uses them any more.
    assert cache.bytes == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_a_rehearsal_of_side_copies_leaves_nothing_behind(copy, positions, answer, cache, monkeypatch, damaged):
    made = build_side_copy(copy)
    if damaged:
        for partition in copy.partitions:
            made.path(partition).unlink()
    asked = []

    def listening(questions, limit):
        asked.append(questions)
        return work.answer(questions, limit)

    monkeypatch.setattr(side, "answer", listening)
    with open_matcher(copy) as matcher:
        matcher.connect()
        assert {len(questions) for questions in asked} == (set() if damaged else {1})
        assert matcher.cache_counts() == CacheCounts()
        assert cache.bytes == 0
        assert_equal(matcher.match(*positions)["patch"], answer)
        assert matcher.cache_counts().misses == len(copy.partitions)


def test_what_one_keeps_another_does_not_give_up(copy, positions, answer, cache):
    with open_matcher(copy) as matcher:
        matcher.match(*positions)
        for cache_bytes in (None, 0, 30_000):
            with open_matcher(copy, cache_bytes=cache_bytes) as other:
                other.match(positions[0][:1], positions[1][:1])
            other.close()
            assert_equal(matcher.match(*positions)["patch"], answer)
        assert matcher.cache_counts().misses == len(copy.partitions)
    assert cache.bytes == 0


def test_one_that_keeps_nothing_leaves_what_other_catalogues_keep(copy, pristine, positions, cache):
    with open_matcher(copy) as matcher, open_matcher(pristine, cache_bytes=0) as other:
        matcher.match(*positions)
        kept = cache.bytes
        other.match(*positions)
        assert cache.bytes == kept
        assert other.cache_counts().evictions == len(copy.partitions)
        matcher.close()
        assert cache.bytes == 0


def test_one_that_closes_gives_up_its_own_catalogues_only(copy, pristine, positions, cache):
    with open_matcher(copy) as matcher:
        matcher.match(*positions)
        kept = cache.bytes
        with open_matcher(pristine) as other:
            other.match(*positions)
            assert cache.bytes > kept
        assert cache.bytes == kept


def test_one_that_nobody_closes_keeps_nothing_when_it_is_gone(copy, positions, cache):
    matcher = open_matcher(copy)
    matcher.match(*positions)
    assert cache.bytes > 0
    del matcher
    gc.collect()
    assert cache.bytes == 0


@pytest.mark.parametrize("cache_bytes", [0, 30_000])
def test_a_catalogue_larger_than_memory(copy, positions, answer, cache_bytes):
    with open_matcher(copy, cache_bytes=cache_bytes) as matcher:
        for _ in range(2):
            assert_equal(matcher.match(*positions)["patch"], answer)
        counts = matcher.cache_counts()
    assert counts.evictions > len(copy.partitions)
    assert counts.bytes <= cache_bytes


@pytest.mark.parametrize("wanted", [-1, "1G", 1.5, True, np.nan, [1]])
def test_bounds_that_mean_nothing(copy, wanted):
    with pytest.raises(UsageError, match="cache_bytes must be a whole number of at least 0 bytes, not"):
        open_matcher(copy, cache_bytes=wanted)


def test_workers_have_a_bound_by_themselves():
    work.default_cache_bytes.cache_clear()
    assert work.default_cache_bytes() == work.MOST_CACHE_BYTES


def test_a_worker_with_little_memory_keeps_less(dask_client):
    # The workers of these tests may use 2 GiB each.
    assert set(dask_client.run(work.default_cache_bytes).values()) == {1 << 29}


@pytest.mark.parametrize("homes", [1, 2, 3, 40])
def test_one_message_for_each_worker_whatever_is_asked(copy, positions, answer, monkeypatch, homes):
    asked = []

    def ask(_, calls):
        asked.append([call.home for call in calls])
        return [call.function(*call.arguments) for call in calls]

    def run(*_):
        raise AssertionError("a graph was run")

    monkeypatch.setattr(Scheduler, "homes", lambda _: homes)
    monkeypatch.setattr(Scheduler, "ask", ask)
    monkeypatch.setattr(Scheduler, "run", run)
    targets = [CatalogTarget(copy, name, 30.0) for name in ("one", "two")]
    with Crossmatcher(targets, n_neighbors=2, workers=0) as matcher:
        for _ in range(2):
            for result in matcher.match(*positions).values():
                assert_equal(result, answer)
    assert len(asked) == 2
    assert asked[0] == asked[1] == list(range(min(homes, len(copy.partitions))))
    # The second catalogue found what the first had opened.
    assert matcher.cache_counts().misses == len(copy.partitions)


def test_on_a_cluster(copy, positions, answer, dask_client):
    with open_matcher(copy, client=dask_client) as matcher:
        for _ in range(3):
            assert_equal(matcher.match(*positions)["patch"], answer)
        counts = matcher.cache_counts()
    assert (counts.misses, counts.hits) == (len(copy.partitions), 2 * len(copy.partitions))
    assert counts.bytes > 24 * copy.total_rows


def test_a_file_that_is_exchanged_by_itself(copy, positions):
    """Nobody else notices: the copy as a whole has not changed."""
    file = max(partition_files(copy.path), key=lambda path: path.stat().st_size)
    with open_matcher(copy) as matcher:
        before = matcher.match(*positions)["patch"]
        table = pq.read_table(file, partitioning=None)
        time.sleep(0.01)
        pq.write_table(table[::2], file)
        after = matcher.match(*positions)["patch"]
        assert matcher.cache_counts().misses == len(copy.partitions) + 1
    assert set(after.rows["source_id"].to_pylist()) < set(before.rows["source_id"].to_pylist())
    with open_matcher(copy, engine="lsdb") as matcher:
        # Margins still hold the rows that are gone.
        expected = matcher.match(*positions)["patch"]
    gone = set(table["source_id"][1::2].to_pylist())
    assert gone.isdisjoint(after.rows["source_id"].to_pylist())
    assert set(expected.rows["source_id"].to_pylist()) - gone <= set(after.rows["source_id"].to_pylist()) | gone


class TestSideCopies:
    """They are used where they hold what is asked for; where they cannot be read, the answer is the same."""

    def test_rows_are_taken_from_it(self, copy, positions, answer):
        built = build_side_copy(copy)
        with open_matcher(copy) as matcher:
            assert_equal(matcher.match(*positions)["patch"], answer)
            assert matcher.cache_counts().bytes == built.bytes

    def test_it_goes_and_comes_while_it_is_used(self, copy, positions, answer):
        build_side_copy(copy)
        with open_matcher(copy) as matcher:
            for change in (remove_side_copy, build_side_copy, lambda copy: build_side_copy(copy, ["ra"])):
                assert_equal(matcher.match(*positions)["patch"], answer)
                change(copy)
            with Crossmatcher([CatalogTarget(copy, "patch", 30.0, ["ra"])], n_neighbors=2, workers=0) as other:
                np.testing.assert_array_equal(other.match(*positions)["patch"].left, answer.left)
                assert_equal(matcher.match(*positions)["patch"], answer)

    def test_one_that_lacks_a_column_is_not_used(self, copy, positions, answer):
        built = build_side_copy(copy, ["ra", "dec"])
        with open_matcher(copy) as matcher:
            assert_equal(matcher.match(*positions)["patch"], answer)
            assert matcher.cache_counts().bytes != built.bytes

    def test_wrong_offsets_of_texts_do_not_end_the_process(self, patch, positions, tmp_path):
        names = pa.array([f"star {number}" for number in range(len(patch))])
        copy = make_copy(patch.append_column("name", names), tmp_path / "named", margin_arcsec=30.0)
        built = build_side_copy(copy)
        with open_matcher(copy) as matcher:
            before = matcher.match(*positions)["patch"]
            for partition in copy.partitions:
                path, text = built.path(partition), built.read(partition)["name"]
                data, offsets = bytearray(path.read_bytes()), text.buffers()[1].to_pybytes()
                data[data.find(offsets) + 4 * (len(text) // 2) + 3] ^= 0x3F
                path.write_bytes(data)
            assert_equal(matcher.match(*positions)["patch"], before)

    def test_it_is_taken_up_with_the_next_opening(self, copy, positions, answer):
        with open_matcher(copy) as first, open_matcher(copy) as second:
            first.match(*positions)
            built = build_side_copy(copy)
            assert_equal(second.match(*positions)["patch"], answer)
            assert second.cache_counts().bytes > built.bytes
            assert_equal(first.match(*positions)["patch"], answer)


def test_counts_go_on_over_versions(copy, pristine, positions, tmp_path, cache):
    link = tmp_path / "current"
    link.symlink_to(copy.path)
    with Scheduler(workers=0) as scheduler:
        matcher = FollowingMatcher([CatalogTarget(link, "patch", 30.0)], scheduler, cache_bytes=10**9)
        for path in (pristine.path, copy.path):
            matcher.current().match(*positions)
            link.unlink()
            link.symlink_to(path)
        matcher.current().match(*positions)
        counts = matcher.cache_counts()
    partitions = len(copy.partitions)
    # Back at the first version, its partitions are still there.
    assert (counts.misses, counts.hits) == (2 * partitions, partitions)
    # With what they ran on, all is given up.
    assert cache.bytes == 0


def test_workers_import_neither_lsdb_nor_hats():
    code = (
        "import sys, xmatch_hats.matching.resident.work; "
        "sys.exit(', '.join(sorted({'lsdb', 'hats', 'pandas', 'dask', 'nested_pandas'} & set(sys.modules))) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_nothing_is_left_to_be_loaded_by_a_first_answer(copy, tmp_path):
    """A worker of somebody's cluster has loaded nothing before; one of ours has."""
    code = (
        "import pickle, sys; from pathlib import Path; from xmatch_hats.matching.resident import work; work.prepare(); "
        "questions = pickle.loads(Path(sys.argv[1]).read_bytes()); before = set(sys.modules); "
        "assert len(work.answer(questions, 0).parts[0].rows); sys.exit(', '.join(set(sys.modules) - before) or 0)"
    )
    asked = tmp_path / "asked"
    table = pq.read_table(copy.partition_file(copy.partitions[0]), partitioning=None)
    found, _ = sort_positions(table["ra"].to_numpy(), table["dec"].to_numpy())
    with open_matcher(copy) as matcher:
        (resident,) = matcher._engine._sides
    asked.write_bytes(pickle.dumps([resident.questions(found, 1)[0].question]))
    result = subprocess.run([sys.executable, "-c", code, str(asked)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
