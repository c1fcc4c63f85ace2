from __future__ import annotations

import json

import pytest

from tests.step.settings.world import fault_of, load
from xmatch_hats.step.settings import CatalogSettings, describe


def source_of(settings, name):
    return next((value, source) for row, value, source in describe(settings) if row == name)


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "conf" / "step.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(toml, tmp_path):
    path = toml('retries = 1\nconsume_messages = 11\ndelivery = "at-least-once"\nstep_version = "file"\n')
    (tmp_path / "version").write_text("secret file\n")
    settings = load(
        path, {"delivery": "exactly-once", "retries": None}, RETRIES="2", DELIVERY="at-least-once",
        STEP_VERSION_FILE=str(tmp_path / "version"),
    )  # fmt: skip
    assert (settings.delivery, settings.retries, settings.consume_messages) == ("exactly-once", 2, 11)
    assert settings.step_version == "secret file"
    assert source_of(settings, "DELIVERY") == ("exactly-once", "command line")
    assert source_of(settings, "RETRIES") == ("2", "environment")
    assert source_of(settings, "CONSUME_MESSAGES") == ("11", str(path))
    assert source_of(settings, "STEP_VERSION") == ("***", str(tmp_path / "version"))
    assert source_of(settings, "STOP_TIMEOUT") == ("8", "default")


def test_an_empty_variable_leaves_the_file_its_word(toml):
    assert load(toml("retries = 7"), RETRIES="").retries == 7


def test_a_wrong_value_that_is_overridden_does_no_harm(toml):
    assert load(toml('retries = "many"'), RETRIES="2").retries == 2


TOML = r"""
engine = "postgresql"
DB_HOST = "db"
db_user = "u"
DB_NAME = "ztf"
db_port = 5433
consumer_topics = ["alerts", '^ztf_\d{8,8}$']
CONSUMER_SERVER = "a:1,b:2"
enable_partition_eof = true
consume_timeout = 2
replay_from = 2024-01-31
replay_until = 2024-01-31T06:30:00-03:00
position = ["diaSource.ra", "diaSource.dec"]
worker_cache_bytes = 1073741824
retries = "5"

[[catalog]]
name = "allwise"
columns = ["AllWISE", "W1mag"]
[[catalog]]
name = "gaia"
path = "/data/gaia"
radius = 2

[consumer_conf]
fetch.min.bytes = 1000
"socket.keepalive.enable" = true
"""
SAME = {
    "ENGINE": "postgresql",
    "DB_HOST": "db",
    "DB_USER": "u",
    "DB_NAME": "ztf",
    "DB_PORT": "5433",
    "CONSUMER_TOPICS": r"alerts,^ztf_\d{8,8}$",
    "CONSUMER_SERVER": "a:1,b:2",
    "ENABLE_PARTITION_EOF": "True",
    "CONSUME_TIMEOUT": "2",
    "REPLAY_FROM": "2024-01-31",
    "REPLAY_UNTIL": "2024-01-31T09:30:00",
    "POSITION": "diaSource.ra,diaSource.dec",
    "WORKER_CACHE_BYTES": "1GiB",
    "RETRIES": "5",
    "CATALOG": '[{"name": "allwise", "columns": ["AllWISE", "W1mag"]},'
    '{"name": "gaia", "path": "/data/gaia", "radius": 2}]',
    "CONSUMER_CONF": '{"fetch.min.bytes": 1000, "socket.keepalive.enable": true}',
}


def test_file_and_environment_mean_the_same(toml):
    from_file, from_environment = load(toml(TOML)), load(**SAME)
    assert from_file == from_environment
    assert from_file != load()
    assert from_file.catalog[1] == CatalogSettings(name="gaia", path="/data/gaia", radius=2.0)
    assert dict(from_file.consumer_conf) == {"fetch.min.bytes": 1000, "socket.keepalive.enable": True}
    assert [row[:2] for row in describe(from_file)] == [row[:2] for row in describe(from_environment)]


def test_paths_of_the_file_are_relative_to_it(toml, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "avsc").mkdir(parents=True)
    path = toml(
        'engine = "sqlite"\ndb_name = "x.db"\nschema_dir = "avsc"\nsource = "../in"\nsink = "~/out"\n'
        'catalog = [{name = "a", path = "./copies/a"}, {name = "b", path = "b@2"}, {name = "c", path = "/c"}]'
    )
    settings = load(path.relative_to(tmp_path))
    assert settings.db_name == str(tmp_path / "conf" / "x.db")
    assert settings.schema_dir == tmp_path / "conf" / "avsc"
    assert settings.source.resolve() == tmp_path / "in"
    assert "~" not in str(settings.sink)
    assert [entry.path for entry in settings.catalog] == [str(tmp_path / "conf/copies/a"), "b@2", "/c"]


