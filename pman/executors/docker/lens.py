"""A lens: a container that is never started, through which pman sees a storebase that it does not mount.

The engine tells, for a path in a container, whether it is a directory or a link (HEAD .../archive, 2 ms with
20.10 and 28.5); a link in the middle is followed, so each directory on the way is asked for. The container is
made when it is missing, of an image without any file, mounts the storebase read-only, and runs nothing.
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
from pman.job import LABEL_PREFIX

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
        self._name = f"pman-lens-{hashlib.sha256(source.encode()).hexdigest()[:12]}"

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

    async def _modes(self, paths: Sequence[str]) -> Mapping[str, int]:
        """The mode of each path; 0 for one that is not there."""
        modes = await asyncio.gather(*map(self._mode, paths))
        if 0 in modes and not await self._mode(""):  # it is the lens that is not there
            await self._make()
            modes = await asyncio.gather(*map(self._mode, paths))
        return dict(zip(paths, modes, strict=True))

    async def _mode(self, path: str) -> int:
        address, query = f"/containers/{self._name}/archive", {"path": f"{_TARGET}/{path}".rstrip("/")}
        async with self._api.request("HEAD", address, query) as response:
            if response.status == 404:
                return 0
            if response.status != 200:  # HEAD has no words
                raise EngineRefused(
                    "mount", response.status, f"the engine does not show {path!r} in the storebase"
                )
            stat = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
        return int(stat["mode"])

    async def _make(self) -> None:
        """Make it where it is not there. Raises EngineRefused."""
        body = {
            "Image": await self._image(),
            "Cmd": ["none"],
            "Labels": self._label,
            "HostConfig": {"NetworkMode": "none", "Mounts": [self._mount]},
        }
        status, answer = await self._api.create("/containers/create", query={"name": self._name}, json=body)
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
