"""The report as one page of HTML that needs no other file."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from xmatch_hats.bulk.report.accounting import KEYS, Account, Accounting
from xmatch_hats.bulk.report.outputs import CATALOGS, Outputs
from xmatch_hats.bulk.report.pictures import Picture

_LABELS = {key: key.replace("_", "-") for key in KEYS} | {"left_out": "left out"}
_ARCHIVE = ("members", "packets", "rows", "duplicates")
"""What is told of an archive beside its alerts."""
_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 74rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
tr.total td { font-weight: 600; border-top: 2px solid #888; }
.wide { overflow-x: auto; } .figures { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; flex: 1 1 30rem; max-width: 44rem; } img { max-width: 100%; }
figcaption { font-size: .87rem; color: #444; }
.good { color: #00664b; } .bad { color: #a33c00; font-weight: 600; } .quiet { color: #666; }
pre { overflow-x: auto; background: #f6f6f6; padding: .8rem; font-size: .8rem; }
"""


def write_page(
    outputs: Outputs, accounting: Accounting, pictures: Sequence[tuple[str, Sequence[Picture]]]
) -> str:  # fmt: skip
    """Write the report.

    Parameters
    ----------
    outputs : Outputs
    accounting : Accounting
    pictures : sequence of (str, sequence of Picture)
        By catalogue.
    """
    title = f"{outputs.kind}: {outputs.folder.name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *_verdict(outputs, accounting),
        "<h2>Where every input went</h2>",
        *_accounts(outputs, accounting),
    ]
    for name, drawn in pictures:
        parts += [f"<h2>Matches with {escape(name)}</h2>", '<div class="figures">', *map(_figure, drawn), "</div>"]
    parts += ["<h2>Checks</h2>", *_checks(accounting), "<h2>Made from</h2>", *_origins(outputs)]
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _verdict(outputs: Outputs, accounting: Accounting) -> Iterable[str]:
    wrong = accounting.differences
    if wrong:
        yield f'<p class="bad">{len(wrong)} of {len(accounting.checks)} checks failed:</p>'
        yield _list(str(check) for check in wrong)
    else:
        total = accounting.total()
        complete = "Complete but for what archives have lost" if accounting.damaged else "Complete"
        yield (
            f'<p class="good">{complete}: {total["in"]:,} inputs are accounted for, '
            f"and all {len(accounting.checks)} checks agree.</p>"
        )
    if outputs.unfinished:
        yield f'<p class="bad">Not finished, and not in this report: {escape(", ".join(outputs.unfinished))}</p>'
    if remarks := [*outputs.remarks, *accounting.unchecked]:
        yield _list(remarks)


def _accounts(outputs: Outputs, accounting: Accounting) -> Iterable[str]:
    if outputs.kind == CATALOGS:
        (account,) = accounting.accounts
        counts = {**account.totals, **account.more}
        yield _table([*map(_label, counts)], [[*counts.values()]])
        return
    catalogs = list(dict.fromkeys(name for account in accounting.accounts for name in account.catalogs))
    yield "<p>Alerts by night, whatever catalogue they match.</p>"
    yield _night_table(accounting.accounts, None)
    for name in catalogs:
        yield f"<p>Matched with {escape(name)}:</p>"
        yield _night_table(accounting.accounts, name)
    yield f"<details><summary>Archives: {len(accounting.accounts):,}</summary>"
    yield _table(
        ["night", "archive", *_ARCHIVE, *map(_label, KEYS)], [_archive_row(one) for one in accounting.accounts]
    )
    yield "</details>"
    if accounting.damaged:
        yield _list(accounting.damaged)


def _night_table(accounts: Sequence[Account], catalog: str | None) -> str:
    """A row for each night, and their sum: of one catalogue, or of all together."""
    sums: dict[str, Counter[str]] = {}
    for account in accounts:
        counts = account.totals if catalog is None else account.catalogs.get(catalog)
        for night in (account.night, "all") if counts is not None else ():
            sums.setdefault(night, Counter()).update({"archives": 1, **(counts or {})})
    rows = [
        [night, *(counts[key] for key in ("archives", *KEYS)), _share(counts)] for night, counts in sorted(sums.items())
    ]
    # Nights are digits, which come before letters.
    return _table(["night", "archives", *map(_label, KEYS), "matched of searched"], rows[:-1], rows[-1])


def _archive_row(account: Account) -> list[object]:
    told = (account.more[key] for key in _ARCHIVE)
    return [account.night, account.name, *told, *(account.totals[key] for key in KEYS)]


def _share(counts: Mapping[str, int]) -> str:
    """Matched among those that the catalogue could tell of."""
    searched = counts["matched"] + counts["unmatched"]
    return f"{counts['matched'] / searched:.1%}" if searched else ""


def _figure(picture: Picture) -> str:
    data = b64encode(picture.data).decode()
    return (
        f'<figure><img alt="{escape(picture.title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _checks(accounting: Accounting) -> Iterable[str]:
    yield "<p>What the notes of the outputs tell, and what is found in their files and by their inputs.</p>"
    rows = [
        [check.place, check.what, check.told, check.found, "agree" if check.is_good else "DIFFER"]
        for check in accounting.checks
    ]
    table = _table(["output", "what", "told", "found", ""], rows)
    yield f"<details><summary>All {len(rows)} checks</summary>{table}</details>"


def _origins(outputs: Outputs) -> Iterable[str]:
    for part in outputs.parts:
        facts = escape(json.dumps(part.facts, indent=1, sort_keys=True))
        yield f"<details><summary>{escape(part.name)}</summary><pre>{facts}</pre></details>"


def _label(key: str) -> str:
    return _LABELS.get(key, key)


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], total: Sequence[object] | None = None) -> str:
    lines = ['<div class="wide"><table><thead><tr>', *(f"<th>{escape(head)}</th>" for head in heads), "</tr></thead>"]
    for row in rows:
        lines.append(f"<tr>{''.join(map(_cell, row))}</tr>")
    if total is not None:
        lines.append(f'<tr class="total">{"".join(map(_cell, total))}</tr>')
    return "".join([*lines, "</table></div>"])


def _cell(value: object) -> str:
    return f"<td>{value:,}</td>" if isinstance(value, int) else f"<td>{escape(str(value))}</td>"
