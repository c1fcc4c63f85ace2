"""Archives by path and URL: names, nights, and bytes from afar."""

from __future__ import annotations

import pytest
from moto.server import ThreadedMotoServer

from tests.catalogs.remote_sky import FAST, Server
from xmatch_hats.bulk.alerts import archives
from xmatch_hats.bulk.alerts.archives import open_archive, open_archives
from xmatch_hats.errors import RemoteError, UsageError, XmatchError


@pytest.fixture
def place(tmp_path):
    path = tmp_path / "ztf_public_20180619.tar.gz"
    path.write_bytes(bytes(range(256)) * 400)
    return path


def read_all(source) -> bytes:
    pieces = []
    while piece := source.read(30_000):
        pieces.append(piece)
    source.close()
    return b"".join(pieces)


def test_names_and_nights(place):
    found = open_archive(str(place))
    assert (found.stem, found.night, found.size) == ("ztf_public_20180619", "20180619", 102_400)
    assert open_archive(str(place), "20200101").night == "20180619"
    other = place.rename(place.with_name("x_123456789_20181399.tgz"))
    assert open_archive(str(other), "20200101").night == "20200101"
    assert read_all(open_archive(str(other), "20200101").open(100_000)) == other.read_bytes()[100_000:]


@pytest.mark.parametrize(
    ("places", "night", "words"),
    [
        ([], None, "no archive is given"),
        (["nothing_20180619.tar.gz"], None, "does not exist"),
        (["x.zip"], None, "is not the name of an archive"),
        (["ok.tar"], None, "tells no night"),
        (["ok.tar"], "2018-06-19", "is not a night"),
        (["a b_20180619.tar"], None, "cannot name an output"),
        (["folder_20180619.tar"], None, "is not a file"),
        (["ok.tar", "./ok.tar"], "20180619", "two archives of night 20180619 are called ok"),
    ],
)
def test_wrong_use(tmp_path, monkeypatch, places, night, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.tar").write_bytes(b"x")
    (tmp_path / "folder_20180619.tar").mkdir()
    with pytest.raises(UsageError, match=words):
        open_archives(places, night)


def test_a_change_is_noticed(place):
    found = open_archive(str(place))
    found.require_unchanged()
    place.write_bytes(b"other")
    with pytest.raises(XmatchError, match="changed while it was read"):
        found.require_unchanged()


@pytest.mark.parametrize("ranges", [True, False])
def test_over_https(place, monkeypatch, ranges):
    monkeypatch.setattr(archives, "RANGE_BYTES", 20_000)
    with Server(place.parent, ranges=ranges) as server:
        found = open_archive(f"{server.url}/{place.name}", retry=FAST)
        # What only gives whole files is not asked for one to find that out.
        assert server.sent_bytes <= (1 if ranges else place.stat().st_size)
        assert found.can_seek is ranges
        assert read_all(found.open()) == place.read_bytes()
        if ranges:
            assert read_all(found.open(70_001)) == place.read_bytes()[70_001:]
        found.require_unchanged()
        with pytest.raises(RemoteError, match="there is no such file"):
            open_archive(f"{server.url}/nothing_20180619.tar.gz", retry=FAST)


def test_over_s3(place, s3_endpoint, monkeypatch):
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        client = s3_endpoint("http://{}:{}".format(*server.get_host_and_port()))
        client.create_bucket(Bucket="nights", ACL="public-read")
        client.upload_file(str(place), "nights", f"ztf/{place.name}", ExtraArgs={"ACL": "public-read"})
        monkeypatch.setattr(archives, "RANGE_BYTES", 20_000)
        found = open_archive(f"s3://nights/ztf/{place.name}", retry=FAST)
        assert found.can_seek
        assert read_all(found.open(70_001)) == place.read_bytes()[70_001:]
    finally:
        server.stop()
