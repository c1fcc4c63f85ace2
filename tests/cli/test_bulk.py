from __future__ import annotations

import json

import pytest

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.cli.app import run


def test_two_catalogues_become_one(made, plain_copy, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["bulk", "catalogs", str(made.copy), str(made.copy), "--out", str(out), "--radius", "2", "--all"]
    columns = ["--left-columns", "cntr,w1mpro", "--right-columns", "cntr"]
    assert run([*words, *columns, "--join", "left", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    copy = LocalCopy.open(out)
    assert told["path"] == str(out)
    assert told["left_rows"] == told["matched"] == made.sky.num_rows <= told["rows"] == copy.total_rows
    assert told["partitions"] == len(copy.partitions) > 1
    name = LocalCopy.open(made.copy).name
    assert set(copy.schema.names) == {
        "_healpix_29", "cntr", "w1mpro", "ra", "dec", f"cntr_{name}", "_dist_arcsec", "_rank",
    }  # fmt: skip
    assert run([*words]) == 1
    assert "exists already" in capsys.readouterr().err
    none = [*words[:2], str(plain_copy), str(made.copy), "--out", str(tmp_path / "few"), "--radius", "0.001"]
    assert run(none) == 0
    assert "5,000 rows of plain: 0 matched" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--radius", "1", "--all", "--neighbors", "2"], "exclude each other"),
        (["--radius", "1", "--right-columns", ","], "--right-columns"),
        (["--radius", "-1"], "radius"),
    ],
)
def test_wrong_use(made, tmp_path, capsys, more, words):
    assert run(["bulk", "catalogs", str(made.copy), str(made.copy), "--out", str(tmp_path / "out"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
