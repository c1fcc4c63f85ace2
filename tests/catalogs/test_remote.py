"""Reading from afar: exactly the bytes asked for, through servers that fail in every way they do."""

from __future__ import annotations

import pytest
from upath import UPath

from tests.catalogs.remote_sky import Server, made_rows, now_and_then, write_hats
from xmatch_hats.catalogs.footer import HOLE_BYTES, REQUEST_BYTES, _requests, plan_file, read_footer
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.catalogs.remote import RemoteStore, Retry
from xmatch_hats.catalogs.remote_catalog import open_remote
from xmatch_hats.errors import RemoteError, UsageError

FAST = Retry(attempts=6, wait_initial_s=0.001, wait_max_s=0.005)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return write_hats(tmp_path_factory.mktemp("remote") / "sky", made_rows(8000), order=4)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    return tmp_path


@pytest.mark.parametrize("kind", ["503", "429", "500", "close", "truncated", "short"])
def test_faults_that_pass_are_tried_again(data, kind):
    with Server(data, fault=lambda _, number: kind if number <= 3 else None) as server:
        store = RemoteStore(server.url, FAST)
        assert store.read_range("file", 1000, 2256) == (data / "file").read_bytes()[1000:2256]
        assert server.faults[kind] == 3
        assert store.state("file").size == 256_000


@pytest.mark.parametrize(
    ("kind", "requests", "reason"), [("403", 1, "access is denied"), ("404", 1, "no such file"), ("410", 1, "410")]
)
def test_a_no_is_not_asked_again(data, kind, requests, reason):
    with Server(data, fault=lambda *_: kind) as server:
        with pytest.raises(RemoteError, match=reason) as caught:
            RemoteStore(server.url, FAST).read_range("file", 0, 10)
        assert server.number == requests
        assert f"{server.url}/file" in str(caught.value)


def test_a_fault_that_stays_is_told_with_its_place(data):
    with Server(data, fault=lambda *_: "503") as server:
        with pytest.raises(RemoteError, match=r"after 6 attempts.*503") as caught:
            RemoteStore(server.url, FAST).read_range("file", 0, 10)
        assert server.number == 6
        assert f"{server.url}/file" in str(caught.value)


def test_a_busy_server_does_not_mean_that_there_is_no_file(data):
    with Server(data, fault=lambda *_: "503") as server:
        for ask in (RemoteStore(server.url, FAST).state, RemoteStore(server.url, FAST).read_if_there):
            with pytest.raises(RemoteError, match="503"):
                ask("file")


def test_a_server_that_is_not_there(data):
    with Server(data) as server:
        url = server.url
    with pytest.raises(RemoteError, match="after 2 attempts"):
        RemoteStore(url, Retry(2, 0.001, 0.002)).read("file")


def test_whole_files_are_counted(data, tmp_path):
    with Server(data, ranges=False, fault=lambda _, number: "short" if number == 2 else None) as server:
        store = RemoteStore(server.url, FAST)
        assert not store.gives_ranges("file")
        store.download("file", tmp_path / "copy", 256_000)
        assert (tmp_path / "copy").read_bytes() == (data / "file").read_bytes()
        assert server.faults["short"] == 1
        with pytest.raises(RemoteError, match="bytes came instead of 7"):
            store.download("file", tmp_path / "copy", 7)


def test_a_path_is_a_place_too(data):
    store = RemoteStore(str(data), FAST)
    assert store.read_range("file", 5, 9) == bytes([5, 6, 7, 8])
    assert store.gives_ranges("file")
    assert store.list("") == ["file"]
    before = store.state("file")
    (data / "file").write_bytes(b"other")
    assert store.state("file") != before
    assert store.read_if_there("none") is None
    with pytest.raises(RemoteError, match="no such file"):
        store.read("none")
    with pytest.raises(RemoteError, match="no such file"):
        store.state("")


@pytest.mark.parametrize(
    ("url", "error", "reason"),
    [
        ("http://127.0.0.1/a?b=c", UsageError, "no query"),
        ("http://127.0.0.1/a#b", UsageError, "no query"),
        ("nothing://x/y", UsageError, "nothing installed can read"),
        ("", UsageError, "is empty"),
        ("s3://", UsageError, "no host or bucket"),
        ("https:///x", UsageError, "no host or bucket"),
        ("ftp://127.0.0.1:1/x", RemoteError, "cannot be reached"),
    ],
)
def test_urls_that_mean_nothing(url, error, reason):
    with pytest.raises(error, match=reason):
        RemoteStore(url)


