"""Which topics are read, and that new ones are taken up by a step that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tests.services.topics import create_topic, produce, read_all
from tests.step.streams import alerts, candids
from xmatch_hats.errors import UsageError
from xmatch_hats.step.kafka import source
from xmatch_hats.step.kafka.topics import Subscription, TopicPlan, daily_name


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_daily_names_change_at_their_hour_and_keep_those_before():
    plan = TopicPlan(daily=("ztf_%s_programid1",), change_hour=23, days=3)
    before = [f"ztf_{day}_programid1" for day in (20240229, 20240228, 20240227)]
    assert plan.names(at("2024-02-29T22:59:59")) == before
    assert plan.names(at("2024-02-29T23:00:00")) == ["ztf_20240301_programid1", *before[:2]]
    assert plan.names(at("2024-03-01T00:00:00")) == ["ztf_20240301_programid1", *before[:2]]


@pytest.mark.parametrize(
    ("text", "name"),
    [("a_%s_b", "a_20240105_b"), ("a_%Y-%m-%d", "a_2024-01-05"), ("a_%y%j", "a_24005"), ("plain", "plain")],
)
def test_daily_names_take_percent_s_and_letters_of_strftime(text, name):
    assert daily_name(text, at("2024-01-05T12:00:00")) == name


def test_a_format_without_a_day_gives_each_name_once():
    plan = TopicPlan(("static", "ztf_202401"), ("ztf_%Y%m",), days=8)
    assert plan.names(at("2024-02-03T00:00:00")) == ["static", "ztf_202401", "ztf_202402"]


def test_a_plan_tells_which_topics_it_reads_at_any_date():
    plan = TopicPlan(("plain", "^ztf_.*_programid[12]$", "with.dot"), ("night_%s_x", "n-%Y-%m-%d"))
    for topic in ("plain", "ztf_1_programid2", "with.dot", "night_20190101_x", "n-1999-12-31"):
        assert plan.reads(topic), topic
    for topic in (
        "plainer",
        "a-plain",
        "ztf_1_programid3",
        "withXdot",
        "night_20190101_y",
        "night__x",
        "n-1999-12",
        "",
    ):
        assert not plan.reads(topic), topic
    assert TopicPlan(("^ztf",)).reads("ztf_anything")


def test_a_subscription_is_renewed_only_when_the_names_change():
    now = [at("2024-01-05T22:00:00")]
    seen: list[list[str]] = []
    subscription = Subscription(
        TopicPlan(("a",), ("n_%s",), days=2), lambda names: seen.append(list(names)), lambda: now[0]
    )
    assert [subscription.renew(), subscription.renew()] == [True, False]
    now[0] += timedelta(minutes=59)
    assert not subscription.renew()
    now[0] += timedelta(minutes=1)
    assert subscription.renew()
    assert seen == [["a", "n_20240105", "n_20240104"], ["a", "n_20240106", "n_20240105"]]


def test_all_topics_of_a_list_are_read_and_those_that_are_not_there_are_waited_for(make_stream, topic_name):
    step = make_stream("at-least-once", until_end=False)
    second, late = create_topic(step.address, topic_name("second")), topic_name("late")
    step.topics = (*step.topics, second, late)
    produce(step.address, step.topics[0], alerts(10))
    produce(step.address, second, alerts(20)[10:])
    with step.running():
        step.wait_for(lambda: step.total.out == 20, "alerts of both topics")
        create_topic(step.address, late)
        produce(step.address, late, alerts(25)[20:])
        step.wait_for(lambda: step.total.out == 25, "alerts of the late topic")
    assert sorted(candids(read_all(step.address, step.out))) == list(range(25))
    assert {name for report in step.reports for name in report.accounts} == {f"{topic}[0]" for topic in step.topics}


def test_a_regular_expression_takes_up_a_topic_that_appears_while_it_runs(make_stream, topic_name):
    step, stem = make_stream("exactly-once", until_end=False), topic_name("night")
    step.topics = (f"^{stem}_[0-9]+$",)
    produce(step.address, create_topic(step.address, f"{stem}_1"), alerts(10))
    create_topic(step.address, f"{stem}_other")
    with step.running():
        step.wait_for(lambda: step.total.out == 10, "alerts of the first topic")
        produce(step.address, create_topic(step.address, f"{stem}_2"), alerts(20)[10:])
        produce(step.address, f"{stem}_other", alerts(30)[20:])
        step.wait_for(lambda: step.total.out == 20, "alerts of the new topic")
    assert sorted(candids(read_all(step.address, step.out))) == list(range(20))


@dataclass(frozen=True)
class Clockwork(TopicPlan):
    """A plan by a clock that can be set."""

    days_ahead: list[int] = field(default_factory=lambda: [0])

    def names(self, now: datetime | None = None) -> list[str]:
        return super().names(datetime.now(UTC) + timedelta(days=self.days_ahead[0]))


def test_the_next_days_topic_joins_while_the_step_runs(make_stream, topic_name, monkeypatch):
    monkeypatch.setattr(source, "_RENEW_SECONDS", 0.2)
    step, stem, today = make_stream("at-least-once", until_end=False), topic_name("daily"), datetime.now(UTC)
    step.plan = Clockwork(daily=(f"{stem}_%s",), change_hour=24, days=2)
    first, second = (create_topic(step.address, f"{stem}_{today + timedelta(days):%Y%m%d}") for days in (0, 1))
    produce(step.address, first, alerts(10))
    produce(step.address, second, alerts(20)[10:])
    with step.running():
        step.wait_for(lambda: step.total.out == 10, "alerts of today")
        step.plan.days_ahead[0] = 1
        step.wait_for(lambda: step.total.out == 20, "alerts of tomorrow")
    assert candids(read_all(step.address, step.out)) == list(range(20))


def test_a_wrong_regular_expression_is_named(make_stream):
    step = make_stream("at-least-once")
    step.topics = ("^ztf_[",)
    with pytest.raises(UsageError, match=r"\^ztf_\[: cannot be subscribed to"):
        step.run()