def test_the_name_of_a_server_database_is_no_path(toml):
    assert load(toml('db_name = "ztf"'), ENGINE="postgresql", DB_HOST="h", DB_USER="u").db_name == "ztf"
    assert load(toml('engine = "sqlite"'), DB_NAME="x.db").db_name == "x.db"
    assert load(toml('db_name = ":memory:"'), ENGINE="sqlite").db_name == ":memory:"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_secrets_come_from_files(toml, tmp_path, ending):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "password").write_text(f" pass word{ending}")
    for settings in (
        load(DB_PASSWORD_FILE=str(tmp_path / "conf" / "password")),
        load(toml('db_password_file = "password"')),
        load(toml('DB_PASSWORD_FILE = "password"')),
    ):
        assert settings.db_password.get_secret_value() == " pass word"
        assert source_of(settings, "DB_PASSWORD")[0] == "***"


def test_a_setting_that_ends_in_file_is_no_pointer(tmp_path):
    (tmp_path / "ca").write_text("pem")
    found = fault_of(DASK_TLS_CA_FILE=str(tmp_path / "ca"))
    assert found.startswith("DASK_TLS_CA_FILE (environment): needs DASK_TLS_CERT and DASK_TLS_KEY too")


def test_a_value_and_a_file_for_it_are_refused(toml, tmp_path):
    (tmp_path / "p").write_text("x")
    found = fault_of(DB_PASSWORD="x", DB_PASSWORD_FILE=str(tmp_path / "p"))
    assert found == "DB_PASSWORD (environment): DB_PASSWORD and DB_PASSWORD_FILE are both set (remove one of them)"
    path = toml('db_password = "x"\ndb_password_file = "../p"')
    assert fault_of(path).startswith(f"DB_PASSWORD ({path}): DB_PASSWORD and DB_PASSWORD_FILE are both set")
    assert load(toml('db_password = "x"'), DB_PASSWORD_FILE=str(tmp_path / "p")).db_password is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "is no text in UTF-8"),
     (b"x" * (1 << 21), "larger than 1 MiB")],
)  # fmt: skip
def test_files_of_values_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "value"
    if content is not None:
        path.write_bytes(content)
    found = fault_of(DB_PASSWORD_FILE=str(path))
    assert found.startswith("DB_PASSWORD_FILE (environment): the file that it names")
    assert message in found


def test_a_wrong_value_of_a_file_is_told_by_the_file(tmp_path):
    (tmp_path / "port").write_text("x")
    found = fault_of(DB_PORT_FILE=str(tmp_path / "port"))
    assert found == f"DB_PORT_FILE ({tmp_path / 'port'}): must be a whole number from 1 to 65535, not ***"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("consumer_topic = 'a'", "there is no setting 'consumer_topic' (near names: consumer_topics"),
        ("[consumer]\ntopics = ['a']", "there is no setting 'consumer'"),
        ("source_file = 'a'", "there is no setting 'source_file'"),
        ("retries = 1\nRETRIES = 2", "RETRIES stands there twice"),
        ("engine = 'sqlite'\ndb_engine = 'postgresql'", "ENGINE and DB_ENGINE are both set, and differ"),
        ("retries = 1.5", "must be a whole number of at least 0, not 1.5"),
        ("retries = true", "must be a whole number of at least 0, not True"),
        ("consume_timeout = [1]", "must be a number of seconds above 0, not [1]"),
        ("db_host = 5", "must be one line of text, not 5"),
        ("db_password = 5", "must be text, not *** (in TOML, write it in quotes)"),
        ("consumer_topics = [1]", "must be names separated by commas, or a list of them, not [1]"),
        ("consumer_topics = []", "must hold at least one entry"),
        ("replay_from = 06:30:00", "must be a time since 1970"),
        ("source = 5", "must be a path, not 5"),
        ("catalog = 5", "must be a JSON array of objects"),
        ("consumer_conf = [1]", "must be an object of librdkafka keys"),
        ("db_password_file = 5", "the file that it names is no path of a file"),
    ],
)
def test_faults_of_the_file_name_it(toml, text, message):
    path = toml(text)
    found = fault_of(path)
    assert str(path) in found
    assert message in found


@pytest.mark.parametrize("text", ["retries = ", "retries 5", "[catalog", "x = 1\nx = 2"])
def test_a_file_must_be_toml(toml, text):
    path = toml(text)
    assert fault_of(path).startswith(f"{path}: not a TOML file")


def test_files_that_cannot_be_read(tmp_path, toml):
    assert fault_of(tmp_path / "none.toml").startswith(f"{tmp_path / 'none.toml'}: the settings file does not exist")
    assert f"{tmp_path}: cannot be read" in fault_of(tmp_path)
    path = toml("")
    path.write_bytes(b"\xff")
    assert fault_of(path).startswith(f"{path}: not a TOML file")
    assert load(toml("")) == load()


