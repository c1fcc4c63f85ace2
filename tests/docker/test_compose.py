"""The compose file against what it stands on: the settings, the image, the scripts, the monitoring."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.docker.conftest import is_setting
from tests.docker.parts import COMPOSE_FILE, DOCKER, OWN_IMAGE, PROJECT, compose, compose_variables, image, run, script

SERVICES = compose()["services"]
OWN = sorted(name for name, service in SERVICES.items() if service["image"] == OWN_IMAGE)
ONCE = sorted(name for name, service in SERVICES.items() if service.get("restart") == "no")


def step_environment(folder: Path, **variables: str) -> dict[str, str]:
    """What the step finds in its environment, with the paths of the secrets mapped."""
    document = compose(**variables)
    environment = {**document["services"]["step"]["environment"], **image().environment}
    for name, secret in document["secrets"].items():
        (folder / name).write_text(Path(DOCKER, f"{secret['file']}.example").read_text())
    given = {name: variables.get(name) if value is None else value for name, value in environment.items()}
    return {
        name: value.replace("/run/secrets", str(folder))
        for name, value in given.items()
        if value is not None and is_setting(name)
    }


def test_every_variable_of_the_step_is_a_setting():
    for name in ("step", "db-init"):
        unknown = [variable for variable in SERVICES[name]["environment"] if not is_setting(variable)]
        assert unknown == []


def test_the_step_starts_with_its_environment(settings_of, tmp_path):
    settings = settings_of(step_environment(tmp_path))
    assert (settings.consumer_topics, settings.producer_topic) == (("ztf_alerts",), "ztf_xmatch")
    assert settings.engine == "postgresql"
    assert settings.db_password.get_secret_value() == "change-me"
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 8080)
    assert settings.transactional_id is None


def test_handed_on_settings_have_the_defaults_that_the_example_shows(settings_of, tmp_path):
    example = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    handed_on = {name for name, value in SERVICES["step"]["environment"].items() if value is None}
    variables = compose_variables()
    assert set(example) == handed_on | set(variables)
    assert {name: example[name] for name in variables} == variables
    given = settings_of(step_environment(tmp_path, **{name: example[name] for name in handed_on}))
    assert given == settings_of(step_environment(tmp_path))


def test_handed_on_settings_reach_the_step(settings_of, tmp_path):
    catalogs = json.dumps([{"name": "allwise", "radius": 2}, {"name": "gcvs"}])
    settings = settings_of(step_environment(tmp_path, CATALOG=catalogs, DELIVERY="exactly-once"))
    assert [catalog.name for catalog in settings.catalog] == ["allwise", "gcvs"]
    assert settings.delivery == "exactly-once"


def test_the_topics_that_are_made_are_the_steps(settings_of, tmp_path):
    settings = settings_of(step_environment(tmp_path))
    made = {word for word in SERVICES["topics"]["command"] if not word.startswith("--")}
    used = {*settings.consumer_topics, settings.producer_topic, settings.dead_letter_topic, settings.metrics_topic}
    assert made == used
    assert SERVICES["sample"]["environment"]["CONSUMER_TOPICS"] in made


def test_addresses_lead_to_services_and_their_ports(settings_of, tmp_path):
    settings = settings_of(step_environment(tmp_path))
    kafka = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")[0].removeprefix("PLAINTEXT://")
    assert {settings.consumer_server, settings.producer_server, settings.metrics_host} == {kafka}
    assert f"--server={kafka}" in SERVICES["topics"]["command"]
    assert SERVICES["sample"]["environment"]["CONSUMER_SERVER"] == kafka
    assert (settings.db_host in SERVICES, settings.db_port) == (True, 5432)
    postgres = SERVICES["postgres"]["environment"]
    assert (settings.db_name, settings.db_user) == (postgres["POSTGRES_DB"], postgres["POSTGRES_USER"])
    scheduler = urlsplit(settings.dask_scheduler)
    assert f"--port={scheduler.port}" in SERVICES[scheduler.hostname]["command"]
    assert settings.dask_scheduler in SERVICES["dask-worker"]["command"]


def test_the_broker_takes_the_largest_message_and_makes_no_topic_unasked():
    environment = SERVICES["kafka"]["environment"]
    assert int(environment["KAFKA_MESSAGE_MAX_BYTES"]) > 6 << 20
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    tag = SERVICES[name]["image"].partition(":")[2]
    assert SERVICES[name]["image"] == OWN_IMAGE or re.match(r"v?\d+\.\d+", tag)


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_is_root_or_can_become_it(name):
    service = SERVICES[name]
    user = image().last("USER") if name in OWN else service["user"]
    assert user.split(":")[0] not in ("root", "0", "")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", OWN)
def test_our_containers_write_to_tmp_alone(name):
    assert SERVICES[name]["read_only"] is True
    assert [mount.split(":")[0] for mount in SERVICES[name]["tmpfs"]] == ["/tmp"]


def test_catalogues_are_written_only_by_what_makes_them():
    modes = {name: [mount for mount in SERVICES[name].get("volumes", []) if ":/catalogs" in mount] for name in OWN}
    writers = {name for name, mounts in modes.items() if any(not mount.endswith(":ro") for mount in mounts)}
    readers = {name for name, mounts in modes.items() if any(mount.endswith(":ro") for mount in mounts)}
    assert (writers, readers) == ({"catalog", "sample"}, {"step", "dask-worker"})


def test_catalogues_are_in_a_volume_or_in_a_folder():
    assert "catalogs:/catalogs:ro" in SERVICES["step"]["volumes"]
    assert "/data:/catalogs:ro" in compose(CATALOGS_VOLUME="/data")["services"]["step"]["volumes"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(ONCE)))
def test_what_runs_on_has_a_health_check(name):
    service = SERVICES[name]
    if name == "step":
        assert "healthcheck" not in service
        assert image().last("HEALTHCHECK")
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"


def test_dependencies_can_be_met():
    for name, service in SERVICES.items():
        for other, dependency in service.get("depends_on", {}).items():
            finished = dependency["condition"] == "service_completed_successfully"
            assert finished == (other in ONCE), (name, other)
            profiles, needed = SERVICES[other].get("profiles", []), service.get("profiles", [])
            assert set(profiles) <= set(needed) or dependency.get("required") is False, (name, other)
            assert name not in reached(other), (name, other)


def reached(name: str) -> set[str]:
    """Everything that a service waits for, directly or not; a circle recurses without end."""
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct.union(*(reached(other) for other in direct))


def test_the_step_waits_for_what_it_needs():
    assert {"kafka", "topics", "postgres", "db-init", "dask-scheduler", "dask-worker"} <= reached("step")


def test_profiles():
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {
        "catalog": ["tools"],
        "sample": ["sample"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_what_is_scaled_has_no_name_and_no_port_of_its_own():
    for name in ("step", "dask-worker"):
        assert not {"container_name", "ports", "hostname"} & set(SERVICES[name])
    assert "TRANSACTIONAL_ID" not in SERVICES["step"]["environment"]


def test_ports_are_on_loopback():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_there_is_time_to_stop_in(settings_of, tmp_path):
    settings = settings_of(step_environment(tmp_path))
    assert int(SERVICES["step"]["stop_grace_period"].removesuffix("s")) > settings.stop_timeout + 5


def test_scripts_and_verbs_are_there():
    places = image().copied()
    for name in OWN:
        service = SERVICES[name]
        words = [*service.get("entrypoint", []), *service.get("command", [])]
        words += service.get("healthcheck", {}).get("test", [])
        for word in words:
            if str(word).startswith("/opt/xmatch-hats/scripts/"):
                assert (PROJECT / places[word]).is_file()


@pytest.mark.parametrize("name", ["db-init", "catalog", "step"])
def test_verbs_exist(name):
    service = SERVICES[name]
    entrypoint = service.get("entrypoint", image().exec_form("ENTRYPOINT"))
    command = service.get("command", image().exec_form("CMD"))
    result = run(*entrypoint, *command, "--help")
    assert result.returncode == 0, result.stderr


def test_volumes_and_secrets_are_declared_and_there():
    document = compose()
    for name, service in SERVICES.items():
        assert set(service.get("secrets", [])) <= set(document["secrets"]), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (DOCKER / source).exists() if source.startswith(".") else source in document["volumes"], mount
    for secret in document["secrets"].values():
        assert (DOCKER / f"{secret['file']}.example").is_file()


def test_secrets_are_made_once_and_kept_from_others(tmp_path):
    folder = tmp_path / "secrets"
    assert run(script("secrets.sh"), folder).returncode == 0
    names = {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == names
    assert all(re.fullmatch("[0-9a-f]{48}", text) for text in made.values())
    assert len(set(made.values())) == len(names)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    assert run(script("secrets.sh"), folder).stdout == ""
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_real_secrets_never_get_into_git():
    if not (PROJECT / ".git").exists():
        pytest.skip("the project is not in git here")
    names = ["docker/.env", *(f"docker/secrets/{name}" for name in compose()["secrets"])]
    ignored = run("git", "check-ignore", "--no-index", *names, cwd=PROJECT).stdout.split()
    assert ignored == names
    kept = [f"{name}.example" for name in names]
    assert run("git", "check-ignore", "--no-index", *kept, cwd=PROJECT).stdout == ""


def test_prometheus_asks_services_at_their_ports():
    jobs = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    asked = {(name, search["port"]) for job in jobs for search in job["dns_sd_configs"] for name in search["names"]}
    assert ("step", int(image().environment["HTTP_PORT"])) in asked
    assert {name for name, _ in asked} <= set(SERVICES)


def test_grafana_finds_its_dashboards_and_prometheus():
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    provisioning = DOCKER / "grafana" / "provisioning"
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    (folder,) = [
        provider["options"]["path"]
        for file in provisioning.glob("dashboards/*.y*ml")
        for provider in yaml.safe_load(file.read_text())["providers"]
    ]
    assert mounts["./grafana/dashboards"] == folder
    (source,) = [
        source
        for file in provisioning.glob("datasources/*.y*ml")
        for source in yaml.safe_load(file.read_text())["datasources"]
    ]
    assert urlsplit(source["url"]).hostname == "prometheus"
    assert SERVICES["prometheus"]["ports"][0].endswith(f":{urlsplit(source['url']).port}")


def test_the_file_says_nothing_of_defaults_twice():
    # Anchors keep the containers of our image alike.
    text = COMPOSE_FILE.read_text()
    assert text.count("dockerfile: docker/Dockerfile") == 1
