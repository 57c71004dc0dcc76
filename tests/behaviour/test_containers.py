"""What is particular to the engines with containers: Docker and Podman."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.models.containers import Container

from tests import engines
from tests.engines.proxy import Hook, before
from tests.live import Live, live, refused_start, until


@pytest.fixture
def native(containers: Live) -> docker.DockerClient:
    assert containers.engine.native is not None
    return containers.engine.native


@pytest.fixture
def stranger(containers: Live, native: docker.DockerClient) -> Iterator[Container]:
    """A container that pman did not make."""
    name = f"stranger-{uuid.uuid4().hex[:8]}"
    container = native.containers.run(
        containers.engine.image, ["sleep", "300"], name=name, detach=True, labels={"a": "b"}
    )
    yield container
    container.remove(force=True)


def inspected(native: docker.DockerClient, jid: str) -> Any:
    return native.api.inspect_container(jid)


def test_a_container_of_somebody_else_is_unknown_and_left_alone(
    containers: Live, stranger: Container
) -> None:
    name, identity = str(stranger.name), str(stranger.id)
    for known in (name, identity, identity[:12], identity[:6]):
        assert containers.get(known).status_code == 404
        assert containers.delete(known).status_code == 404
        logs = requests.get(f"{containers.server.url}{known}/logs/", timeout=60)
        assert logs.status_code == 404

    stranger.reload()
    assert stranger.status == "running"


def test_containers_of_another_engines_jobs_are_unknown_and_left_alone(containers: Live) -> None:
    """A swarm and, with dockershim, Kubernetes run theirs on the same daemon, with pman's labels on them."""
    if containers.engine.name == "podman":  # it has no swarm, and is no kubelet's
        return
    for name in ("swarm", "kubernetes"):
        if engines.absent(name):
            continue
        with live(engines.need(name), containers.storebase) as other:
            request = other.script("sleep 60")
            other.submit(request)
            other.started(request["jid"])

            for call in (containers.get, containers.delete):
                assert call(request["jid"]).status_code == 404
            jobs = requests.get(f"{containers.server.root}/api/v2/jobs", timeout=60).json()["jobs"]
            assert request["jid"] not in {job["jid"] for job in jobs}
            with live(containers.engine, containers.storebase) as later:
                assert later.get(request["jid"]).status_code == 404
                assert request["jid"] not in later.server.output()
            assert other.status(request["jid"])["status"] == "started"


def test_a_job_is_known_by_its_name_only_not_by_its_containers_id(
    containers: Live, native: docker.DockerClient
) -> None:
    request = containers.request()
    containers.run(request)

    assert containers.get(inspected(native, request["jid"])["Id"]).status_code == 404


def test_a_name_taken_by_a_container_of_somebody_else_is_a_conflict(
    containers: Live, stranger: Container
) -> None:
    response = containers.post(containers.request(jid=str(stranger.name)))

    assert response.status_code == 409
    assert "not pman's" in response.json()["message"]


