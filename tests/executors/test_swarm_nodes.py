"""Which nodes of a swarm may be given a sub-path: an older engine mounts the whole volume instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pman import executors
from pman.errors import EngineRefused, EngineUnreachable
from pman.executors import Executor
from pman.job import Document
from tests.a_job import settings_of

NEW = {"ID": "n1", "Description": {"Hostname": "one", "Engine": {"EngineVersion": "26.1.5"}}}
OLDER = {"ID": "n2", "Description": {"Hostname": "two", "Engine": {"EngineVersion": "20.10.24+dfsg1"}}}
UNDESCRIBED = {"ID": "n3", "Status": {"State": "unknown"}}

SERVICE = Document("service.yaml", "", {"TaskTemplate": {"ContainerSpec": {"Image": "a"}}})


class Manager:
    """The answers of a Docker 26 that manages a swarm."""

    def __init__(self) -> None:
        self.nodes: Any = [NEW]
        self.created: list[Any] = []
        self.manages = True

    async def answer(self, request: web.Request) -> web.Response:
        path = "/" + request.path.rpartition("/")[2]
        if path == "/create":
            self.created.append(await request.json())
        if path == "/nodes" and not isinstance(self.nodes, list):
            return web.json_response({"message": "no leader"}, status=self.nodes)
        version = {"Version": "26.1.5", "ApiVersion": "1.45", "MinAPIVersion": "1.24"}
        info = {"Swarm": {"ControlAvailable": self.manages}}
        return web.json_response({"/version": version, "/info": info, "/nodes": self.nodes}.get(path, {}))


@pytest.fixture
def manager() -> Manager:
    return Manager()


@pytest.fixture
async def executor(manager: Manager, tmp_path: Path) -> AsyncIterator[Executor]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", manager.answer)
    async with TestServer(app) as server:
        address = f"tcp://{server.host}:{server.port}"
        site = {"STORAGE_TYPE": "host", "STOREBASE": str(tmp_path), "JOB_NETWORK": "host"}
        settings = settings_of("swarm", DOCKER_HOST=address, **site)
        connected = executors.connect("swarm", settings.values)
        yield connected
        await executors.close(connected)


async def test_where_all_nodes_are_new_directories_are_sub_paths(
    manager: Manager, executor: Executor
) -> None:
    assert (await executor.facts())["storebase_volume"]

    await executor.apply("a", [SERVICE])

    assert manager.created


@pytest.mark.parametrize(
    ("node", "name"), [(OLDER, "two (Docker 20.10"), (UNDESCRIBED, "n3 (Docker of no known version")]
)
async def test_a_node_that_is_older_or_does_not_say_what_it_is_has_all_mounted_by_path(
    manager: Manager, executor: Executor, node: Any, name: str
) -> None:
    manager.nodes = [NEW, node]

    facts = await executor.facts()

    assert facts["storebase_volume"] is None
    assert name in facts["warnings"][0]


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_manager_that_does_not_tell_its_nodes_is_not_taken_for_new(
    manager: Manager, executor: Executor, status: int
) -> None:
    manager.nodes = status

    with pytest.raises(EngineUnreachable, match="no leader"):
        await executor.facts()


async def test_what_manages_no_swarm_is_left_to_the_checks_of_the_rules(
    manager: Manager, executor: Executor
) -> None:
    manager.nodes, manager.manages = 503, False

    assert (await executor.facts())["native"]["Swarm"] == {"ControlAvailable": False}


async def test_after_an_older_node_has_joined_no_job_is_given_a_sub_path(
    manager: Manager, executor: Executor
) -> None:
    await executor.facts()

    for nodes, error in (
        ([NEW, OLDER], EngineRefused),
        ([NEW, UNDESCRIBED], EngineRefused),
        (503, EngineUnreachable),
    ):
        manager.nodes = nodes
        with pytest.raises(error):
            await executor.apply("a", [SERVICE])

    assert not manager.created
