"""What a crossmatcher refuses, and what it says where nothing can be reached."""

from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord

from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.errors import CatalogError, SystemFailure, UsageError
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
from xmatch_hats.matching.scheduling import Scheduler


def test_wrong_use(copy_path):
    with pytest.raises(CatalogError, match="w1mpr0") as caught:
        Crossmatcher([CatalogTarget(copy_path, columns=["w1mpr0"])], workers=0)
    assert "w1mpro" in caught.value.hint
    with pytest.raises(UsageError, match="two catalogues are called sky"):
        Crossmatcher([copy_path, copy_path], workers=0)
    with pytest.raises(UsageError, match="no catalogue"):
        Crossmatcher([], workers=0)
    for single in (str(copy_path), copy_path, open_copy(copy_path), CatalogTarget(copy_path)):
        with pytest.raises(UsageError, match=r"catalogues are a sequence, not the single .*brackets"):
            Crossmatcher(single, workers=0)
    with pytest.raises(UsageError, match="a int names no catalogue"):
        Crossmatcher([3], workers=0)
    for wrong, words in (
        ({"engine": "magic", "workers": 0}, "no engine 'magic'"),
        ({"n_neighbors": 0, "workers": 0}, "neighbours"),
        ({"workers": 0, "scheduler": "tcp://127.0.0.1:1"}, "only one of"),
        ({"workers": -1}, "at least 0"),
        ({"workers": 2, "scheduler": Scheduler(workers=0)}, "only one of"),
        ({"scheduler": "nonsense"}, "not the address of a Dask scheduler"),
    ):
        with pytest.raises(UsageError, match=words):
            Crossmatcher([copy_path], **wrong)
    with Crossmatcher([copy_path], workers=0) as matcher, pytest.raises(UsageError, match="one length"):
        matcher.match([1.0, 2.0], [3.0])
    with Crossmatcher([copy_path], workers=0) as matcher, pytest.raises(UsageError, match=r"of a SkyCoord: match\("):
        matcher.match(SkyCoord([1.0], [2.0], unit="deg"))


def test_scheduler_that_is_not_there(copy_path, monkeypatch):
    monkeypatch.setattr("xmatch_hats.matching.scheduling.CONNECT_SECONDS", 1.0)
    with (
        Crossmatcher([copy_path], scheduler="tcp://127.0.0.1:9") as matcher,
        pytest.raises(SystemFailure, match=r"tcp://127.0.0.1:9: cannot connect to the Dask scheduler"),
    ):
        matcher.match([45.0], [0.0])


def test_a_cluster_that_cannot_start_tells_the_way_out(copy_path, monkeypatch):
    def fail(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", fail)
    with Crossmatcher([copy_path], workers=2) as matcher, pytest.raises(SystemFailure, match="__main__"):
        matcher.match([45.0], [0.0])
