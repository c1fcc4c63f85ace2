"""The commands of docker/README.md against the files that they speak of."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.docker.conftest import is_setting
from tests.docker.parts import DOCKER, compose, manifests, run, script

TEXT = (DOCKER / "README.md").read_text()
BLOCKS = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
COMMANDS = [words for line in BLOCKS.splitlines() if (words := shlex.split(line, comments=True))]
SERVICES = compose()["services"]


def commands(*beginning: str) -> list[list[str]]:
    found = [words[len(beginning) :] for words in COMMANDS if words[: len(beginning)] == list(beginning)]
    assert found
    return found


def test_one_container_has_all_that_it_needs(settings_of, tmp_path):
    (words,) = commands("docker", "run")
    given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "-e")
    assert all(map(is_setting, given))
    (tmp_path / "db_password").write_text("change-me")
    settings = settings_of({name: value.replace("/run/secrets", str(tmp_path)) for name, value in given.items()})
    assert settings.engine == "postgresql"
    assert int(words[words.index("--stop-timeout") + 1]) > settings.stop_timeout + 5
    mounts = [words[at + 1].split(":")[1] for at, word in enumerate(words) if word == "--volume"]
    assert mounts == ["/catalogs", given["DB_PASSWORD_FILE"]]


def test_profiles_and_services_exist():
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    words = [word for command in commands("docker", "compose") for word in command]
    asked = {words[at + 1] for at, word in enumerate(words) if word == "--profile"}
    asked |= set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert asked == profiles - {"tools"}
    scaled = {words[at + 1].partition("=")[0] for at, word in enumerate(words) if word == "--scale"}
    assert scaled == {"step", "dask-worker"}
    assert {command[0] for command in commands("docker", "compose", "run", "--rm")} == {"catalog"}


def test_addresses_on_this_machine_are_those_of_the_compose_file():
    published = {port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])}
    assert set(re.findall(r"localhost:(\d+)", TEXT)) == published


@pytest.mark.parametrize("words", commands("docker", "compose", "run", "--rm", "catalog"), ids=lambda words: words[0])
def test_catalogue_verbs_exist(words):
    result = run(*SERVICES["catalog"]["entrypoint"], words[0], "--help", env={"COLUMNS": "200"})
    assert result.returncode == 0, result.stderr
    assert all(word in result.stdout for word in words if word.startswith("--"))


def test_scripts_and_files_exist():
    assert script(commands("./secrets.sh") and "secrets.sh").is_file()
    for words in commands("kubectl", "apply", "--filename"):
        assert (DOCKER / words[0]).exists()
    result = run("python", script("feed.py"), "--help")
    assert all(word in result.stdout for words in commands("python", "feed.py") for word in words if word[:2] == "--")


def test_kubernetes_names_exist():
    assert {"kind": "StatefulSet", "name": "xmatch-hats"} in [
        {"kind": document["kind"], "name": document["metadata"]["name"]} for document in manifests()
    ]
    (scaled,) = commands("kubectl", "scale")
    assert scaled[:2] == ["statefulset", "xmatch-hats"]
    (secret,) = commands("kubectl", "create", "secret", "generic")
    assert secret[0] == "xmatch-hats"
    assert secret[1].startswith("--from-literal=db_password=")
    pods = [item["spec"]["template"]["spec"] for item in manifests() if item["kind"] in ("Job", "StatefulSet")]
    used = [volume["secret"]["secretName"] for pod in pods for volume in pod["volumes"] if "secret" in volume]
    assert set(used) == {secret[0]}
