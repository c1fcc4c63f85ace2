from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tests.copies import make_copy, sky_table
from xmatch_hats.cli.options import NumericArgs, default_name, parse_targets, split_columns, split_target
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, UsageError


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return make_copy(sky_table(50), tmp_path_factory.mktemp("options") / "made")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("./c", (None, "./c")),
        ("allwise", (None, "allwise")),
        ("allwise@2", (None, "allwise@2")),
        ("allwise=c", ("allwise", "c")),
        ("2mass=./a=b/c", ("2mass", "./a=b/c")),
        ("./a=b", (None, "./a=b")),
        ("/data/run=3/c", (None, "/data/run=3/c")),
        ("w-1.b_c=d", ("w-1.b_c", "d")),
        ("my cat=d", (None, "my cat=d")),
    ],
)
def test_names_are_split_off(value, expected):
    assert split_target(value) == expected


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "a=b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_target("a=b") == (None, "a=b")
    assert split_target("x=a=b") == ("x", "a=b")


@pytest.mark.parametrize("value", ["", "=c", "allwise="])
def test_half_a_target_is_refused(value):
    with pytest.raises(UsageError, match=r"\[NAME=\]DIR"):
        split_target(value)


def test_targets_carry_name_radius_and_columns(copy):
    targets = parse_targets([f"a={copy.path}", f"b={copy.path}"], radius_arcsec=2.5, columns=["flux"])
    assert [target.name for target in targets] == ["a", "b"]
    assert {target.radius_arcsec for target in targets} == {2.5}
    assert targets[0].columns == ["flux"]
    assert targets[0].copy.path == copy.path


def test_equal_names_are_refused(copy):
    with pytest.raises(UsageError, match="two catalogues are named made"):
        parse_targets([str(copy.path), str(copy.path)], radius_arcsec=1)
    with pytest.raises(UsageError, match="two catalogues are named x"):
        parse_targets([f"x={copy.path}", f"x={copy.path}"], radius_arcsec=1)


def test_no_catalogue_is_refused():
    with pytest.raises(UsageError, match="no catalogue"):
        parse_targets([], radius_arcsec=1)


def test_missing_copies_are_told(tmp_path):
    with pytest.raises(CatalogNotFoundError, match="no such folder"):
        parse_targets([f"{tmp_path}/nothing"], radius_arcsec=1)
    with pytest.raises(CatalogError, match="no catalogue is named nothing"):
        parse_targets(["nothing"], radius_arcsec=1)


def test_names_that_are_left_out(copy, tmp_path, monkeypatch):
    from xmatch_hats.catalogs.definition import load_definition

    root = tmp_path / "root"
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(root))
    (root / "gaia").mkdir(parents=True)
    (root / "gaia" / "v1").symlink_to(copy.path)
    assert default_name(copy, str(copy.path)) == "made"
    assert default_name(copy, "gaia@v1") == "gaia"
    versioned = make_copy(sky_table(50), root / "stars" / "v1")
    (root / "stars" / "current").symlink_to("v1")
    for place in (versioned.path, root / "stars" / "current"):
        assert default_name(replace(versioned, path=place), str(place)) == "stars"
    defined = replace(copy, definition=load_definition("allwise"))
    assert default_name(defined, str(copy.path)) == "allwise"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, None),
        ([], None),
        (["all"], None),
        (["a,b", " c ,a"], ["a", "b", "c"]),
    ],
)
def test_columns(values, expected):
    assert split_columns(values) == expected


@pytest.mark.parametrize("values", [[","], ["all,a"], [""]])
def test_columns_that_mean_nothing(values):
    with pytest.raises(UsageError, match="column names"):
        split_columns(values)


app = typer.Typer()


@app.command(cls=NumericArgs)
def numbers(
    first: float,
    rest: list[float],
    count: Annotated[int, typer.Option("-n")] = 0,
    cone: Annotated[tuple[float, float, float] | None, typer.Option("--cone")] = None,
    text: Annotated[str, typer.Option("--text")] = "",
    flag: Annotated[bool, typer.Option("-3")] = False,
    verbose: Annotated[bool, typer.Option("-v")] = False,
) -> None:
    typer.echo(f"{[first, *rest]} {count} {cone} {text} {flag} {verbose}")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("-1 -5.5 -.5 -1e-3", "[-1.0, -5.5, -0.5, -0.001] 0 None  False False"),
        ("10 -n -4 -5 -v", "[10.0, -5.0] -4 None  False True"),
        ("--cone 10 -5 1 1 -2", "[1.0, -2.0] 0 (10.0, -5.0, 1.0)  False False"),
        ("1 --text -5 -2", "[1.0, -2.0] 0 None -5 False False"),
        ("1 --text=-5 -2 -vn7", "[1.0, -2.0] 7 None -5 False True"),
        ("1 -3 2", "[1.0, 2.0] 0 None  True False"),
        ("-- -1 -3", "[-1.0, -3.0] 0 None  False False"),
    ],
)
def test_negative_numbers_are_values(arguments, shown):
    result = CliRunner().invoke(app, arguments.split())
    assert result.output.strip() == shown
    assert result.exit_code == 0


@pytest.mark.parametrize(("arguments", "told"), [("1 2 -x", "-x"), ("1 -05:30:00", "number")])
def test_what_is_neither_option_nor_number_is_refused(arguments, told):
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2
    assert told in result.output
