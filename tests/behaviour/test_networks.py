"""What jobs reach: not pman, not each other, and what the site lets them."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from pman.errors import ConfigError
from pman.executors.docker.api import Api, docker_api, podman_address
from pman.executors.docker.network import BRIDGE, LABEL, PODMAN_BRIDGE, SWARM_BRIDGE, Network
from pman.job import JID_LABEL
from tests import engines
from tests.a_job import settings_of
from tests.live import Live, live, refused_start, until

SERVE = "mkdir -p /tmp/www; echo reached > /tmp/www/index.html; httpd -f -p 5010 -h /tmp/www"

ASK = """
import os, urllib.request
for address in os.environ["ADDRESSES"].split():
    try:
        print(address, urllib.request.urlopen(f"http://{address}/", timeout=3).read().decode().strip())
    except OSError as error:
        print(address, error)
"""
"""A line for each address, with `reached` where something listens that can be reached."""


def asked(running: Live, *addresses: str) -> dict[str, str]:
    """What a job gets from each of these addresses; by Python, since a static busybox knows no names."""
    env = [f"ADDRESSES={' '.join(addresses)}"]
    request = running.request(image=engines.PLUGIN, entrypoint=["python3", "-c", ASK], env=env)
    answer = running.run(request)
    assert answer["status"] == "finishedSuccessfully", answer
    told = dict(line.partition(" ")[::2] for line in answer["logs"].splitlines())
    assert told.keys() == set(addresses)
    return told


@contextmanager
def listening(native: Any, image: str, **options: Any) -> Iterator[Container]:
    """A container that answers on 5010, as pman does in its own."""
    container = native.containers.run(
        image, ["sh", "-c", SERVE], name=f"pman-test-{uuid.uuid4().hex[:8]}", detach=True, **options
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def address(container: Container) -> str:
    """Its address in its network."""

    def told() -> str:
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        return next((network["IPAddress"] for network in networks.values()), "")

    return until(told)


@contextmanager
def host_listening(on: str) -> Iterator[int]:
    """The port of a server of this machine, as a pman that runs beside the engine."""

    class Reached(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"reached")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer((on, 0), Reached) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@pytest.fixture(params=["docker", "podman", "swarm"])
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    return engines.need(request.param)


@pytest.fixture
def running(engine: engines.Engine, pmans: Any) -> Live:
    running: Live = pmans(engine.name)
    return running


@pytest.fixture
def native(engine: engines.Engine) -> docker.DockerClient:
    """The engine from outside; where it filters no packets, nothing can be shown."""
    assert engine.native is not None
    if engine.name == "podman":
        pytest.skip("Podman keeps networks apart by isolate=strict, with a firewall and from 4.7 on")
    if not _filters(engine.native, engine.image):
        pytest.skip("this engine keeps no two containers apart: its daemon runs without iptables")
    return engine.native


def _filters(native: docker.DockerClient, image: str) -> bool:
    """Tells whether a container is kept from another one of a network without traffic between them."""
    options = {"com.docker.network.bridge.enable_icc": "false"}
    network = native.networks.create(f"pman-test-{uuid.uuid4().hex[:8]}", driver="bridge", options=options)
    try:
        with listening(native, image, network=network.name) as other:
            where = address(other)
            until(lambda: other.exec_run(["wget", "-q", "-O", "-", f"http://{where}:5010/"]).exit_code == 0)
            look = f"echo | nc -w 3 {where} 5010 >/dev/null && echo reached || true"
            told: bytes = native.containers.run(image, ["sh", "-c", look], network=network.name, remove=True)
        return b"reached" not in told
    finally:
        network.remove()


def test_a_job_does_not_reach_pmans_container_by_its_address_or_name(
    running: Live, native: docker.DockerClient
) -> None:
    with listening(native, running.engine.image) as pman:
        where = address(pman)

        told = asked(running, f"{where}:5010", f"{pman.name}:5010", f"{str(pman.id)[:12]}:5010")

    assert all("reached" not in answer for answer in told.values()), told


def test_a_job_does_not_reach_another_job(running: Live, native: docker.DockerClient) -> None:
    if running.engine.name != "docker":
        return  # a swarm hands no option of a bridge to its nodes, Podman has none: see docs/security.md
    request = running.script(f"hostname -i > $out/where; {SERVE}")
    running.submit(request)
    file = running.output(request, "where")
    until(lambda: file.exists() and file.read_text().strip())
    where = file.read_text().strip()

    assert "reached" not in asked(running, f"{where}:5010", f"{request['jid']}:5010").values()

    running.delete(request["jid"])


def test_a_job_reaches_what_its_host_publishes_and_nothing_on_loopback(
    running: Live, native: docker.DockerClient
) -> None:
    """As a plugin calls the platform; and as it would call a pman that is published to everybody."""
    gateway = running.run(running.script("ip route | grep default | cut -d ' ' -f 3"))["logs"].strip()
    with host_listening("0.0.0.0") as open_to_all, host_listening("127.0.0.1") as closed:
        told = asked(running, f"{gateway}:{open_to_all}", f"{gateway}:{closed}", f"127.0.0.1:{closed}")

    assert ["reached" in answer for answer in told.values()] == [True, False, False], told


def test_a_network_that_is_not_there_stops_the_start(engine: engines.Engine, running: Live) -> None:
    told = refused_start({**running.environment(), "JOB_NETWORK": "no-such-network"})

    assert "JOB_NETWORK='no-such-network'" in told
    assert "no such network" in told


def test_a_job_is_in_the_network_that_the_site_names(engine: engines.Engine, running: Live) -> None:
    native: Any = engine.native
    name = f"pman-test-{uuid.uuid4().hex[:8]}"
    scope = {"scope": "swarm"} if engine.name == "swarm" else {}
    network = native.networks.create(name, driver="bridge", **scope)
    try:
        with live(engine, running.storebase, JOB_NETWORK=name) as own:
            request = own.script("sleep 3000")
            own.submit(request)
            own.started(request["jid"])
            (container,) = native.containers.list(filters={"label": f"{JID_LABEL}={request['jid']}"})
            own.delete(request["jid"])
    finally:
        until(lambda: _removed(network))

    assert list(container.attrs["NetworkSettings"]["Networks"]) == [name]


def _removed(network: Any) -> bool:
    try:
        network.remove()
    except docker.errors.APIError:
        return False  # a service that was deleted has tasks for a while
    return True


# --- the network that pman makes -------------------------------------------------------------------

OWN = {"docker": BRIDGE, "podman": PODMAN_BRIDGE, "swarm": SWARM_BRIDGE}


@pytest.fixture
async def api(engine: engines.Engine) -> AsyncIterator[Api]:
    async with connected(engine) as api:
        yield api


@asynccontextmanager
async def connected(engine: engines.Engine) -> AsyncIterator[Api]:
    settings = settings_of(engine.name, **engine.environment).values
    if engine.name == "podman":
        api = Api("Podman", *podman_address(settings), settings["ENGINE_TIMEOUT"])
    else:
        api = docker_api(settings)
    try:
        yield api
    finally:
        await api.close()


async def test_pmans_that_start_at_once_make_one_network_and_make_it_again_where_it_is_removed(
    engine: engines.Engine, api: Api
) -> None:
    own = replace(OWN[engine.name], name=f"pman-test-{uuid.uuid4().hex[:8]}")
    networks = [Network(api, {"JOB_NETWORK": own.name}, own) for _ in range(10)]

    async def made() -> list[Any]:
        found = await api.json("/networks", {"filters": json.dumps({"name": [own.name]})})
        return list(found)

    try:
        await asyncio.gather(*(network.ensure() for network in networks))
        (network,) = await made()
        assert LABEL in network["Labels"]
        await api.call("DELETE", f"/networks/{network['Id']}")

        async def missing() -> tuple[int, bytes]:
            there = await made()
            message = {"message": f"network {own.name} not found"}
            return (204, b"") if there else (404, json.dumps(message).encode())

        assert await networks[0].needed(missing) == (204, b"")
        assert len(await made()) == 1
    finally:
        for network in await made():
            await api.call("DELETE", f"/networks/{network['Id']}")


async def test_a_job_starts_though_its_network_was_removed_meanwhile(
    api: Api, engine: engines.Engine
) -> None:
    """By the words of the engine itself."""
    if engine.name != "docker":
        return  # a swarm's networks stay for as long as a service is in them; Podman refuses to create
    own = replace(OWN[engine.name], name=f"pman-test-{uuid.uuid4().hex[:8]}")
    network = Network(api, {"JOB_NETWORK": own.name}, own)
    body = {"Image": engine.image, "Cmd": ["true"], "HostConfig": {"NetworkMode": own.name}}
    status, answer = await api.call("POST", "/containers/create", json=body)
    assert status == 201
    container = json.loads(answer)["Id"]
    try:
        status, _ = await network.needed(partial(api.call, "POST", f"/containers/{container}/start"))
        assert status == 204
    finally:
        await api.call("DELETE", f"/containers/{container}", {"force": "1"})
        await api.call("DELETE", f"/networks/{own.name}")


async def test_a_network_of_that_name_that_is_not_pmans_stops_the_start(
    api: Api, engine: engines.Engine
) -> None:
    name = f"pman-test-{uuid.uuid4().hex[:8]}"
    native: Any = engine.native
    scope = {"scope": "swarm"} if engine.name == "swarm" else {}
    stranger = native.networks.create(name, driver="bridge", **scope)
    try:
        own = replace(OWN[engine.name], name=name)
        with pytest.raises(ConfigError, match="pman has not made"):
            await Network(api, {"JOB_NETWORK": name}, own).ensure()
    finally:
        stranger.remove()


async def test_a_network_of_that_name_that_keeps_nothing_apart_stops_the_start(
    api: Api, engine: engines.Engine
) -> None:
    own = replace(OWN[engine.name], name=f"pman-test-{uuid.uuid4().hex[:8]}")
    if engine.name != "docker":
        return  # a swarm hands no options on, and Podman 4.3 may not tell them
    body = {"Name": own.name, "Driver": "bridge", "Labels": {LABEL: "jobs"}}
    status, _ = await api.call("POST", "/networks/create", json=body)
    assert status == 201
    try:
        with pytest.raises(ConfigError, match="does not keep jobs apart"):
            await Network(api, {"JOB_NETWORK": own.name}, own).ensure()
    finally:
        await api.call("DELETE", f"/networks/{own.name}")


async def test_a_network_that_no_job_can_be_in_stops_the_start(engine: engines.Engine, api: Api) -> None:
    name = f"pman-test-{uuid.uuid4().hex[:8]}"
    status, answer = await api.call("POST", "/networks/create", json={"Name": name, "Driver": "bridge"})
    assert status == 201
    unfit = {
        "docker": [json.loads(answer)["Id"][:4]],  # the engine would take the beginning of an id
        "podman": [json.loads(answer)["Id"][:4], "bridge"],  # of Docker's API only
        "swarm": [name, "ingress"],
    }
    try:
        for each in unfit[engine.name]:
            with pytest.raises(ConfigError, match="JOB_NETWORK"):
                await Network(api, {"JOB_NETWORK": each}, OWN[engine.name]).ensure()
    finally:
        await api.call("DELETE", f"/networks/{name}")


def test_a_pman_for_docker_makes_no_network_on_podman(tmp_path: Path) -> None:
    engine = engines.need("podman")
    native: Any = engine.native
    before = {network.id for network in native.networks.list()}
    environ = {"CONTAINER_ENV": "docker", "STORAGE_TYPE": "host", "STOREBASE": str(tmp_path)}

    told = refused_start({**environ, "DOCKER_HOST": engine.address, "JOB_NETWORK": "no-such-network"})

    assert "this engine is Podman" in told
    assert {network.id for network in native.networks.list()} == before
