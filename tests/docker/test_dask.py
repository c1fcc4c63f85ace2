"""The commands of the Dask services, as they stand in the compose file and the manifests, on this machine."""

from __future__ import annotations

import pytest
from distributed import Client

from tests.docker.commands import becomes_healthy, placed, running
from tests.docker.parts import compose, manifests
from tests.services.process import free_ports


def compose_commands() -> tuple[list[str], list[str]]:
    services = compose()["services"]
    scheduler, worker = services["dask-scheduler"], services["dask-worker"]
    return scheduler["entrypoint"] + scheduler["command"], worker["entrypoint"] + worker["command"]


def kubernetes_commands() -> tuple[list[str], list[str]]:
    found = {}
    for document in manifests("dask.yaml"):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            found[container["name"]] = container["command"] + container["args"]
    return found["scheduler"], found["worker"]


@pytest.mark.parametrize("commands", [compose_commands, kubernetes_commands])
def test_a_scheduler_and_a_worker_come_up_healthy_and_work(commands, tmp_path):
    scheduler, worker = commands()
    ports = free_ports(3)
    places = dict(zip(("8786", "8787", "8788"), map(str, ports), strict=True))
    places |= {"0.0.0.0": "127.0.0.1", "dask-scheduler": "127.0.0.1", "xmatch-hats-dask": "127.0.0.1"}
    logs = tmp_path / "scheduler.log", tmp_path / "worker.log"
    with running([placed(word, places) for word in scheduler], logs[0]):
        assert becomes_healthy(f"http://127.0.0.1:{ports[1]}/health"), logs[0].read_text()
        with running([placed(word, places) for word in worker], logs[1]):
            assert becomes_healthy(f"http://127.0.0.1:{ports[2]}/health"), logs[1].read_text()
            with Client(f"tcp://127.0.0.1:{ports[0]}", timeout=20) as client:
                assert client.submit(sum, [1, 2]).result(20) == 3
                (limits,) = client.scheduler_info()["workers"].values()
                assert (limits["nthreads"], limits["memory_limit"] >= 1 << 30) == (1, True)
