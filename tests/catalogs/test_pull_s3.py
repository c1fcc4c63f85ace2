"""Pulling from an s3 store without credentials: moto's server, which fails now and then."""

from __future__ import annotations

import threading
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from tests.catalogs.remote_sky import CONE, FAST, made_rows, write_hats
from xmatch_hats.catalogs.pull import pull_catalog
from xmatch_hats.catalogs.remote import RemoteStore
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import RemoteError

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Failing:
    """The store as a WSGI application; some answers are spoilt on their way."""

    def __init__(self, store):
        self.store = store
        self.on = False
        self.number = 0
        self.faults = Counter()
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            self.number += self.on
            kind = self.number // 6 % 3 if self.on and self.number % 6 == 0 else None
        if kind == 0:
            self.faults["SlowDown"] += 1
            return Response(SLOW_DOWN, 503, content_type="application/xml")(environ, start_response)
        if kind == 1:
            self.faults["InternalError"] += 1
            body = SLOW_DOWN.replace(b"SlowDown", b"InternalError")
            return Response(body, 500, content_type="application/xml")(environ, start_response)
        answer = self.store(environ, start_response)
        if kind == 2 and environ["REQUEST_METHOD"] == "GET":
            # The length that was promised never comes.
            self.faults["truncated"] += 1
            body = b"".join(answer)
            return [body[: len(body) // 2]]
        return answer


@pytest.fixture(scope="module")
def store():
    failing = Failing(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, failing, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield failing, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def bucket(store, s3_endpoint, tmp_path):
    failing, endpoint = store
    client = s3_endpoint(endpoint)
    failing.on = False
    client.create_bucket(Bucket="surveys", ACL="public-read")
    rows = made_rows(8000)
    sky = write_hats(tmp_path / "sky", rows, order=5, suffix="/")
    for path in sky.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "surveys", f"made/{path.relative_to(sky)}", ExtraArgs={"ACL": "public-read"})
    return failing, rows


def test_a_cone_from_a_store_that_fails_now_and_then(bucket, tmp_path):
    failing, rows = bucket
    failing.on = True
    copy = pull_catalog("s3://surveys/made", tmp_path / "out", region=CONE, workers=0, retry=FAST)
    assert set(failing.faults) == {"SlowDown", "InternalError", "truncated"}
    assert verify_copy(copy.path).passed
    columns = ["ra", "dec", "source", "mag", "flag"]
    mask = CONE.row_mask(rows["ra"].to_numpy(), rows["dec"].to_numpy(), 10)
    paths = (copy.main_path / "dataset").rglob("Npix=*.parquet")
    found = pa.concat_tables([pq.read_table(path, columns=columns, partitioning=None) for path in paths])
    expected = rows.filter(pa.array(mask)).select(columns).sort_by("source")
    assert found.sort_by("source").cast(expected.schema).equals(expected)


def test_what_a_store_does_not_have(bucket):
    bucket[0].on = False
    with pytest.raises(RemoteError, match="no such file"):
        RemoteStore("s3://surveys/made", FAST).read("nothing")
    with pytest.raises(RemoteError, match="no such file"):
        RemoteStore("s3://nosuchbucket/made", FAST).state("nothing")
    assert RemoteStore("s3://surveys/made", FAST).read_if_there("nothing") is None
