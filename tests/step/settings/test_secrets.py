"""No secret is ever shown, whichever way it comes in, and whether the settings are right or wrong."""

from __future__ import annotations

import json
import pickle
import string
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.step.settings.world import KAFKA, environment
from xmatch_hats.errors import ConfigError
from xmatch_hats.step.settings import StepSettings, describe, load_settings
from xmatch_hats.step.settings.values import shown, without_userinfo

SECRETS = ("DB_PASSWORD", "CONSUMER_KAFKA_PASSWORD", "PRODUCER_KAFKA_PASSWORD", "METRICS_KAFKA_PASSWORD")
OPTIONS = ("CONSUMER_CONF", "PRODUCER_CONF", "METRICS_CONF")
SECRET_KEYS = ("sasl.password", "ssl.key.pem", "ssl.key.password", "sasl.jaas.config", "sasl.oauthbearer.client.secret")

tokens = st.text(string.ascii_letters + string.digits + "@:/%#'\"\\{}[], é", min_size=4, max_size=20).map(
    lambda text: f"Hx7{text}q9Z"
)
"""Secrets that cannot be a part of a message by chance."""
wrongs = st.sampled_from(
    [{}, {"RETRIES": "x"}, {"METRICS_TOPIC": "alone"}, {"ENGINE": "sqlite"}, {"PRODUCER_SERVER": "other:1"},
     {"CONSUMER_TOPICS": "xmatch"}, {"DELIVERY": "exactly-once"}]
)  # fmt: skip


def everything_told(config: Path | None, overrides: dict | None, values: dict[str, str]) -> str:
    """All texts that settings give to the outside: themselves, their description, and their errors."""
    told = []
    with environment(values):
        try:
            loaded = load_settings(config, overrides)
            told += [repr(loaded), str(loaded), str(describe(loaded))]
            loaded.require_complete()
        except ConfigError as error:
            told += [str(error), repr(error), str(error.__dict__), str(pickle.loads(pickle.dumps(error)))]
            told += traceback.format_exception(error)
    return "\n".join(told)


def assert_hidden(token: str, told: str) -> None:
    assert told
    for form in (token, repr(token)[1:-1], json.dumps(token)[1:-1], "Hx7", "q9Z"):
        assert form not in told


@settings(deadline=None)
@given(st.sampled_from(SECRETS), tokens, wrongs)
def test_passwords(name, token, wrong):
    assert_hidden(token, everything_told(None, None, KAFKA | {name: token} | wrong))
    assert_hidden(token, everything_told(None, {name.lower(): token}, KAFKA | wrong))


@settings(deadline=None)
@given(st.sampled_from(OPTIONS), st.sampled_from(SECRET_KEYS), tokens, wrongs, st.sampled_from(["", "}", "{"]))
def test_options(name, key, token, wrong, damage):
    text = damage + json.dumps({"acks.not": 1, key: token})
    assert_hidden(token, everything_told(None, None, KAFKA | {name: text} | wrong))
    broken = json.dumps({key: [token], "acks": 1})
    assert_hidden(token, everything_told(None, None, KAFKA | {name: broken} | wrong))


@settings(deadline=None)
@given(st.sampled_from(["https://u:{}@host:8081/x", "http://{}@host", "u:{}@host", "{}"]), tokens, wrongs)
def test_the_address_of_the_registry(form, token, wrong):
    url = form.format(token)
    assert_hidden(token, everything_told(None, None, KAFKA | {"SCHEMA_REGISTRY_URL": url} | wrong))


@settings(deadline=None)
@given(st.sampled_from(["CONSUMER_SERVER", "METRICS_HOST", "PRODUCER_SERVER"]), tokens)
def test_a_password_in_an_address_where_none_belongs(name, token):
    assert_hidden(token, everything_told(None, None, KAFKA | {name: f"https://me:{token}@broker:9092"}))
    assert_hidden(token, everything_told(None, None, KAFKA | {name: f"me:{token}@broker:9092"}))


