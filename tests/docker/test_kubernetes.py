"""The Kubernetes manifests against what they stand on: the settings, the image, the HTTP server, each other."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docker.conftest import is_setting
from tests.docker.parts import DOCKER, image, manifests, run
from xmatch_hats.step.settings import StepSettings

DOCUMENTS = manifests()
WORKLOADS = [document for document in DOCUMENTS if document["kind"] in ("Deployment", "Job", "StatefulSet")]
SECRETS = "/run/secrets/xmatch-hats"


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (item for item in DOCUMENTS if item["kind"] == kind and item["metadata"]["name"] == name)
    return found


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    return workload["spec"]["template"]["spec"]


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(workload)["containers"]
    return only


def environment_of(workload: dict[str, Any]) -> dict[str, str]:
    """What the container finds in its environment, in a pod `xmatch-hats-0` of a namespace `sky`."""
    facts = {"metadata.namespace": "sky", "metadata.name": "xmatch-hats-0"}
    found: dict[str, str] = dict(image().environment)
    for source in container(workload).get("envFrom", []):
        found |= named("ConfigMap", source["configMapRef"]["name"])["data"]
    mine: dict[str, str] = {}
    for entry in container(workload).get("env", []):
        value = entry.get("value") or facts[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        # As the kubelet does it: only with what stands before it in the list.
        for name, known in mine.items():
            value = value.replace(f"$({name})", known)
        mine[entry["name"]] = value
    return found | mine


STEP = named("StatefulSet", "xmatch-hats")


@pytest.fixture
def step_settings(settings_of, tmp_path) -> StepSettings:
    (tmp_path / "db_password").write_text("change-me\n")
    environment = {name: value for name, value in environment_of(STEP).items() if is_setting(name)}
    return settings_of({name: value.replace(SECRETS, str(tmp_path)) for name, value in environment.items()})


def test_the_documents_are_valid():
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for document in DOCUMENTS:
        if document["kind"] != "ServiceMonitor":
            validator.validate(document, validator.latest_version(), strict=True)


def test_names_and_kinds_are_unique():
    names = [(document["kind"], document["metadata"]["name"]) for document in DOCUMENTS]
    assert len(set(names)) == len(names)
    assert all(document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "xmatch-hats" for document in DOCUMENTS)


def test_every_variable_is_a_setting():
    for document in DOCUMENTS:
        if document["kind"] == "ConfigMap":
            assert [name for name in document["data"] if not is_setting(name)] == []
    unknown = {entry["name"] for entry in container(STEP)["env"] if not is_setting(entry["name"])}
    assert unknown == {"POD_NAME", "POD_NAMESPACE"}


def test_the_step_starts_with_its_environment(step_settings):
    assert step_settings.db_password.get_secret_value() == "change-me"
    assert step_settings.transaction_id == "sky.xmatch-hats-0"
    assert step_settings.http_host == "0.0.0.0"
    service = named("Service", step_settings.dask_scheduler.removeprefix("tcp://").partition(":")[0])
    assert int(step_settings.dask_scheduler.rpartition(":")[2]) in [port["port"] for port in service["spec"]["ports"]]


def test_the_database_is_made_with_the_steps_settings():
    mine, steps = environment_of(named("Job", "xmatch-hats-db-init")), environment_of(STEP)
    database = {name for name in mine if name.startswith(("DB_", "ENGINE"))}
    assert database == {"ENGINE", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD_FILE"}
    assert {name: mine[name] for name in database} == {name: steps[name] for name in database}


def test_there_is_time_to_stop_in(step_settings):
    assert pod(STEP)["terminationGracePeriodSeconds"] > step_settings.stop_timeout + 5


def test_the_probes_ask_what_the_step_answers(step_server):
    ports = {port["name"]: port["containerPort"] for port in container(STEP)["ports"]}
    assert str(ports["http"]) == image().environment["HTTP_PORT"]
    probes = {name: container(STEP)[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/live",
        "liveness": "/live",
        "readiness": "/ready",
    }
    (monitor,) = named("ServiceMonitor", "xmatch-hats")["spec"]["endpoints"]
    for path in [*(probe["path"] for probe in probes.values()), monitor["path"]]:
        assert status_of(f"http://127.0.0.1:{step_server.http.port}{path}") in (200, 503)
    assert all(probe["port"] in ports for probe in probes.values())


def status_of(url: str) -> int:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_step_keeps_its_transactional_id_and_all_pods_start_at_once():
    assert STEP["spec"]["serviceName"] == named("Service", "xmatch-hats")["metadata"]["name"]
    assert STEP["spec"]["podManagementPolicy"] == "Parallel"


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["metadata"]["name"])
def test_pods_are_hardened(workload):
    security, inside = pod(workload)["securityContext"], container(workload)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == image().last("USER")
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert pod(workload)["automountServiceAccountToken"] is False
    assert set(container(workload)["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["metadata"]["name"])
def test_mounts_lead_to_volumes(workload):
    mounts = {mount["name"]: mount for mount in container(workload)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    assert set(mounts) == set(volumes)
    assert (mounts["tmp"]["mountPath"], "emptyDir" in volumes["tmp"]) == ("/tmp", True)
    if "catalogs" in mounts:
        claim = volumes["catalogs"]["persistentVolumeClaim"]
        assert named("PersistentVolumeClaim", claim["claimName"])
        assert mounts["catalogs"]["mountPath"] == image().environment["XMATCH_HATS_CATALOGS"]
        pulls = workload["metadata"]["name"] == "xmatch-hats-catalog-pull"
        assert (mounts["catalogs"].get("readOnly", False), claim.get("readOnly", False)) == (not pulls, not pulls)
    if "secrets" in mounts:
        assert mounts["secrets"]["mountPath"] == SECRETS
        assert pod(workload)["securityContext"]["fsGroup"] == pod(workload)["securityContext"]["runAsGroup"]
    secret_files = [value for name, value in environment_of(workload).items() if name.endswith("_FILE")]
    assert all(value.startswith(f"{SECRETS}/") and "secrets" in mounts for value in secret_files)


def test_one_pinned_image():
    (name,) = {container(workload)["image"] for workload in WORKLOADS}
    assert name.rpartition(":")[2][0].isdigit()


def test_selectors_find_their_pods():
    labels = {
        workload["metadata"]["name"]: workload["spec"]["template"]["metadata"]["labels"] for workload in WORKLOADS
    }
    for selector, kind in selectors():
        found = [name for name, own in labels.items() if selector.items() <= own.items()]
        assert len(found) == (len(labels) if list(selector) == ["app.kubernetes.io/part-of"] else 1), (kind, selector)


def selectors() -> Iterator[tuple[dict[str, str], str]]:
    for document in DOCUMENTS:
        spec, kind = document.get("spec", {}), document["kind"]
        if kind == "Service":
            yield spec["selector"], kind
        elif kind in ("Deployment", "StatefulSet"):
            yield spec["selector"]["matchLabels"], kind
        elif kind == "NetworkPolicy":
            yield spec["podSelector"]["matchLabels"], kind


def test_ports_are_named_in_the_containers():
    for document in DOCUMENTS:
        if document["kind"] == "Service":
            (target,) = (
                container(workload)
                for workload in WORKLOADS
                if document["spec"]["selector"].items() <= workload["spec"]["template"]["metadata"]["labels"].items()
            )
            ports = {port["name"]: port["containerPort"] for port in target["ports"]}
            assert {port["targetPort"]: port["port"] for port in document["spec"]["ports"]} == ports


def test_the_monitor_and_the_policy_find_the_step():
    service = named("Service", "xmatch-hats")
    monitor = named("ServiceMonitor", "xmatch-hats")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    (rule,) = named("NetworkPolicy", "xmatch-hats-metrics")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]


@pytest.mark.parametrize(
    "workload",
    [workload for workload in WORKLOADS if "command" not in container(workload)],
    ids=lambda workload: workload["metadata"]["name"],
)
def test_verbs_and_options_exist(workload):
    words = container(workload)["args"]
    verb = [word for word in words if word.isalpha()][:2] if words[0] != "run" else words
    result = run(*image().exec_form("ENTRYPOINT"), *verb, "--help", env={"COLUMNS": "200"})
    assert result.returncode == 0, result.stderr
    assert all(word in result.stdout for word in words if word.startswith("--"))


def test_dask_acts_before_the_kernel_does():
    worker = named("Deployment", "xmatch-hats-dask-worker")
    (limit,) = (word.partition("=")[2] for word in container(worker)["args"] if word.startswith("--memory-limit"))
    assert float(limit.removesuffix("GiB")) < float(
        container(worker)["resources"]["limits"]["memory"].removesuffix("Gi")
    )


def test_applying_the_folder_leaves_out_what_is_optional():
    kinds = {document["kind"] for document in manifests("*.yaml")}
    assert kinds == {"ConfigMap", "Deployment", "Job", "PersistentVolumeClaim", "Service", "StatefulSet"}
    assert (DOCKER / "kubernetes" / "optional").is_dir()
