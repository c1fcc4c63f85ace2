from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.databases import execute, tables_of
from tests.store.detections import expected_tables, streams, write
from xmatch_hats.store.store import Store
from xmatch_hats.store.urls import url_from_settings

cuts = st.lists(st.integers(0, 12), max_size=4)


def cut(stream, places):
    borders = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    return [stream[first:last] for first, last in pairwise(borders)]


@given(streams, cuts)
def test_tables_do_not_depend_on_where_a_stream_is_cut(stream, places):
    with tempfile.TemporaryDirectory() as folder:
        url = url_from_settings("sqlite", None, None, None, None, str(Path(folder) / "tables.db"))
        store = Store.open(url)
        store.init()
        for batch in cut(stream, places):
            write(store, *batch)
        store.close()
        assert tables_of(url) == expected_tables(stream)


@given(stream=streams, places=cuts, repeated=st.integers(0, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nor_on_postgresql_and_repeated_batches_change_nothing(postgresql_url, stream, places, repeated):
    store = Store.open(postgresql_url)
    store.init()
    execute(postgresql_url, "TRUNCATE object, allwise, xmatch")
    batches = cut(stream, places)
    for number, batch in enumerate(batches):
        write(store, *batch)
        if number == repeated:
            # What a step does that died before its commit.
            write(store, *batch)
    store.close()
    assert tables_of(postgresql_url) == expected_tables(stream)
