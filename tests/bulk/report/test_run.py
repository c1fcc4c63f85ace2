"""A report as a whole: one page, its pictures, the same bytes each time, and no word of what it does not know."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
from matplotlib.image import imread

from tests.bulk.alerts.nights import write_archive
from tests.folders import contents
from xmatch_hats.bulk import make_report
from xmatch_hats.bulk.alerts.archives import open_archives
from xmatch_hats.bulk.alerts.merge import merge_nights
from xmatch_hats.bulk.alerts.run import crossmatch_alerts
from xmatch_hats.bulk.report.outputs import find_outputs
from xmatch_hats.bulk.report.run import default_target
from xmatch_hats.errors import AccountError, CatalogError, OutputError, UsageError
from xmatch_hats.matching.targets import CatalogTarget

PICTURES = ("colours", "magnitudes", "offsets", "separation", "sky_fraction", "sky_matches")


class Page(HTMLParser):
    """What a page shows, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def night_report(made, tmp_path_factory):
    return make_report(made.nights, tmp_path_factory.mktemp("out") / "nights_report")


def test_the_page_holds_everything(night_report):
    folder = night_report.page.parent
    names = {path.name for path in folder.iterdir()}
    assert names == {"report.html", "report.json", *(f"{name}_allwise.png" for name in PICTURES)}
    page = Page(night_report.page.read_text())
    assert page.open == []
    assert len(page.images) == len(PICTURES)
    assert all(source.startswith("data:image/png;base64,") for source in page.images)
    words = " ".join(page.words)
    assert "Complete: 392 inputs are accounted for" in words
    for text in ("20180619", "ztf_again_20180620", "Expected by chance", "rows of allwise", "outside-coverage"):
        assert text in words
    nights = re.search(r"night</th>.*?</table>", night_report.page.read_text())[0]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in nights.split("<tr")[1:]]
    assert [row[:3] for row in rows] == [["20180619", "1", "300"], ["20180620", "2", "92"], ["all", "3", "392"]]
    for name in PICTURES:
        height, width = imread(folder / f"{name}_allwise.png").shape[:2]
        assert height > 400
        assert width > 600


def test_the_same_outputs_give_the_same_bytes_whatever_the_users_style(night_report, made, tmp_path):
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "image.cmap": "jet", "savefig.dpi": 20}):
        again = make_report(made.nights, tmp_path / "again")
    assert contents(again.page.parent) == contents(night_report.page.parent)


def test_what_it_tells_to_programs(night_report, made):
    told = json.loads(json.dumps(night_report.to_json()))
    assert told["in"] == told["catalogs"]["allwise"]["in"] == 392
    assert told["differences"] == []
    assert told["catalogs"]["allwise"]["median_separation_arcsec"] == pytest.approx(0.224, abs=0.01)
    assert told["catalogs"]["allwise"]["median_dra_cosdec_arcsec"] == pytest.approx(0.2, abs=0.01)
    assert told["catalogs"]["allwise"]["median_ddec_arcsec"] == pytest.approx(-0.1, abs=0.01)
    # 3,000 rows on a square degree, 2 arcsec, some 330 alerts within; denser where the alerts are.
    assert 1.0 < told["catalogs"]["allwise"]["expected_by_chance"] < 3.0
    assert len(told["outputs"]) == 3
    assert make_report(made.nights).page is None


def test_a_join(made, tmp_path):
    report = make_report(made.joined, tmp_path / "out")
    report.require_whole()
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {f"{name}_allwise.png" for name in PICTURES}
    assert Page(report.page.read_text()).open == []


def test_a_merge_tells_what_its_nights_do(made, night_report):
    report = make_report(made.merged)
    report.require_whole()
    facts, nights = report.matches["allwise"], night_report.matches["allwise"]
    # Without the 40 alerts that came twice.
    assert facts["median_dra_cosdec_arcsec"] == pytest.approx(nights["median_dra_cosdec_arcsec"], abs=0.005)
    assert 0.8 < facts["expected_by_chance"] / nights["expected_by_chance"] < 0.95


def test_a_merge_needs_its_nights_no_more(made, tmp_path):
    (tmp_path / "gone").mkdir()
    shutil.copytree(made.nights / "night=20180619", tmp_path / "gone" / "night=20180619")
    merged = merge_nights(tmp_path / "gone", tmp_path / "merged", workers=0).path
    before = make_report(merged)
    shutil.rmtree(tmp_path / "gone")
    report = make_report(merged)
    report.require_whole()
    assert report.outputs.remarks == ()
    assert report.outputs.targets[0].radius_arcsec == 2.0
    assert report.matches == before.matches
    assert report.matches["allwise"]["expected_by_chance"] > 0.5


def test_mixed_radii_are_told_and_all_drawn(made, nights, tmp_path):
    notes = nights / "night=20180619" / "archive=ztf_public_20180619" / "_bulk" / "provenance.json"
    text = notes.read_text()
    notes.write_text(text.replace('"radius_arcsec": 2.0', '"radius_arcsec": 3.0'))
    # The list of files knows the notes by their size, which is the same.
    merged = merge_nights(nights, tmp_path / "merged", mixed=True, workers=0).path
    of_nights, of_merge = find_outputs(nights), find_outputs(merged)
    assert of_nights.targets[0].radius_arcsec == of_merge.targets[0].radius_arcsec == 3.0
    words = "ztf_again_20180620 and 1 more were matched with another radius of allwise (2 arcsec, not 3), than"
    assert of_nights.remarks[0].startswith(f"{words} ztf_public_20180619: ")
    words = "ztf_public_20180619 was matched with another radius of allwise (3 arcsec, not 2), than"
    assert of_merge.remarks[0].startswith(f"{words} ztf_again_20180620: ")
    make_report(merged).require_whole()