def test_a_folder_in_every_way_to_say_it(tmp_path, monkeypatch):
    folder = tmp_path / "my sky #1%"
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    for url in (str(folder), f"{folder}/", folder, UPath(folder), folder.as_uri(), "my sky #1%", "./my sky #1%/"):
        store = RemoteStore(url)
        assert store.read("file") == b"content"
        assert store.url == str(folder)
    with Server(tmp_path) as server:
        (tmp_path / "sky").mkdir()
        (tmp_path / "sky" / "file").write_bytes(b"other")
        for url in (f"{server.url}/sky//", UPath(f"{server.url}/sky"), server.url.replace("http", "HTTP") + "/sky/"):
            assert RemoteStore(url).read("file") == b"other"
            assert RemoteStore(url).url == f"{server.url}/sky"


def test_a_upath_keeps_its_own_settings():
    own = RemoteStore(UPath("s3://bucket/sky", key="somebody", secret="secret"))
    assert own._fs.storage_options["key"] == "somebody"
    assert "anon" not in own._fs.storage_options
    assert RemoteStore(UPath("s3://bucket/sky"))._fs.storage_options["anon"]


def test_redirects_are_followed_unless_they_lead_nowhere(data):
    def once(handler, _number):
        return None if handler.path == "/file" else "/file"

    with Server(data, fault=once) as server:
        assert RemoteStore(server.url).read_range("moved", 1, 3) == bytes([1, 2])
    with (
        Server(data, fault=lambda handler, _: handler.path) as server,
        pytest.raises(RemoteError, match="redirects from place to place"),
    ):
        RemoteStore(server.url, FAST).read_range("file", 1, 3)


def test_a_read_is_not_tried_for_ever_and_says_so(data, caplog):
    with Server(data, fault=lambda *_: "503") as server:
        store = RemoteStore(server.url, FAST)
        with pytest.raises(RemoteError):
            store.read_range("file", 0, 10)
        assert f"{server.url}/file: attempt 6 of 6" in caplog.text
        asked = server.number
        store.give_up()
        with pytest.raises(RemoteError, match="503"):
            store.read_range("file", 0, 10)
        assert server.number == asked + 1


def test_pages_in_place_of_files_are_no_catalogue(tmp_path):
    """Portals that answer everything with a page, and with "fine"."""
    for name in ("collection.properties", "coverage.json", "coverage.fits"):
        (tmp_path / name).write_text("<html>please log in</html>")
    with Server(tmp_path) as server, pytest.raises(RemoteError, match=r"collection.properties: its metadata are not"):
        open_remote(server.url, FAST)


def test_a_collection_may_name_its_table_by_url_or_from_the_root_of_the_server(tmp_path):
    folder = write_hats(tmp_path / "sky", made_rows(500), order=2)
    listed = folder / "collection.properties"
    with Server(tmp_path) as server:
        for name in ("made", "/sky/made", "../sky/made/", f"{server.url}/sky/made"):
            listed.write_text(f"hats_primary_table_url={name}\n")
            assert open_remote(f"{server.url}/sky", FAST).store.url == f"{server.url}/sky/made"
    listed.write_text(f"hats_primary_table_url={folder / 'made'}\n")
    assert open_remote(folder, FAST).store.url == str(folder / "made")


@pytest.mark.parametrize("collection", [True, False])
@pytest.mark.parametrize("info", [True, False])
def test_metadata_of_collections_and_bare_catalogues(tmp_path, collection, info):
    import pyarrow.parquet as pq

    folder = write_hats(
        tmp_path / "sky", made_rows(3000), collection=collection, info=info, properties_name="properties", order=4
    )
    root = folder / "made" if collection else folder
    if not info:
        collected = []
        for path in sorted(root.rglob("Npix=*.parquet")):
            metadata = pq.read_metadata(path)
            metadata.set_file_path(str(path.relative_to(root / "dataset")))
            collected.append(metadata)
        for metadata in collected[1:]:
            collected[0].append_row_groups(metadata)
        collected[0].write_metadata_file(root / "dataset" / "_metadata")
    with Server(tmp_path, fault=now_and_then(3)) as server:
        catalog = open_remote(f"{server.url}/sky", FAST)
        assert catalog.name == "made"
        assert (catalog.ra_column, catalog.dec_column, catalog.total_rows) == ("ra", "dec", 3000)
        assert sorted(p.pixel for p in catalog.partitions) == sorted(
            int(path.stem.removeprefix("Npix=")) for path in root.rglob("Npix=*.parquet")
        )
        assert "mag" in catalog.schema().names
        assert server.faults