def test_unknown_options_of_the_command_line_are_told():
    assert fault_of(None, {"sources": "x"}).startswith(
        "command line: there is no setting 'sources' (near names: source"
    )
    assert fault_of(None, {"retries": -1}).startswith("RETRIES (command line): must be a whole number")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "allwise"}', [CatalogSettings(name="allwise")]),
        ('[{"name": "allwise", "columns": null}]', [CatalogSettings(name="allwise")]),
        (
            '[{"name": "a", "columns": ["x"], "radius": 1.5}, {"name": "b", "path": "allwise@2"}]',
            [CatalogSettings(name="a", columns=("x",), radius=1.5), CatalogSettings(name="b", path="allwise@2")],
        ),
    ],
)
def test_catalogues(text, expected):
    settings = load(CATALOG=text)
    assert list(settings.catalog) == expected
    assert load(CATALOG=source_of(settings, "CATALOG")[0]).catalog == settings.catalog


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allwise", """such as {"name": "allwise", "columns": ["AllWISE", "W1mag"]}, not 'allwise'"""),
        ("[{'name': 'allwise'}]", "in JSON, texts and keys stand in double quotes"),
        ("[]", "must name at least one catalogue"),
        ('["allwise"]', "entry 1 must be an object, not 'allwise'"),
        ("5", "must be a JSON array of objects"),
        ("[" * 100_000, "must be a JSON array of objects"),
        ("[{}]", "entry 1 has no name"),
        ('[{"name": "a", "name": "b"}]', "a key stands twice"),
        ('[{"name": "a"}, {"name": 5}]', "entry 2: name must be letters, digits"),
        ('[{"name": "../x"}]', "entry 1: name must be letters, digits"),
        ('[{"name": "a", "colums": ["x"]}]', "entry 1 has an unknown key 'colums' (near names: columns"),
        ('[{"name": "a", "columns": "[\'x\', \'y\']"}]', """columns must be a list of names, not "['x', 'y']\""""),
        ('[{"name": "a", "columns": "x,y"}]', "entry 1: columns must be a list of names, not 'x,y'"),
        ('[{"name": "a", "columns": ["x", 5]}]', "columns must be a list of names, each a text, not ['x', 5]"),
        ('[{"name": "a", "columns": []}]', "columns must name at least one column, not []"),
        ('[{"name": "a", "columns": ["x", "x"]}]', "must name each column once; x stands there twice"),
        ('[{"name": "a", "radius": 0}]', "entry 1: radius must be a number of arcsec above 0, not 0"),
        ('[{"name": "a", "radius": NaN}]', "radius must be a number of arcsec above 0, not nan"),
        ('[{"name": "a", "path": ""}]', "entry 1: path must be one line of text"),
        ('[{"name": "a"}, {"name": "a", "path": "b"}]', "two catalogues are named a"),
    ],
)
def test_catalogues_of_a_wrong_shape(text, message):
    found = fault_of(CATALOG=text)
    assert found.startswith("CATALOG (environment): ")
    assert message in found
    assert len(found) < 500


@pytest.mark.parametrize("name", ["CONSUMER_CONF", "PRODUCER_CONF", "METRICS_CONF"])
@pytest.mark.parametrize(
    "options",
    [
        {"enable.auto.commit": False},
        {"enable.auto.offset.store": "true"},
        {"group.id": "x"},
        {"bootstrap.servers": "x"},
        {"transactional.id": "x"},
        {"enable.idempotence": False},
        {"enable.idempotence": "False"},
        {"acks": 1},
        {"request.required.acks": "0"},
        {"enable.partition.eof": True},
    ],
)
def test_options_that_the_step_owns_are_refused_with_the_reason(name, options):
    found = fault_of(**{name: json.dumps(options)})
    assert found.startswith(f"{name} (environment): {next(iter(options))} cannot be set: ")
    assert found.endswith("(remove it)")


@pytest.mark.parametrize(
    "options",
    [{"enable.idempotence": True}, {"acks": "all"}, {"acks": -1}, {"isolation.level": "read_uncommitted"},
     {"security.protocol": "SSL", "ssl.ca.location": "/ca.pem", "fetch.max.bytes": 1}],
)  # fmt: skip
def test_other_options_pass_through(options):
    assert dict(load(CONSUMER_CONF=json.dumps(options)).consumer_conf) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fetch.min.bytes=1", "must be a JSON object of librdkafka keys, not ***"),
        ("[]", "must be an object of librdkafka keys"),
        ('{"a": 1.5}', "a must be text, a whole number, true or false"),
        ('{"a": null}', "a must be text, a whole number, true or false"),
        ('{"a": {"b": 1}, "a.b": 2}', "a.b stands twice"),
        ('{"a": 1, "a": 2}', "a key stands twice"),
    ],
)
def test_options_of_a_wrong_shape(text, message):
    assert message in fault_of(CONSUMER_CONF=text)