def test_limits_are_hard_and_there_is_no_swap(containers: Live, native: docker.DockerClient) -> None:
    request = containers.request(cpu_limit=500, memory_limit=123)
    containers.run(request)

    host = inspected(native, request["jid"])["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 123 * 2**20
    assert host["NanoCpus"] == 500_000_000


def test_a_job_has_no_new_privileges_and_few_capabilities(containers: Live) -> None:
    answer = containers.run(containers.script("grep -E 'NoNewPrivs|CapBnd' /proc/self/status"))

    seen = dict(line.split(":\t") for line in answer["logs"].splitlines())
    assert seen["NoNewPrivs"] == "1"
    assert seen["CapBnd"] == "00000000000000fb"  # chown dac_override fowner fsetid kill setgid setuid


def test_a_volume_that_is_not_there_stops_the_start_in_one_line(containers: Live) -> None:
    environment = {**containers.environment(), "STORAGE_TYPE": "docker_local_volume", "STOREBASE": ""}

    assert "VOLUME_NAME='no-such-volume'" in refused_start({**environment, "VOLUME_NAME": "no-such-volume"})
    told = refused_start({**environment, "PFCON_SELECTOR": "org.example=nobody"})
    assert "PFCON_SELECTOR='org.example=nobody'" in told
    assert "VOLUME_NAME" in told


def test_a_job_created_and_never_started_is_started_by_the_retry(
    containers: Live, native: docker.DockerClient
) -> None:
    request = containers.script("echo ran >> $out/runs")
    create(native, containers, request)
    assert containers.status(request["jid"])["status"] == "notstarted"

    containers.submit(request)

    assert containers.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert containers.output(request, "runs").read_text() == "ran\n"


def test_a_job_created_and_never_started_is_taken_up_by_the_next_pman(
    containers: Live, native: docker.DockerClient
) -> None:
    request = containers.script("echo ran >> $out/runs")
    create(native, containers, request)

    with live(containers.engine, containers.storebase) as running:
        assert running.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert containers.output(request, "runs").read_text() == "ran\n"
    containers.submitted.append(request["jid"])


def create(native: docker.DockerClient, containers: Live, request: dict[str, Any]) -> None:
    """What pman sends, up to where it died. Nothing in it is masked, since the request has no env."""
    assert not request["env"]
    path = "/libpod/containers/create" if containers.engine.name == "podman" else "/containers/create"
    where = f"{native.api.base_url}/v{native.api.api_version}{path}"
    native.api.post(
        where, json=containers.document(request), params={"name": request["jid"]}
    ).raise_for_status()


def test_a_request_that_the_engine_finds_wrong_is_400_in_its_own_words(containers: Live) -> None:
    if containers.engine.name == "podman":
        response = containers.post(containers.request(gpu_limit=1))
        assert "gpu_limit" in response.json()["message"]
    else:
        response = containers.post(containers.request(cpu_limit=64_000_000))
        assert "CPUs" in response.json()["message"]

    assert response.status_code == 400


def test_a_start_that_the_engine_does_not_permit_is_told_and_leaves_nothing(
    containers: Live, tmp_path: Path
) -> None:
    refuses = Hook("POST", "/start$", status=403)
    variable = str(containers.engine.variable)
    with (
        before(containers.engine.address, tmp_path / "p", refuses) as proxy,
        live(containers.engine, containers.storebase, **{variable: proxy}) as refused,
    ):
        request = refused.request()

        response = refused.post(request)

        assert response.status_code == 502
        assert "does not permit" in response.json()["message"]
        assert refused.get(request["jid"]).status_code == 404
        refuses.times = 0
        assert refused.run({**request, "args": ["--other"]})["status"] == "finishedSuccessfully"


def test_a_job_that_the_engine_does_not_tell_of_is_marked_in_the_list_and_hides_no_other(
    pmans: Callable[[str], Live], tmp_path: Path
) -> None:
    """An engine holds back what it says of a container while it starts it, however long that takes."""
    docker = pmans("docker")
    group = f"listed-{uuid.uuid4().hex[:8]}"
    whole, broken, silent = (docker.request(jid=f"{group}-{n}") for n in range(3))
    for each in (whole, broken, silent):
        docker.run(each)
    fails = Hook("GET", f"{broken['jid']}/json", status=500)
    held = threading.Event()
    hangs = Hook("GET", f"{silent['jid']}/json", until=held)
    with (
        before(docker.engine.address, tmp_path / "p", fails, hangs) as proxy,
        live(docker.engine, docker.storebase, DOCKER_HOST=proxy) as behind,
    ):
        answer = requests.get(f"{behind.server.root}/api/v2/jobs", params={"q": group}, timeout=100)
        held.set()

    jobs = {job["jid"]: job for job in answer.json()["jobs"]}
    assert jobs[whole["jid"]]["status"] == "finishedSuccessfully"
    for each, why in ((broken, "cannot tell the state"), (silent, "does not tell the state")):
        assert jobs[each["jid"]]["status"] == "started"  # it may be doing well
        assert why in jobs[each["jid"]]["message"]


def test_podman_mount_options_cannot_be_smuggled_in(containers: Live) -> None:
    if containers.engine.name != "podman":
        assert containers.engine.name == "docker"  # which reads no options in a path, see above
        return
    response = containers.post(containers.request(input_dir="in,ro=false"))

    assert response.status_code == 400
    assert response.json()["errors"][0]["path"] == "$.input_dir"


def test_a_job_killed_from_outside_is_failed_and_says_so(
    containers: Live, native: docker.DockerClient
) -> None:
    request = containers.script("sleep 300")
    containers.submit(request)
    containers.started(request["jid"])

    native.api.kill(request["jid"], "SIGKILL")

    answer = containers.finished(request["jid"])
    assert answer["status"] == "finishedWithError"
    assert "137" in answer["message"]


def test_a_paused_job_is_started(containers: Live, native: docker.DockerClient) -> None:
    request = containers.script("sleep 300")
    containers.submit(request)
    containers.started(request["jid"])
    native.api.pause(request["jid"])

    try:
        answer = until(
            lambda: found if (found := containers.status(request["jid"]))["message"] == "paused" else None
        )
        assert answer["status"] == "started"
    finally:
        native.api.unpause(request["jid"])
