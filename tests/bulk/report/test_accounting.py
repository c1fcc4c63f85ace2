"""Accounts add up, and whatever is spoilt afterwards is a difference that is named."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.bulk.alerts.nights import alert, packet, write_archive
from tests.bulk.catalogs.skies import main_table
from tests.copies import make_copy, sky_table
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.alerts.archives import open_archives
from xmatch_hats.bulk.alerts.run import AlertsSettings, crossmatch_alerts
from xmatch_hats.bulk.report.accounting import account
from xmatch_hats.bulk.report.outputs import find_outputs
from xmatch_hats.bulk.report.scan import scan
from xmatch_hats.matching.targets import CatalogTarget


def accounting(folder, *, recount=False):
    outputs = find_outputs(folder)
    return account(outputs, scan(outputs), recount=recount)


def wrong(folder, *, recount=False):
    return [str(check) for check in accounting(folder, recount=recount).differences]


def edit(path, change):
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def drop_row(path):
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(1), path)


def test_nights(made):
    found = accounting(made.nights, recount=True)
    assert not found.differences
    assert not found.unchecked
    assert len(found.checks) > 30
    total = found.total()
    assert (
        total["in"]
        == 300 + 52 + 40
        == sum(total[key] for key in ("matched", "unmatched", "outside_coverage", "rejected"))
    )
    assert total["rejected"] == 2
    assert total["matched"] >= 290
    assert total["outside_coverage"] > 10
    assert found.total_of("allwise") == total
    names = [(one.night, one.name) for one in found.accounts]
    assert names == [
        ("20180619", "ztf_public_20180619"), ("20180620", "ztf_again_20180620"), ("20180620", "ztf_public_20180620")
    ]  # fmt: skip


def test_one_archive(made):
    found = accounting(made.nights / "night=20180620" / "archive=ztf_public_20180620")
    assert not found.differences
    assert found.total()["in"] == 52


def test_merged_without_duplicates(made):
    found = accounting(made.merged)
    assert not found.differences
    assert found.total() == accounting(made.nights).total()
    outputs = find_outputs(made.merged)
    assert scan(outputs).rows[made.merged] == 300 + 50


def test_joined(made):
    found = accounting(made.joined)
    assert not found.differences
    assert not found.unchecked
    assert found.total() == {
        "in": 3000, "left_out": 0, "matched": 3000, "unmatched": 0, "outside_coverage": 0, "rejected": 0
    }  # fmt: skip
    whats = {check.what for check in found.checks}
    assert {"rows of ztf", "rows in the partitions of ztf", "rows left out and by status"} <= whats


@pytest.mark.parametrize("join", ["inner", "left"])
def test_joins_with_conditions(made, tmp_path, join):
    out = tmp_path / "out"
    crossmatch_catalogs(
        made.joined.parent / "ztf", made.catalog, out, radius_arcsec=1.0, join=join, workers=0,
        left_where="gmag < 18", right_where="w1mpro < 16", where="w2mpro > 14",
    )  # fmt: skip
    found = accounting(out)
    assert not found.differences
    total = found.total()
    assert 0 < total["left_out"] < 3000
    assert total["in"] == 3000 == sum(total.values()) - total["in"]
    assert find_outputs(out).remarks[0] == "--left-where: gmag < 18"


def test_a_row_that_is_gone_from_a_file(nights):
    (path,) = nights.glob("night=20180619/*/ztf_public_20180619/dataset/**/Npix*.parquet")
    drop_row(path)
    found = wrong(nights)
    assert "ztf_public_20180619: rows by the footers of its files: 300 by its notes, 299 found" in found
    assert "ztf_public_20180619: rows that were read: 300 by its notes, 299 found" in found
    assert "ztf_public_20180619: allwise: rows by status: 300 by its notes, 299 found" in found
    assert all(text.startswith("ztf_public_20180619: ") for text in found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update(unmatched=told["unmatched"] - 1), "all catalogues: alerts by status"),
        (lambda told: told["catalogs"]["allwise"].update({"in": 299}), "allwise: alerts: "),
        (lambda told: told.update(members=301), "members of its archive, counted again: 301 by its notes, 300 found"),
        (lambda told: told.update(packets=299), "packets in its archive, counted again: 299 by its notes, 300 found"),
        (lambda told: told.update(duplicates_removed=1), "rows, duplicates that were removed and rejected"),
        (lambda told: told["catalogs"]["allwise"].update(matched=1, unmatched=299), "allwise: matched rows: 1 by"),
    ],
)
def test_notes_that_do_not_add_up(nights, change, words):
    edit(nights / "night=20180619" / "archive=ztf_public_20180619" / "_bulk" / "summary.json", change)
    assert any(words in text for text in wrong(nights, recount=True))


def test_rejects_that_are_gone(nights):
    shutil.rmtree(nights / "night=20180620" / "archive=ztf_public_20180620" / "_bulk" / "rejects")
    assert wrong(nights) == ["ztf_public_20180620: rejects that were kept: 2 by its notes, 0 found"]


def test_an_archive_that_changed_or_is_gone(nights, tmp_path):
    notes = nights / "night=20180619" / "archive=ztf_public_20180619" / "_bulk" / "provenance.json"
    archive = tmp_path / "ztf_public_20180619.tar.gz"
    archive.write_bytes(b"other")
    edit(notes, lambda told: told["inputs"][0].update(path=str(archive)))
    (found,) = wrong(nights)
    assert "ztf_public_20180619: bytes of its archive: " in found
    (text,) = accounting(nights, recount=True).unchecked
    assert text == "ztf_public_20180619: its archive is another one now: its members were not counted again"
    archive.unlink()
    later = accounting(nights)
    assert not later.differences
    (text,) = later.unchecked
    assert text.startswith(f"ztf_public_20180619: its archive was not compared: {archive}")


@pytest.fixture(scope="module")
def hard_night(made, tmp_path_factory):
    """An archive with folders, hidden and repeated members, which breaks off, matched with two catalogues."""
    folder = tmp_path_factory.mktemp("hard")
    ra, dec = (made.sky[name].to_pylist() for name in ("ra", "dec"))
    members = [(f"{number}.avro", packet(alert(number, ra[number], dec[number]))) for number in range(60)]
    whole = write_archive(folder / "whole.tar", [("._hidden", b"x"), *members, *members[:20]])
    with tarfile.open(whole, "a") as tar:
        entry = tarfile.TarInfo("folder")
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        entry = tarfile.TarInfo("last.avro")
        entry.size = 5000
        tar.addfile(entry, io.BytesIO(np.random.default_rng(1).bytes(5000)))
    archive = folder / "ztf_public_20180701.tar.gz"
    archive.write_bytes(gzip.compress(whole.read_bytes())[:-600])
    other = make_copy(sky_table(1000), folder / "other", coverage="all-sky", name="other").path
    targets = [CatalogTarget(made.catalog, "allwise", 2.0), CatalogTarget(other, "other", 5.0)]
    return open_archives([str(archive)], None), targets


@pytest.mark.parametrize("settings", [{"dedup": True}, {"kind": "parquet"}, {"dedup": True, "kind": "parquet"}])
def test_what_is_hidden_repeated_or_broken_off_is_accounted_for(hard_night, tmp_path, settings):
    archives, targets = hard_night
    list(crossmatch_alerts(archives, targets, tmp_path / "out", AlertsSettings(**settings)))
    found = accounting(tmp_path / "out", recount=True)
    assert not found.differences
    assert not found.unchecked
    (one,) = found.accounts
    assert one.more["duplicates"] == 20
    assert one.more["damage"] is not None
    assert one.totals["rejected"] >= 1
    assert one.catalogs.keys() == {"allwise", "other"}
    assert found.total_of("allwise")["matched"] == 80
    assert found.total_of("other")["matched"] < 80


def test_a_join_that_was_spoilt(joined):
    edit(joined / "summary.json", lambda told: told.update(matched=2999, unmatched=1))
    found = wrong(joined)
    assert "joined: matched on the map of the sky: 2,999 by its notes, 3,000 found" in found
    assert "joined: matched rows: 2,999 by its notes, 3,000 found" in found
    edit(joined / "summary.json", lambda told: told.update({"matched": 3000, "unmatched": 0, "in": 3001}))
    found = wrong(joined)
    assert "joined: rows left out and by status: 3,001 by its notes, 3,000 found" in found
    assert "joined: rows of ztf: 3,001 by its notes, 3,000 found" in found


def test_a_left_side_that_lost_rows_changed_or_is_gone(made, joined, tmp_path):
    ztf = tmp_path / "ztf"
    shutil.copytree(made.joined.parent / "ztf", ztf)
    edit(joined / "provenance.json", lambda told: told["inputs"][0].update(path=str(ztf)))
    assert wrong(joined) == []
    drop_row(next((main_table(ztf) / "dataset").glob("Norder*/**/*.parquet")))
    assert wrong(joined) == ["joined: rows in the partitions of ztf: 3,000 by its notes, 2,999 found"]
    shutil.rmtree(ztf)
    assert "ztf cannot be asked for its rows" in accounting(joined).unchecked[0]
    make_copy(sky_table(100), ztf)
    (text,) = accounting(joined).unchecked
    assert text == f"joined: {ztf} has been replaced or changed since: its rows were not compared"


def test_rows_without_a_position_are_kept_beside_a_left_join(made, tmp_path):
    """A catalogue of others may have them."""
    ztf = tmp_path / "ztf"
    shutil.copytree(made.joined.parent / "ztf", ztf)
    path = next((main_table(ztf) / "dataset").glob("Norder*/**/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    ra = table["ra"].to_pylist()
    ra[3] = float("nan")
    pq.write_table(table.set_column(table.schema.get_field_index("ra"), table.schema.field("ra"), [ra]), path)
    out = tmp_path / "out"
    crossmatch_catalogs(ztf, made.catalog, out, radius_arcsec=1.0, join="left", workers=0)
    found = accounting(out)
    assert found.total()["rejected"] == 1
    assert not found.differences
    (out / "rejected.parquet").unlink()
    assert wrong(out) == ["out: rejected rows that were kept: 1 by its notes, 0 found"]
