"""Pulls, one at a time for each image, with the registry credentials of this machine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping

import docker.auth
import docker.utils
from docker.errors import DockerException

from pman.errors import EngineRefused, EngineUnreachable
from pman.executors.docker.api import Api, words

log = logging.getLogger(__name__)

RETRY_INTERVAL_SECONDS = 5
"""Seconds after which an engine that went away during a pull is asked again."""


class Images:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._pulls: dict[str, asyncio.Task[None]] = {}

    async def pull(self, image: str) -> None:
        """Until the engine has it or says no, whatever the number of jobs that wait. Raises EngineRefused."""
        if image not in self._pulls:
            self._pulls[image] = task = asyncio.create_task(self._until_answered(image))
            task.add_done_callback(lambda _: self._pulls.pop(image, None))
        await asyncio.shield(self._pulls[image])

    async def close(self) -> None:
        pulls = list(self._pulls.values())
        for task in pulls:
            task.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)

    async def _until_answered(self, image: str) -> None:
        while True:
            try:
                return await self._once(image)
            except EngineUnreachable as error:
                log.warning("pull of %s interrupted: %s", image, error)
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)

    async def _once(self, image: str) -> None:
        repository, tag = docker.utils.parse_repository_tag(image)
        query = {"fromImage": repository, "tag": tag or "latest"}
        headers = await asyncio.to_thread(registry_auth, repository)
        async with self._api.request(
            "POST", "/images/create", query, headers=headers, stream=True, endless=True
        ) as response:
            if response.status != 200:
                raise EngineRefused("pull", response.status, words(await response.read()))
            async for line in response.content:
                if line.strip() and (error := json.loads(line).get("error")):
                    raise EngineRefused("pull", response.status, str(error))


def registry_auth(repository: str) -> Mapping[str, str]:
    """From the docker client's configuration; may run a credential helper, so not on the event loop."""
    registry, _ = docker.auth.resolve_repository_name(repository)
    try:
        found = docker.auth.load_config().resolve_authconfig(registry)
    except DockerException as error:  # a credential helper that is configured and not installed
        log.warning("no credentials for %s: %s; pulling without", registry, error)
        return {}
    return {"X-Registry-Auth": docker.auth.encode_header(found).decode()} if found else {}
