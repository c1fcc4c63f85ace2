"""What a run reads of Kafka: the stream, a part of it again, or its dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from xmatch_hats.step.kafka.conf import Role
from xmatch_hats.step.kafka.offsets import Span
from xmatch_hats.step.kafka.topics import TopicPlan

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings


@dataclass(frozen=True)
class Reading:
    """Topics, who keeps account of what was read of them, and which part of them."""

    plan: TopicPlan
    group: str
    """The consumer group."""
    transactional_id: str
    """Name of exactly-once's producer; a replay has another one, or it would shut out the step that runs beside it."""
    span: Span | None = None
    until_end: bool = False
    role: Role = "consumer"
    """Whose brokers have the topics."""


def stream_reading(settings: StepSettings) -> Reading:
    """Read the topics of the settings; a replay has a group of its own, so that it disturbs no other and can resume."""
    plan = TopicPlan(
        settings.consumer_topics,
        settings.topic_strategy_format,
        settings.topic_strategy_change_hour,
        settings.topic_strategy_days,
    )
    start, stop = _milliseconds(settings.replay_from), _milliseconds(settings.replay_until)
    if start is None and stop is None:
        return Reading(plan, *_names(settings), until_end=settings.enable_partition_eof)
    span = Span(start, stop, until_now=stop is None and settings.enable_partition_eof)
    return Reading(plan, *_names(settings, f".replay.{_stamp(start)}-{_stamp(stop)}"), span)


def dead_letter_reading(settings: StepSettings) -> Reading:
    """Read the dead letters that are there now, each once."""
    plan = TopicPlan((str(settings.dead_letter_topic),))
    return Reading(plan, *_names(settings, ".dead-letters"), Span(until_now=True), role="producer")


def _names(settings: StepSettings, suffix: str = "") -> tuple[str, str]:
    return f"{settings.consumer_group_id}{suffix}", f"{settings.transaction_id}{suffix}"


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _stamp(moment_ms: int | None) -> str:
    if moment_ms is None:
        return ""
    # With the milliseconds that Kafka's times have: replays that differ by them read different messages.
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y%m%dT%H%M%S}.{moment_ms % 1000:03d}"
