"""The message that a batch leaves on the metrics topic, as the step that this one replaces sent it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from xmatch_hats.step.report import BatchReport

SOURCE = "XmatchStep"


@dataclass(frozen=True)
class MetricsMessage:
    """The message's fields, in the order in which they are written."""

    timestamp_received: str
    """When the batch's first message came; ISO 8601, UTC."""
    timestamp_sent: str
    """When it was delivered; ISO 8601, UTC."""
    execution_time: float
    """Seconds between the two."""
    candid: list[str]
    """Of the alerts that were delivered, in input order."""
    oid: list[str]
    """Object identifiers of the same alerts; empty for those without."""
    n_messages: int
    """Messages that came in, dead letters and skipped ones among them."""
    source: str
    """Name of the step."""

    @classmethod
    def of(cls, report: BatchReport, source: str = SOURCE) -> MetricsMessage:
        """Tell of a batch."""
        return cls(
            timestamp_received=_iso(report.received),
            timestamp_sent=_iso(report.sent),
            execution_time=elapsed_seconds(report),
            candid=list(report.candids),
            oid=list(report.object_ids),
            n_messages=report.total.received,
            source=source,
        )

    @classmethod
    def build(cls, report: BatchReport, source: str = SOURCE) -> bytes:
        """Tell of a batch, as a Kafka message's value.

        Parameters
        ----------
        report : BatchReport
        source : str, default ``XmatchStep``
            Name of the step.

        Returns
        -------
        bytes
            A JSON object, UTF-8.
        """
        return json.dumps(asdict(cls.of(report, source)), separators=(",", ":")).encode()


def elapsed_seconds(report: BatchReport) -> float:
    """Tell how long a batch took from its first message to its delivery, in seconds."""
    # The wall clock may have been set back meanwhile.
    return max((report.sent - report.received).total_seconds(), 0.0)


def _iso(moment: datetime) -> str:
    # Always with the fraction, which `isoformat` leaves out of whole seconds.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
