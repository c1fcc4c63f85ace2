"""Self-checks: whether a source's values agree with what its definition says of them.

They exist because columns do get out of step with their names, in public lists too, and nothing else would notice: a
magnitude read as its neighbour is still a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from xmatch_hats.catalogs import _canonical
from xmatch_hats.catalogs._check_rows import Columns, Mask, failing_rows
from xmatch_hats.catalogs.checks import SelfCheck
from xmatch_hats.catalogs.definition import Definition
from xmatch_hats.errors import SelfCheckError

MAX_FAILING_FRACTION = 1e-3
"""Share of failing rows above which a source is refused: real ones have odd rows, shifted ones have little else."""
_EXAMPLES = 5


class FailingRow(BaseModel):
    """One row that fails a check."""

    model_config = ConfigDict(frozen=True)

    row: int
    """Row of the source, from zero."""
    values: dict[str, str | None]
    """What the check saw, by canonical name."""


class CheckResult(BaseModel):
    """What one check found in a source."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    """Rows looked at."""
    failed: int
    """Rows that fail."""
    examples: tuple[FailingRow, ...] = ()
    """The first of them."""

    @property
    def fraction(self) -> float:
        """Share of failing rows."""
        return self.failed / self.rows if self.rows else 0.0


class SelfCheckReport(BaseModel):
    """What all checks found."""

    model_config = ConfigDict(frozen=True)

    place: str
    rows: int
    results: tuple[CheckResult, ...]
    skipped: tuple[str, ...] = ()
    """Checks whose columns the source lacks."""

    @property
    def failed(self) -> int:
        """Failing rows, summed over the checks."""
        return sum(result.failed for result in self.results)

    def sentences(self) -> list[str]:
        """What failed, one sentence a check, with the first rows."""
        return [_sentence(result) for result in self.results if result.failed]


@dataclass
class _Tally:
    check: SelfCheck
    failed: int = 0
    made: bool = False
    examples: list[FailingRow] = field(default_factory=list)


class SelfChecker:
    """Make a definition's checks on the batches of one source.

    Parameters
    ----------
    definition : Definition
        Its ``self_checks`` are made where the source has their columns.

    Examples
    --------
    >>> from xmatch_hats.catalogs.definition import load_definition
    >>> checker = SelfChecker(load_definition("gcvs"))
    >>> checker.check(pa.RecordBatch.from_pydict({"ra": [10.0], "dec": [-20.0], "VarType": ["RR"]}))
    >>> checker.finish("made.csv").failed
    0
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._tallies = [_Tally(check) for check in definition.self_checks]
        self._rows = 0

    def check(self, batch: pa.RecordBatch) -> None:
        """Check one batch, under the source's names or the canonical ones, cast or not, and add up what fails."""
        mapped = self._definition.canonical_names(batch.schema)
        columns: Columns = {}
        unfit: dict[str, Mask] = {}
        for name, canonical in mapped.items():
            array = batch.column(batch.schema.get_field_index(name))
            try:
                columns[canonical] = _canonical.to_column(array, self._definition.by_name[canonical])
            except pa.ArrowInvalid:
                # Text where numbers belong: every value of the column contradicts the definition.
                unfit[canonical] = pc.is_valid(array).to_numpy(zero_copy_only=False)
                columns[canonical] = pa.nulls(len(array), self._definition.by_name[canonical].arrow_type)
        for tally in self._tallies:
            failing = failing_rows(tally.check, columns)
            if failing is None:
                continue
            tally.made = True
            for name in set(unfit).intersection(tally.check.used):
                failing |= unfit[name]
            self._add(tally, failing, columns, batch, {canonical: name for name, canonical in mapped.items()})
        self._rows += batch.num_rows

    def _add(
        self, tally: _Tally, failing: Mask, columns: Columns, batch: pa.RecordBatch, source_of: dict[str, str]
    ) -> None:
        rows = np.flatnonzero(failing)
        tally.failed += len(rows)
        for row in rows[: _EXAMPLES - len(tally.examples)]:
            seen = {name: batch.column(source_of[name])[int(row)] for name in tally.check.used if name in columns}
            values = {name: None if value.as_py() is None else str(value) for name, value in seen.items()}
            tally.examples.append(FailingRow(row=self._rows + int(row), values=values))

    def finish(self, place: object) -> SelfCheckReport:
        """Report what was found, and refuse the source if too much of it fails.

        Parameters
        ----------
        place : object
            The source, for messages.

        Returns
        -------
        SelfCheckReport

        Raises
        ------
        SelfCheckError
            A check fails in more than `MAX_FAILING_FRACTION` of the rows; ``value`` holds the report.
        """
        report = SelfCheckReport(
            place=str(place),
            rows=self._rows,
            results=tuple(
                CheckResult(name=t.check.name, rows=self._rows, failed=t.failed, examples=tuple(t.examples))
                for t in self._tallies
                if t.made
            ),
            skipped=tuple(t.check.name for t in self._tallies if not t.made),
        )
        if refused := [result for result in report.results if result.fraction > MAX_FAILING_FRACTION]:
            raise SelfCheckError(
                "; ".join(_sentence(result) for result in refused),
                place=place,
                hint=f"the columns may be out of step with their names, or the source is not {self._definition.name}: "
                "correct it, or give another definition",
                value=report,
            )
        return report


def _sentence(result: CheckResult) -> str:
    shown = "; ".join(
        f"row {example.row}: " + ", ".join(f"{name}={value}" for name, value in list(example.values.items())[:4])
        for example in result.examples[:3]
    )
    return (
        f"self-check {result.name!r} fails in {result.failed} of {result.rows} rows "
        f"({100 * result.fraction:.3g} %), first {shown}"
    )
