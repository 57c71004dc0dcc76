"""A lens: a container that is never started, through which pman sees a storebase that it does not mount.

The engine tells, for a path in a container, whether it is a directory or a link (HEAD .../archive, 2 ms with
20.10 and 28.5); a link in the middle is followed, so each directory on the way is asked for. The container is
made when it is missing, of an image without any file, mounts the storebase read-only, and runs nothing.

Podman tells of what a link leads to within the storebase, and not that it is one (4.3): of one to /home, of
the storebase's own home, where it has one. But of a container that is not started it tells of what it would
mount. So a link that leads out is found by comparing the two; one within the storebase is not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from pman.errors import EngineRefused
from pman.executors.docker.api import Api, words
from pman.executors.docker.storebase import Storebase
from pman.executors.shared.directories import IS_LINK, IS_MISSING, ways
from pman.executors.shared.tasks import Attempts
from pman.job import LABEL_PREFIX

PREFIX = "pman-lens-"
"""Its name begins so, and that of no job may: the job's files would be shown in place of the storebase."""

VISIBLE_INTERVAL_SECONDS, VISIBLE_TIMEOUT_SECONDS = 0.05, 5.0
"""For so long is looked for the one of somebody who was quicker."""

COMPARE_INTERVAL_SECONDS, COMPARE_ATTEMPTS = 0.05, 5
"""A comparison is repeated, since a file that is written there may change one side in between."""

_LABEL = f"{LABEL_PREFIX}lens"
_TARGET = "/storebase"
_DIRECTORY, _LINK = 1 << 31, 1 << 27
"""Bits of Go's os.FileMode."""


class NoStorebaseError(EngineRefused):
    """The engine does not have the directory; other nodes of a swarm may."""


class Lens:
    def __init__(self, api: Api, storebase: Storebase) -> None:
        self._api = api
        kind, source = ("volume", storebase.volume) if storebase.volume else ("bind", storebase.path)
        self._mount = {"Type": kind, "Source": source, "Target": _TARGET, "ReadOnly": True}
        self._label = {_LABEL: source}
        self.name = f"{PREFIX}{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        self._identity = ""
        """Its id, once it is certain that what has its name is a lens."""

    async def fault(self, directories: Sequence[str]) -> str:
        """Say what is wrong with one of these directories of the storebase; '' where nothing is.

        Raises EngineRefused.
        """
        modes = await self._modes(list(dict.fromkeys(ways(directories))))
        for directory in directories:
            for mode in (modes[each] for each in ways([directory])):
                if mode & _LINK:
                    return IS_LINK.format(directory)
                if not mode & _DIRECTORY:
                    return IS_MISSING.format(directory)
        return ""

    async def elsewhere(self, container: str, places: Mapping[str, str]) -> str:
        """Say which directory a container that is not started would not have at its place; '' for none.

        `places`: where in the container, by directory of the storebase.
        """
        async for _ in Attempts(COMPARE_INTERVAL_SECONDS, within=0, at_least=COMPARE_ATTEMPTS):
            wanted = await asyncio.gather(*map(self._stat, places))
            given = await asyncio.gather(*(self._stat(place, container) for place in places.values()))
            other = [name for name, one, two in zip(places, wanted, given, strict=True) if one != two]
            if not other:
                return ""
        return IS_LINK.format(other[0])

    async def _modes(self, paths: Sequence[str]) -> Mapping[str, int]:
        """The mode of each path; 0 for one that is not there."""
        if not self._identity:
            self._identity = await self._there()
        modes = await asyncio.gather(*map(self._mode, paths))
        if 0 in modes and not await self._mode(""):  # it is the lens that is not there
            self._identity = await self._there()
            modes = await asyncio.gather(*map(self._mode, paths))
        return dict(zip(paths, modes, strict=True))

    async def _mode(self, path: str) -> int:
        stat = await self._stat(path)
        return stat[0] if stat else 0

    async def _stat(self, path: str, container: str = "") -> tuple[int, int, str] | None:
        """Mode, size and time of change of a path in the storebase, or in another container."""
        if not container:
            container, path = self._identity, f"{_TARGET}/{path}".rstrip("/")
        async with self._api.request("HEAD", f"/containers/{container}/archive", {"path": path}) as response:
            if response.status == 404:
                return None
            if response.status != 200:  # HEAD has no words
                raise EngineRefused("mount", response.status, f"the engine does not show {path!r}")
            stat = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
        return int(stat["mode"]), int(stat["size"]), str(stat["mtime"])

    async def _there(self) -> str:
        """The id of the one that is there, or of a new one. Raises EngineRefused."""
        path, failure = f"/containers/{self.name}/json", f"{self._api.kind} cannot tell of the lens"
        container = await self._api.find(path, failure)
        if container is None:
            await self._make()
            async for _ in Attempts(VISIBLE_INTERVAL_SECONDS, within=VISIBLE_TIMEOUT_SECONDS):
                if container := await self._api.find(path, failure):
                    break
        if container is None or not self._label.items() <= (container["Config"]["Labels"] or {}).items():
            raise EngineRefused("mount", 409, f"the container {self.name} is no lens of pman's; delete it")
        return str(container["Id"])

    async def _make(self) -> None:
        """Make it where nobody has. Raises EngineRefused."""
        body = {
            "Image": await self._image(),
            "Cmd": ["none"],
            "Labels": self._label,
            "HostConfig": {"NetworkMode": "none", "Mounts": [self._mount]},
        }
        status, answer = await self._api.create("/containers/create", query={"name": self.name}, json=body)
        if status not in (201, 409):
            message = words(answer)
            refused = NoStorebaseError if "bind source path does not exist" in message else EngineRefused
            raise refused("mount", status, f"pman cannot look into the storebase: {message}")

    async def _image(self) -> str:
        """The id of an image without any file, which the engine makes, or has."""
        archive = io.BytesIO()
        tarfile.open(fileobj=archive, mode="w").close()
        query = {"fromSrc": "-", "repo": "pman-lens", "tag": "latest"}
        status, answer = await self._api.call(
            "POST",
            "/images/create",
            query,
            data=archive.getvalue(),
            headers={"Content-Type": "application/x-tar"},
        )
        if status != 200:
            raise EngineRefused("mount", status, f"pman cannot look into the storebase: {words(answer)}")
        last: Mapping[str, Any] = json.loads(answer.splitlines()[-1])
        return str(last["status"])
