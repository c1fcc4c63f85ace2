"""What the command says of words that it cannot take, before anything runs."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--inside"], "--inside runs one case in this process: name one"),
        (["one", "cold", "--inside"], "--inside runs one case in this process: name one"),
        (["one", "--rounds", "0"], "argument --rounds: '0' is no number of rounds: give 1 or more"),
        (["one", "--rounds", "-1"], "argument --rounds: '-1' is no number of rounds: give 1 or more"),
        (["one", "--rounds", "x"], "argument --rounds: 'x' is no number of rounds: give 1 or more"),
        (["one", "nosuch"], "there is no case nosuch; the cases are batch, "),
    ],
)
def test_wrong_words_are_told_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("run_inside", "run_apart", "write_all", "build"):
        monkeypatch.delattr(f"benchmarks.__main__.{name}")
    with pytest.raises(SystemExit) as end:
        main(words)
    out, error = capsys.readouterr()
    assert end.value.code == 2
    assert out == ""
    assert error.startswith(f"python -m benchmarks: {told}")
    assert error.count("\n") == 1


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "usage: python -m benchmarks [-h]" in capsys.readouterr().out
