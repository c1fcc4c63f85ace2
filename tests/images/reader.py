"""A reader of star catalogues, written from what is told of the format, and from nothing of the writer."""

from __future__ import annotations

NAMES = ["RA(J2000)", "Dec(J2000)", "Fmag", "Jmag", "Vmag", "Nmag", "Clas"]


def read(text: str) -> list[dict[str, float | None]]:
    """Rows by column; the fourth line names them, rows begin at the fifth, the last five lines are dropped."""
    assert "\t" not in text
    lines = text.split("\n")
    # Who reads line by line must see the same.
    assert lines == text.splitlines()
    names = lines[3].split(" ")
    assert names[:7] == NAMES
    rows = []
    for line in lines[4 : len(lines) - 5]:
        words = line.split(" ")
        assert len(words) == len(names), line
        assert "nan" not in line.lower()
        rows.append({name: None if word == "---" else float(word) for name, word in zip(names, words, strict=True)})
    # Nothing that is dropped looks like a row.
    assert not any(line[:1].isdigit() for line in (*lines[:3], *lines[-5:]))
    return rows


def magnitude(row: dict[str, float | None]) -> float | None:
    """Mean of the magnitudes that are given."""
    given = [row[name] for name in NAMES[2:6] if row[name] is not None]
    return sum(given) / len(given) if given else None