@settings(deadline=None)
@given(st.sampled_from([*SECRETS, *OPTIONS, "SCHEMA_REGISTRY_URL", "DB_PORT", "CATALOG", "DELIVERY"]), tokens)
def test_files_of_values(tmp_path_factory, name, token):
    path = tmp_path_factory.mktemp("secrets") / "value"
    path.write_text(token)
    assert_hidden(token, everything_told(None, None, KAFKA | {name: ""} | {f"{name}_FILE": str(path)}))
    # The secret itself where its file's path belongs is a mistake that happens.
    assert_hidden(token, everything_told(None, None, KAFKA | {name: ""} | {f"{name}_FILE": token}))


@settings(deadline=None)
@given(st.sampled_from(SECRETS), tokens, st.sampled_from(["{}", "[{}]", "{{ x = {} }}"]))
def test_the_settings_file(tmp_path_factory, name, token, form):
    path = tmp_path_factory.mktemp("secrets") / "step.toml"
    path.write_text(f"{name} = {form.format(json.dumps(token))}\n")
    assert_hidden(token, everything_told(path, None, KAFKA))
    path.write_text(f'{name.lower()} = Hx7 {json.dumps(token)[1:-1]}\nretries = "x"\n')
    assert_hidden(token, everything_told(path, None, KAFKA))
    path.write_text(f'[consumer_conf]\nsasl.password = {json.dumps(token)}\n"ssl.key.pem" = [{json.dumps(token)}]\n')
    assert_hidden(token, everything_told(path, None, KAFKA))


@settings(deadline=None)
@given(tokens)
def test_settings_made_directly(token):
    with pytest.raises(ValueError, match="validation error") as caught:
        StepSettings(db_password=[token], consumer_conf=token, schema_registry_url=token, retries=-1)
    assert_hidden(token, str(caught.value))


def test_secrets_are_there_for_who_needs_them():
    with environment({"DB_PASSWORD": "geheim", "CONSUMER_CONF": '{"sasl.password": "geheim"}'}):
        settings = load_settings()
    assert settings.db_password.get_secret_value() == "geheim"
    assert settings.consumer_conf["sasl.password"] == "geheim"
    assert {**settings.consumer_conf} == {"sasl.password": "geheim"}


def test_all_secrets_can_be_kept_out_of_logs():
    options = json.dumps({"ssl.key.pem": "pem", "client.id": "x", "sasl.password": "in options"})
    values = {name: f"secret of {name}" for name in SECRETS} | {
        "CONSUMER_KAFKA_USERNAME": "a",
        "PRODUCER_KAFKA_USERNAME": "b",
        "METRICS_KAFKA_USERNAME": "c",
        "METRICS_CONF": options,
        "SCHEMA_REGISTRY_URL": "https://me:ge%20heim@registry:8081/api",
    }
    with environment(values):
        settings = load_settings()
    assert set(settings.secret_texts()) == {
        *(values[name] for name in SECRETS), "pem", "in options", "ge%20heim", "ge heim", "me:ge%20heim", "me:ge heim",
    }  # fmt: skip
    with environment({"SCHEMA_REGISTRY_URL": "https://registry:8081"}):
        assert load_settings().secret_texts() == ()


def test_the_rest_of_an_address_is_shown():
    with environment({"SCHEMA_REGISTRY_URL": "https://me:geheim@registry:8081/api"}):
        rows = {name: value for name, value, _ in describe(load_settings())}
    assert rows["SCHEMA_REGISTRY_URL"] == "https://***@registry:8081/api"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://u:p@host/x", "https://***@host/x"),
        ("https://u:p@s/s@host", "https://***@host"),
        ("https://token@host", "https://***@host"),
        ("u:p@host", "***@host"),
        ("allwise@2", "allwise@2"),
        ("https://host", "https://host"),
    ],
)
def test_users_and_passwords_of_addresses_are_masked(text, masked):
    assert without_userinfo(text) == masked


def test_long_values_are_shortened():
    assert len(shown("x" * 1000)) == 80
    assert shown("a\nb") == r"'a\nb'"
