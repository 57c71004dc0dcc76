"""Pulls, one at a time for each image, with the registry credentials of this machine."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping

import docker.auth
import docker.utils
from docker.errors import DockerException

from pman.errors import EngineRefused
from pman.executors.docker.api import Api, words
from pman.executors.shared.tasks import SingleFlight, until_reachable

log = logging.getLogger(__name__)

RETRY_INTERVAL_SECONDS = 5
"""An engine that went away during a pull is asked again after so long."""


class Images:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._pulls = SingleFlight[str, None]()

    async def pull(self, image: str) -> None:
        """Returns when the engine has it, however many jobs wait for it. Raises EngineRefused."""
        waits = f"pull of {image} interrupted"
        await self._pulls.run(
            image, lambda: until_reachable(lambda: self._pull(image), RETRY_INTERVAL_SECONDS, waits)
        )

    async def close(self) -> None:
        await self._pulls.close()

    async def _pull(self, image: str) -> None:
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
    """Reads the docker client's configuration; may run a credential helper, so not on the event loop."""
    registry, _ = docker.auth.resolve_repository_name(repository)
    try:
        credentials = docker.auth.load_config().resolve_authconfig(registry)
    except DockerException as error:  # a credential helper that is configured and not installed
        log.warning("no credentials for %s: %s; pulling without", registry, error)
        return {}
    return {"X-Registry-Auth": docker.auth.encode_header(credentials).decode()} if credentials else {}
