"""Which topics are written, and which are read: a list, regular expressions, or the daily topics of a survey."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class OutputTopics:
    """Where messages go."""

    alerts: str
    dead_letters: str


@dataclass(frozen=True)
class TopicPlan:
    """The topics to subscribe to, which may change with the date."""

    topics: tuple[str, ...] = ()
    """Names; an entry that begins with ``^`` is a regular expression."""
    daily: tuple[str, ...] = ()
    """Formats of daily names: ``%s`` stands for the date as ``%Y%m%d``; letters of strftime do as well."""
    change_hour: int = 23
    """Hour, UTC, at which the next day's topics join."""
    days: int = 8
    """How many daily topics of a format are read: the newest one and those before it."""

    def names(self, now: datetime | None = None) -> list[str]:
        """Topics to subscribe to at a moment, by default now."""
        now = now or datetime.now(UTC)
        newest = now + timedelta(days=1) if now.hour >= self.change_hour else now
        dates = [newest - timedelta(days=back) for back in range(self.days)]
        daily = [daily_name(text, date) for text in self.daily for date in dates]
        # A format without a day gives a name more than once, which cannot be subscribed to.
        return list(dict.fromkeys([*self.topics, *daily]))

    def reads(self, topic: str) -> bool:
        """Whether a topic is among those that are read, at some date or other."""
        return any(pattern.match(topic) for pattern in map(_pattern, self.topics)) or any(
            _daily_pattern(text).fullmatch(topic) for text in self.daily
        )


def daily_name(text: str, date: datetime) -> str:
    """Name of a daily topic."""
    return text.replace("%s", date.strftime("%Y%m%d")) if "%s" in text else date.strftime(text)


def _pattern(topic: str) -> re.Pattern[str]:
    return re.compile(topic if topic.startswith("^") else f"{re.escape(topic)}$")


def _daily_pattern(text: str) -> re.Pattern[str]:
    # Any run of digits in the place of the date: dates have no other characters in names of topics.
    parts = re.split(r"%[a-zA-Z]", text)
    return re.compile("[A-Za-z0-9]+".join(map(re.escape, parts)))


class Subscription:
    """Keeps a consumer subscribed to what a plan names today.

    Parameters
    ----------
    plan : TopicPlan
    subscribe : callable
        Called with the names whenever they have changed.
    clock : callable, optional
        Gives the present moment, UTC.
    """

    def __init__(
        self,
        plan: TopicPlan,
        subscribe: Callable[[Sequence[str]], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._subscribe = subscribe
        self._clock = clock
        self.names: list[str] = []

    def renew(self) -> bool:
        """Subscribe anew if the names have changed, and tell whether they have."""
        names = self._plan.names(self._clock())
        if names == self.names:
            return False
        self.names = names
        self._subscribe(names)
        return True
