"""What pman ends is kept, and says why: whether it runs, is paused, or has never begun."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from pman import settings
from pman.errors import UnknownJob
from pman.executors.docker import connect_docker, connect_podman
from pman.executors.docker.executor import DockerExecutor
from pman.job import JID_LABEL, Document, JobInfo
from pman.translation.render import loader
from pman.translation.rules import Rules
from tests import engines

CONNECT = {"docker": connect_docker, "podman": connect_podman}


@dataclass
class Ends:
    engine: engines.Engine
    executor: DockerExecutor
    jid: str

    @property
    def container(self) -> Any:
        assert self.engine.native is not None
        return self.engine.native.containers.get(self.jid)

    def body(self, image: str = "") -> dict[str, Any]:
        image, command, labels = image or self.engine.image, ["sleep", "60"], {JID_LABEL: self.jid}
        if self.engine.name == "podman":
            return {"name": self.jid, "image": image, "command": command, "labels": labels}
        return {"Image": image, "Cmd": command, "Labels": labels}

    async def apply(self) -> None:
        await self.executor.apply(self.jid, [Document("container.yaml", "", self.body())])

    async def info(self) -> JobInfo:
        native = await self.executor.inspect(self.jid, fresh=True)
        return Rules(self.engine.name, loader()).read(self.jid, native)

    async def is_active(self) -> bool:
        return self.jid in await self.executor.active()


@pytest.fixture(params=list(CONNECT))
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    engine = engines.need(request.param)
    given = {"CONTAINER_ENV": engine.name, "STORAGE_TYPE": "host", "STOREBASE": "/", **engine.environment}
    executor = CONNECT[engine.name](settings.load(given, [engine.name]).values)
    jid = f"pman-test-{uuid.uuid4().hex[:12]}"
    yield Ends(engine, executor, jid)
    try:
        await executor.remove(jid)
    except UnknownJob:
        """The test was about just that."""
    await executor.close()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_job_that_runs_is_killed_and_kept(ends: Ends, paused: bool) -> None:
    await ends.apply()
    if paused:
        ends.container.pause()
    assert await ends.is_active()

    await ends.executor.end(ends.jid, "enough")
    ends.container.wait(timeout=20)
    await ends.executor.end(ends.jid, "more than enough")

    assert (await ends.info()).exit_code == 137
    assert not await ends.is_active()


async def test_a_job_that_was_never_started_ends_with_the_reason(ends: Ends) -> None:
    await ends.executor._containers.create(ends.jid, ends.body())
    assert await ends.is_active()

    await ends.executor.end(ends.jid, "too late")
    await ends.executor.end(ends.jid, "much too late")

    info = await ends.info()
    assert (info.status, info.message) == ("finishedWithError", "too late")


async def test_a_job_that_waits_for_its_image_ends_with_the_reason(ends: Ends) -> None:
    assert await ends.executor._markers.hold(ends.jid, ends.body("localhost/not-there:1"))
    assert await ends.is_active()

    await ends.executor.end(ends.jid, "the image took too long")
    await ends.executor.end(ends.jid, "far too long")

    info = await ends.info()
    assert (info.status, info.message) == ("finishedWithError", "the image took too long")
    assert info.timestamp.startswith("20")
    assert not await ends.is_active()


async def test_a_job_that_is_not_there_is_unknown(ends: Ends) -> None:
    with pytest.raises(UnknownJob):
        await ends.executor.end(ends.jid, "enough")