def test_properties_as_the_first_writers_named_them(tmp_path):
    folder = write_hats(tmp_path / "sky", made_rows(500), properties_name="properties")
    old = "catalog_name=older\ncatalog_type=object\ntotal_rows=500\nra_column=ra\ndec_column=dec\n"
    (folder / "made" / "properties").write_text(old)
    catalog = open_remote(str(folder), FAST)
    assert (catalog.name, catalog.ra_column, catalog.dec_column, catalog.total_rows) == ("older", "ra", "dec", 500)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda root: (root / "hats.properties").unlink(), "is not a HATS catalogue"),
        (lambda root: (root / "partition_info.csv").unlink(), "neither partition_info.csv nor"),
        (lambda root: (root / "partition_info.csv").write_text("a,b\n1,2\n"), "is not a list of partitions"),
        (lambda root: (root / "partition_info.csv").write_text("Norder,Npix\n"), "no partitions"),
        (lambda root: (root / "hats.properties").write_bytes(b"\xff\xfe\x00"), "not a properties file"),
        (
            lambda root: (root / "hats.properties").write_text("obs_collection=x\ndataproduct_type=margin\n"),
            "of type margin",
        ),
        (lambda root: (root.parent / "collection.properties").write_text("a=b\n"), "does not name its main table"),
        (lambda root: (root / "dataset" / "_common_metadata").write_bytes(b"junk"), "schema cannot be read"),
    ],
)
def test_what_is_not_a_catalogue_is_refused_by_name(tmp_path, spoil, reason):
    folder = write_hats(tmp_path / "sky", made_rows(500))
    spoil(folder / "made")
    with pytest.raises(RemoteError, match=reason) as caught:
        open_remote(str(folder), FAST).schema()
    assert str(folder) in str(caught.value)


def test_catalogues_that_lsdb_wrote_for_its_own_tests(shared_data):
    folder = shared_data / "lsdb_oracle"
    small = open_remote(str(folder / "small_sky_order1_collection"))
    assert (small.name, len(small.partitions), small.total_rows) == ("small_sky_order1", 4, 131)
    source = open_remote(str(folder / "small_sky_source"))
    assert (source.ra_column, source.dec_column) == ("source_ra", "source_dec")
    with pytest.raises(RemoteError, match="of type margin"):
        open_remote(str(folder / "small_sky_xmatch_margin"))


def test_only_row_groups_of_the_region_and_columns_asked_for_are_planned(sky):
    catalog = open_remote(str(sky), FAST)
    cone = Cone(0, 0, 0.3)
    outer = cone.outer_ranges(10)
    chosen = catalog.select(outer)
    assert 0 < len(chosen) <= len(catalog.partitions)
    path = catalog.files(chosen[0])[0]
    everything = plan_file(catalog, path, catalog.schema().names, None)
    narrow = plan_file(catalog, path, ["ra", "dec"], outer)
    assert narrow.rows < everything.rows
    assert everything.bytes == everything.state.size - 4
    assert read_footer(catalog, path).metadata.num_rows == everything.rows


def test_requests_are_joined_and_bounded():
    spans = [(0, 100), (100 + HOLE_BYTES, 200 + HOLE_BYTES), (10_000_000, 10_000_000 + 2 * REQUEST_BYTES + 5)]
    requests = _requests(spans)
    assert requests[0] == (0, 200 + HOLE_BYTES)
    assert len(requests) == 4
    assert all(end - start <= REQUEST_BYTES for start, end in requests)
    assert requests[-1][1] == spans[-1][1]


@pytest.mark.parametrize(
    "damage", [b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1", b"no parquet at all, whatever it says"]
)
def test_files_that_are_not_parquet(sky, tmp_path, damage):
    import shutil

    shutil.copytree(sky, tmp_path / "sky")
    catalog = open_remote(str(tmp_path / "sky"), FAST)
    path = catalog.files(catalog.partitions[0])[0]
    (tmp_path / "sky" / "made" / path).write_bytes(damage)
    with pytest.raises(RemoteError, match="not a whole parquet file") as caught:
        plan_file(catalog, path, ["ra"], None)
    assert path in str(caught.value)
