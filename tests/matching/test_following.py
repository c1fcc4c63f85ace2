"""Catalogues that change under a process that runs on: which version answers, and what is said when none can."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.copies import make_copy, patch_table
from tests.matching.skies import write_copy
from tests.oracle import brute_force
from xmatch_hats.catalogs import registry
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import remove_side_copy
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, PartitionReadError, SystemFailure, UsageError
from xmatch_hats.matching.batch import sort_positions
from xmatch_hats.matching.crossmatcher import CatalogTarget
from xmatch_hats.matching.following import FollowingMatcher
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.states import folder_state

RADIUS = 20.0
N = 1500


@dataclass
class Night:
    """Positions, and versions of a sky around RA 45 that have the same sources at other places and other fluxes."""

    ra: np.ndarray
    dec: np.ndarray

    def table(self, seed: int, **columns):
        table = patch_table(N, 45.0, 0.0, 1.0, seed=seed)
        return table.append_column("flux", [np.full(N, float(seed))]).select([*table.column_names, "flux"])

    def check(self, matcher, seed: int, name: str = "sky") -> None:
        """The answer is that of one version, whole: compared with brute force."""
        result = matcher.match(self.ra, self.dec)[name]
        table = self.table(seed)
        expected = brute_force(self.ra, self.dec, table["ra"], table["dec"], RADIUS, k=1)
        assert len(expected) > 100
        np.testing.assert_array_equal(result.left, expected.left)
        np.testing.assert_array_equal(result.rows["source_id"].to_numpy(), expected.right)
        np.testing.assert_array_equal(result.rows["flux"].to_numpy(), np.full(len(expected), float(seed)))
        np.testing.assert_allclose(result.distance_arcsec, expected.sep_arcsec, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def night():
    parts = [patch_table(N, 45.0, 0.0, 1.0, seed=seed) for seed in (1, 2, 3)]
    rng = np.random.default_rng(5)
    ra, dec = (np.concatenate([part[axis].to_numpy() for part in parts]) for axis in ("ra", "dec"))
    near = rng.integers(0, len(ra), 900)
    return Night(ra[near] + rng.normal(0, 2e-3, 900), dec[near] + rng.normal(0, 2e-3, 900))


@pytest.fixture(scope="module")
def versions(night, tmp_path_factory):
    """Copies of three versions, whose files have the same names, to be copied from."""
    folder = tmp_path_factory.mktemp("versions")
    return {
        seed: make_copy(night.table(seed), folder / str(seed) / "sky", margin_arcsec=30.0, partition_rows=450).path
        for seed in (1, 2, 3)
    }


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture(params=["threads", "cluster"])
def scheduler(request):
    if request.param == "threads":
        with Scheduler(workers=0) as scheduler:
            yield scheduler
    else:
        with Scheduler(request.getfixturevalue("dask_client")) as scheduler:
            yield scheduler


def publish(source: Path, root: Path, version: str) -> Path:
    return shutil.copytree(source, root / "sky" / version)


def replace_folder(path: Path, source: Path) -> None:
    """Another copy under the same path, as an operator would do it."""
    shutil.rmtree(path)
    shutil.copytree(source, path)


def overwrite_files(path: Path, source: Path) -> None:
    """Another copy written over the old one, file by file, into the same folders and inodes."""
    for file in source.rglob("*"):
        if file.is_file():
            (path / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (path / file.relative_to(source)).write_bytes(file.read_bytes())


def test_versions_have_one_layout(versions):
    """So that a task of one version is named like that of another, but for what keeps them apart."""
    copies = [LocalCopy.open(path) for path in versions.values()]
    files = [[copy.partition_file(p).relative_to(copy.path) for p in copy.partitions] for copy in copies]
    assert len(files[0]) > 3
    assert files[0] == files[1] == files[2]


def test_a_switch_is_taken_up_between_batches(night, versions, root, scheduler):
    publish(versions[1], root, "v1")
    registry.use("sky", "v1")
    told = []
    matcher = FollowingMatcher(
        [CatalogTarget("sky", radius_arcsec=RADIUS)], scheduler, on_switch=lambda *switch: told.append(switch)
    )
    first = matcher.current()
    night.check(first, 1, name := matcher.current().names[0])
    assert matcher.current() is first
    publish(versions[2], root, "v2")
    assert matcher.current() is first
    registry.use("sky", "v2")
    # What runs already stays with what it was given.
    night.check(first, 1, name)
    second = matcher.current()
    assert second is not first
    night.check(second, 2, name)
    assert matcher.current() is second
    registry.use("sky", "v1")
    night.check(matcher.current(), 1, name)
    identities = {seed: LocalCopy.open(path).version[:8] for seed, path in versions.items()}
    v1, v2 = f"v1 ({identities[1]})", f"v2 ({identities[2]})"
    assert told == [(name, v1, v2), (name, v2, v1)]
    assert matcher.versions == {name: v1}
    matcher.close()
    assert scheduler.run({}, []) == []


@pytest.mark.parametrize(
    ("engine", "replace"), [("resident", replace_folder), ("resident", overwrite_files), ("lsdb", overwrite_files)]
)
def test_a_copy_replaced_in_place_leaves_no_old_rows(night, versions, tmp_path, scheduler, engine, replace):
    path = shutil.copytree(versions[1], tmp_path / "copy")
    matcher = FollowingMatcher([CatalogTarget(str(path), "sky", RADIUS)], scheduler, engine=engine)
    night.check(matcher.current(), 1)
    for seed in (2, 3, 1):
        replace(path, versions[seed])
        for _ in range(2):
            night.check(matcher.current(), seed)


def test_what_another_client_holds_is_not_taken_for_the_new_version(night, versions, tmp_path, dask_client):
    """Dask names a task after what it does: the same path, were it not for the state of the copy."""
    from distributed import Client, wait

    path = shutil.copytree(versions[1], tmp_path / "copy")
    matcher = FollowingMatcher([CatalogTarget(path, "sky", RADIUS)], Scheduler(dask_client), engine="lsdb")
    before = matcher.current()
    with Client(dask_client.scheduler.address, set_as_default=False) as other:
        ((side, rule),) = before._engine.sides
        plan = side.plan(sort_positions(night.ra, night.dec)[0], rule)
        reads = [key for key in plan.graph if key[0].startswith("read_partition")]
        held = other.get(plan.graph, reads, sync=False)
        with other.as_current():
            wait(held)
        replace_folder(path, versions[2])
        night.check(matcher.current(), 2)
        assert all(future.status == "finished" for future in held)


def test_two_catalogues_of_which_one_is_switched(night, versions, root, tmp_path):
    publish(versions[1], root, "v1")
    publish(versions[2], root, "v2")
    registry.use("sky", "v1")
    fixed = shutil.copytree(versions[3], tmp_path / "fixed")
    targets = [CatalogTarget("sky", "moving", RADIUS), CatalogTarget(fixed, "fixed", RADIUS)]
    with Scheduler(workers=0) as scheduler:
        matcher = FollowingMatcher(targets, scheduler)
        night.check(matcher.current(), 1, "moving")
        registry.use("sky", "v2")
        night.check(matcher.current(), 2, "moving")
        night.check(matcher.current(), 3, "fixed")
        # Neither is used while one cannot be.
        moved = fixed.rename(tmp_path / "elsewhere")
        registry.use("sky", "v1")
        with pytest.raises(SystemFailure, match="fixed"):
            matcher.current()
        moved.rename(fixed)
        night.check(matcher.current(), 1, "moving")


def narrow_margin(night, path):
    make_copy(night.table(2), path, margin_arcsec=2.0)


def without_flux(night, path):
    make_copy(night.table(2).drop_columns("flux"), path, margin_arcsec=30.0)


def damaged(night, path):
    copy = make_copy(night.table(2), path, margin_arcsec=30.0)
    (copy.main_path / "partition_info.csv").write_text("nothing of the kind")


def damaged_margin(night, path):
    copy = make_copy(night.table(2), path, margin_arcsec=30.0)
    (copy.margin_path / "partition_info.csv").write_text("nothing of the kind")


def bad_manifest(night, path):
    make_copy(night.table(2), path, margin_arcsec=30.0)
    (path / "xmatch_hats.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (narrow_margin, "a radius of 20 arcsec cannot be searched: the catalogue has a margin of 2 arcsec"),
        (without_flux, "has no column flux"),
        (damaged, "is not a list of partitions"),
        (damaged_margin, "LSDB cannot open the copy"),
        (bad_manifest, "is not a manifest that this version understands"),
    ],
)
def test_a_version_that_cannot_be_used_is_waited_for(night, versions, root, make, what):
    publish(versions[1], root, "v1")
    registry.use("sky", "v1")
    target = CatalogTarget("sky", "sky", RADIUS, ["source_id", "flux"])
    with Scheduler(workers=0) as scheduler:
        matcher = FollowingMatcher([target], scheduler)
        first = matcher.current()
        make(night, root / "sky" / "v2")
        (root / "sky" / "current").unlink()
        (root / "sky" / "current").symlink_to("v2")
        for _ in range(2):
            with pytest.raises(SystemFailure) as caught:
                matcher.current()
            assert str(caught.value).startswith("sky v2")
            assert "the version that it leads to cannot be used: " in str(caught.value)
            assert what in str(caught.value)
        registry.use("sky", "v1")
        assert matcher.current() is first
        night.check(first, 1)
        # Mended, it is taken up.
        replace_folder(root / "sky" / "v2", versions[2])
        registry.use("sky", "v2")
        night.check(matcher.current(), 2)


def test_a_version_that_goes_while_it_is_read(night, versions, root, scheduler):
    for seed in (1, 2):
        publish(versions[seed], root, f"v{seed}")
    registry.use("sky", "v1")
    matcher = FollowingMatcher([CatalogTarget("sky", "sky", RADIUS)], scheduler)
    batch = matcher.current()
    night.check(batch, 1)
    shutil.rmtree(root / "sky" / "v1")
    with pytest.raises(PartitionReadError):
        batch.match(night.ra, night.dec)
    with pytest.raises(SystemFailure, match="sky has no current version"):
        matcher.current()
    registry.use("sky", "v2")
    night.check(matcher.current(), 2)


def test_a_file_that_is_taken_away_and_put_back(night, versions, tmp_path, scheduler):
    path = shutil.copytree(versions[1], tmp_path / "copy")
    remove_side_copy(LocalCopy.open(path))
    matcher = FollowingMatcher([CatalogTarget(path, "sky", RADIUS)], scheduler)
    night.check(matcher.current(), 1)
    copy = LocalCopy.open(path)
    for file in (copy.partition_file(copy.partitions[0]), *map(copy.partition_file, copy.partitions[-1:])):
        hidden = file.rename(tmp_path / "hidden")
        for _ in range(2):
            with pytest.raises(PartitionReadError) as caught:
                matcher.current().match(night.ra, night.dec)
            assert caught.value.place == str(file)
        hidden.rename(file)
        night.check(matcher.current(), 1)
    hidden = path.rename(tmp_path / "hidden")
    with pytest.raises(SystemFailure, match="there is no such folder"):
        matcher.current()
    before = matcher._matcher
    hidden.rename(path)
    assert matcher.current() is before
    night.check(before, 1)


def test_a_folder_that_is_a_link_is_followed(night, versions, tmp_path):
    """A batch never reads through a link that is turned meanwhile."""
    link = tmp_path / "current"
    link.symlink_to(versions[1])
    with Scheduler(workers=0) as scheduler:
        matcher = FollowingMatcher([CatalogTarget(link, "sky", RADIUS)], scheduler)
        first = matcher.current()
        link.unlink()
        link.symlink_to(versions[2])
        night.check(first, 1)
        night.check(matcher.current(), 2)


def test_a_foreign_copy_is_followed_too(night, tmp_path):
    path = write_copy(night.table(1).to_pandas(), tmp_path / "a", partition_rows=450, margin_arcsec=30.0)
    with Scheduler(workers=0) as scheduler:
        matcher = FollowingMatcher([CatalogTarget(path, "sky", RADIUS)], scheduler)
        night.check(matcher.current(), 1)
        other = write_copy(night.table(2).to_pandas(), tmp_path / "b", partition_rows=450, margin_arcsec=30.0)
        replace_folder(path, other)
        night.check(matcher.current(), 2)


def test_columns_are_chosen_of_each_version(night, versions, root):
    publish(versions[1], root, "v1")
    registry.use("sky", "v1")

    def but_positions(copy):
        return [name for name in copy.schema.names if name not in ("ra", "dec", "_healpix_29", "_row")]

    with Scheduler(workers=0) as scheduler:
        matcher = FollowingMatcher([CatalogTarget("sky", "sky", RADIUS, but_positions)], scheduler)
        assert matcher.current().targets[0].schema.names == ["source_id", "flux"]
        without_flux(night, root / "sky" / "v2")
        registry.use("sky", "v2")
        assert matcher.current().targets[0].schema.names == ["source_id"]


def test_mistakes_at_the_start_are_told_as_such(versions, root):
    with Scheduler(workers=0) as scheduler:
        with pytest.raises(CatalogNotFoundError, match="no catalogue is named sky"):
            FollowingMatcher([CatalogTarget("sky")], scheduler)
        with pytest.raises(CatalogError, match="has no column nothing"):
            FollowingMatcher([CatalogTarget(versions[1], columns=["nothing"])], scheduler)
        with pytest.raises(UsageError, match="two catalogues are called a"):
            FollowingMatcher([CatalogTarget(versions[1], "a"), CatalogTarget(versions[2], "a")], scheduler)
        with pytest.raises(UsageError, match="no catalogue is given"):
            FollowingMatcher([], scheduler)


def test_the_state_of_a_folder(versions, tmp_path):
    path = shutil.copytree(versions[1], tmp_path / "copy")
    state = folder_state(path)
    (path / "notes.txt").write_text("nobody minds")
    assert folder_state(path) == state
    manifest = path / "xmatch_hats.json"
    times = manifest.stat()
    manifest.write_bytes(manifest.read_bytes())
    # As archivers do: size and time are what they were.
    os.utime(manifest, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert manifest.stat().st_mtime_ns == times.st_mtime_ns
    assert folder_state(path) != state
    assert folder_state(tmp_path / "nothing") == folder_state(tmp_path / "neither")
