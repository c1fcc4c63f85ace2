from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.alerts.makers import pack, small_alert, unpack
from tests.copies import make_copy, sky_table
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import InputOutput
from xmatch_hats.catalogs import registry
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import CatalogError, SystemFailure
from xmatch_hats.matching.following import FollowingMatcher
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.step.enrichment import Enrichment, stream_targets, wire_columns
from xmatch_hats.step.settings import CatalogSettings
from xmatch_hats.step.tables import columns_for_tables

ROWS = 50


@pytest.fixture
def shapes(tmp_path) -> LocalCopy:
    """A copy with a column that has no form on the wire, and one whose values 32 bits cannot hold."""
    lists = pa.array([[1.0]] * ROWS, type=pa.list_(pa.float64()))
    return make_copy(sky_table(ROWS, shapes=lists, huge=pa.array([1e300] * ROWS)), tmp_path / "s", coverage="all-sky")


@pytest.fixture
def plain(tmp_path) -> LocalCopy:
    return make_copy(sky_table(ROWS), tmp_path / "plain", coverage="all-sky")


def enrichment(*catalogs: CatalogSettings, with_tables: bool = False) -> Enrichment:
    matcher = FollowingMatcher(stream_targets(catalogs, with_tables=with_tables), Scheduler(workers=0))
    return Enrichment(matcher, InputOutput(), catalogs)


def answer(enrich: Enrichment, *positions: tuple[float, float]) -> list[dict | None]:
    """What ``xmatches`` says at positions."""
    packets = [PacketReader().read(pack([small_alert(i, *position)])) for i, position in enumerate(positions)]
    enricher = enrich()
    return [unpack(outcome.data)[0]["xmatches"] for outcome in enricher.encode(enricher.match(packets))]


def place_of(copy: LocalCopy) -> tuple[float, float]:
    import pyarrow.parquet as pq

    row = pq.read_table(copy.partition_file(copy.partitions[0]), partitioning=None).slice(0, 1).to_pylist()[0]
    return row["ra"], row["dec"]


def test_columns_go_out_as_asked_or_as_the_definition_says(wise, plain, shapes):
    copy, _ = wise
    assert wire_columns(copy, ["W1mag", "designation", "AllWISE"]) == ["w1mpro", "designation"]
    assert wire_columns(copy) == list(copy.definition.xmatch_columns)
    assert wire_columns(plain) == ["ra", "dec", "source_id", "flux"]
    assert "shapes" not in wire_columns(shapes)
    with pytest.raises(CatalogError, match="has no column W9mag"):
        wire_columns(copy, ["W9mag"])


def test_columns_without_a_form_on_the_wire_are_refused_by_name(shapes):
    with pytest.raises(CatalogError, match=r"cannot be in xmatches: shapes \(list"):
        enrichment(CatalogSettings(name="s", path=str(shapes.path), columns=["flux", "shapes"]))()


def test_columns_of_the_tables_are_fetched_and_stay_out_of_xmatches(wise):
    copy, _ = wise
    asked = CatalogSettings(name="wise", path=str(copy.path), columns=["W2mag"])
    enrich = enrichment(asked, with_tables=True)
    (target,) = enrich().targets
    needed = columns_for_tables(copy)
    assert {"designation", "ra", "dec", "w1mpro", "k_msig_2mass"} <= set(needed)
    assert target.schema.names == ["w2mpro", *(name for name in needed if name != "w2mpro")]
    (found,) = answer(enrich, place_of(copy))
    assert list(found["wise"]) == ["angDist", "W2mag"]


def test_columns_of_the_tables_of_other_copies(plain):
    assert columns_for_tables(replace(plain, id_column="source_id")) == ("source_id",)
    assert columns_for_tables(plain) == ("_row",)
    (found,) = answer(enrichment(CatalogSettings(name="n", path=str(plain.path)), with_tables=True), place_of(plain))
    assert list(found["n"]) == ["angDist", "ra", "dec", "source_id", "flux"]


def test_values_that_became_null_are_counted_over_all_versions(shapes):
    enrich = enrichment(CatalogSettings(name="s", path=str(shapes.path), columns=["huge"]))
    assert enrich.names == ("s",)
    place = place_of(shapes)
    first = enrich()
    assert answer(enrich, place, place) == [{"s": {"angDist": 0.0, "huge": None}}] * 2
    assert enrich.nulled == {"s": 2}
    assert enrich() is first
    # The same rows in a folder anew are another version.
    shutil.copytree(shapes.path, shapes.path.with_name("again"))
    shapes.path.rename(shapes.path.with_name("before"))
    shapes.path.with_name("again").rename(shapes.path)
    assert enrich() is not first
    assert enrich.nulled == {"s": 2}
    answer(enrich, place)
    assert enrich.nulled == {"s": 3}


@pytest.mark.parametrize("asked", [["flux"], None], ids=["asked for", "default"])
def test_a_version_that_does_not_do_is_waited_for_and_the_old_one_taken_back(tmp_path, monkeypatch, asked):
    """Never an error that ends the step, and never an answer of the old version."""
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path))
    versions = tmp_path / "sky"
    make_copy(sky_table(ROWS), versions / "good", coverage="all-sky")
    lists = pa.array([[1.0]] * ROWS, type=pa.list_(pa.float64()))
    make_copy(sky_table(ROWS).set_column(3, "flux", lists), versions / "bad", coverage="all-sky")
    registry.use("sky", "good")
    enrich = enrichment(CatalogSettings(name="sky", columns=asked))
    good = enrich()
    registry.use("sky", "bad")
    if asked is None:
        # The default leaves out what cannot go out.
        assert "flux" not in wire_columns(LocalCopy.open(versions / "bad"))
        assert enrich() is not good
    else:
        for _ in range(2):
            with pytest.raises((CatalogError, SystemFailure), match="flux"):
                enrich()
    registry.use("sky", "good")
    (found,) = answer(enrich, place_of(LocalCopy.open(Path(versions / "good"))))
    assert found["sky"]["flux"] is not None