@pytest.mark.parametrize("work", ["nights", "joined", "merged"])
def test_a_file_that_is_missing_has_a_way_out(made, tmp_path, work):
    folder = shutil.copytree(getattr(made, work), tmp_path / work)
    place = "**" if work != "nights" else "night=20180619/**"
    victim = sorted(path for path in folder.glob(f"{place}/Npix=*.parquet") if "_margin" not in str(path))[0]
    victim.unlink()
    with pytest.raises(CatalogError, match=rf"{victim.name}: a file of the output is missing \(.* again"):
        make_report(folder)


def test_a_catalogue_that_changed_has_no_expectation(nights):
    for notes in nights.glob("night=*/*/_bulk/provenance.json"):
        told = json.loads(notes.read_text())
        told["inputs"][1]["sha256"]["hats.properties"] = "0" * 64
        notes.write_text(json.dumps(told))
    assert make_report(nights).matches["allwise"]["expected_by_chance"] is None


@pytest.fixture(scope="module")
def no_rows(made, tmp_path_factory):
    """Of an archive in which nothing can be read, and an unfinished one: there is nothing to draw."""
    folder = tmp_path_factory.mktemp("rejects")
    archive = write_archive(folder / "ztf_public_20180621.tar.gz", [("broken.avro", b"Obj\x01nonsense")])
    targets = [CatalogTarget(made.catalog, "allwise", 2.0)]
    list(crossmatch_alerts(open_archives([str(archive)], None), targets, folder / "nights"))
    (folder / "nights" / "night=20180621" / ".archive=ztf_public_20180622.matching").mkdir()
    return folder / "nights"


def test_without_rows_there_are_no_pictures(no_rows, tmp_path):
    report = make_report(no_rows, tmp_path / "out")
    report.require_whole()
    assert report.to_json()["in"] == report.to_json()["rejected"] == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]
    assert report.outputs.unfinished == ("archive=ztf_public_20180622",)
    page = Page(report.page.read_text())
    assert page.open == []
    assert "Not finished, and not in this report: archive=ztf_public_20180622" in " ".join(page.words)


def test_a_difference_is_on_the_page_and_an_error(no_rows, tmp_path):
    shutil.copytree(no_rows, tmp_path / "nights")
    shutil.rmtree(next(tmp_path.glob("nights/night=*/archive=*/_bulk/rejects")))
    report = make_report(tmp_path / "nights", tmp_path / "out")
    assert re.search(r"1 of \d+ checks failed", report.page.read_text())
    with pytest.raises(AccountError, match="ztf_public_20180621: rejects that were kept: 1 by its notes, 0 found"):
        report.require_whole()


def test_a_report_is_replaced_and_nothing_else_is(no_rows, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="exists, and is no report"):
        make_report(no_rows, out)
    assert (out / "thesis.tex").exists()
    # Neither is anybody else's page of that name a report, nor JSON.
    for name in ("report.html", "report.json"):
        shutil.copy(out / "thesis.tex", out / name)
        with pytest.raises(UsageError, match="exists, and is no report"):
            make_report(no_rows, out)
    assert (out / "report.html").read_text() == "years of work"
    shutil.rmtree(out)
    make_report(no_rows, out)
    first = contents(out)
    (out / "thesis.tex").write_text("years of work")
    (out / "old.png").touch()
    told = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps(told | {"files": [*told["files"], "old.png"]}))
    make_report(no_rows, out)
    assert contents(out) == first | {"thesis.tex": b"years of work"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(OutputError, match="cannot be written"):
        make_report(no_rows, out / "report.html" / "below")


def test_a_report_beside_others_takes_no_file_of_theirs(made, no_rows, tmp_path):
    make_report(no_rows, tmp_path)
    (tmp_path / "separation_allwise.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"separation_allwise\.png: is no file of the report there"):
        make_report(made.joined, tmp_path)
    assert (tmp_path / "separation_allwise.png").read_bytes() == b"mine"
    assert json.loads((tmp_path / "report.json").read_text())["path"] == str(no_rows)


@pytest.mark.parametrize(
    ("folder", "target"),
    [
        ("n1", "n1_report"),
        ("n1/night=20180619/archive=a", "n1_a_report"),
        ("n1/merged", "n1_merged_report"),
        ("joined", "joined_report"),
    ],
)
def test_a_report_goes_beside_the_outputs(tmp_path, folder, target):
    (tmp_path / "n1" / "night=20180619" / "archive=a").mkdir(parents=True)
    assert default_target(tmp_path / folder) == tmp_path / target


def test_without_matplotlib_it_counts_but_does_not_draw(no_rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="pictures need Matplotlib"):
        make_report(no_rows, tmp_path / "out")
    assert make_report(no_rows).page is None


def test_what_is_no_output(made, tmp_path):
    with pytest.raises(UsageError, match="there is no such folder"):
        find_outputs(tmp_path / "none")
    for folder in (tmp_path, made.catalog):
        with pytest.raises(UsageError, match="holds nothing to report on"):
            find_outputs(folder)


@pytest.mark.parametrize("text", ["{", "[]", '"words"'])
def test_notes_that_are_damaged(nights, text):
    notes = nights / "night=20180619" / "archive=ztf_public_20180619" / "_bulk" / "summary.json"
    notes.write_text(text)
    with pytest.raises(CatalogError, match=r"summary.json: (cannot be read|holds no notes)"):
        find_outputs(nights)
    notes.unlink()
    with pytest.raises(CatalogError, match="make the output again"):
        find_outputs(nights)
