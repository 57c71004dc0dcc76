"""The protocol of an executor over a swarm's manager: a job is one service, by the job's name."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from pman.errors import EngineRefused, UnknownJob
from pman.executors.docker.api import Api, docker_address
from pman.executors.docker.storebase import storebase
from pman.executors.swarm.logs import LOG_LABEL, Logs
from pman.executors.swarm.services import (
    OPEN_LABEL,
    Service,
    Services,
    Task,
    firsts,
    has_ended,
    is_closed,
    is_over,
    record,
    recorded,
)
from pman.job import REASON_LABEL, Document

log = logging.getLogger(__name__)

REMOVAL_TIMEOUT_SECONDS = 20.0
"""Seconds for which a removal waits for the processes of a job, on a node that may be gone."""

LOG_LINES, LOG_BYTES = 1000, 64 * 2**10
"""Of the log of a job that pman ends; a label is part of every answer about its service."""

SIGKILL_EXIT_CODE = 137
"""Exit code of what was ended by SIGKILL, by the kernel for want of memory among others."""


def connect(settings: Mapping[str, Any]) -> SwarmExecutor:
    return SwarmExecutor(Api("Docker", *docker_address(settings), settings["ENGINE_TIMEOUT"]), settings)


class SwarmExecutor:
    """See Executor for what each call means."""

    def __init__(self, api: Api, settings: Mapping[str, Any]) -> None:
        self._api = api
        self._settings = settings
        self._services = Services(api)
        self._logs = Logs(api, self._services)

    async def facts(self) -> Mapping[str, Any]:
        version, info = await asyncio.gather(self._api.json("/version"), self._api.json("/info"))
        native = {**info, "ApiVersion": version["ApiVersion"]}
        return {"storebase": await storebase(self._api, self._settings), "native": native}

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        (document,) = documents
        body = cast(Mapping[str, Any], document.content)
        await self._services.create(body)
        return {"service": {"Spec": body}, "tasks": [], "containers": {}, "lost": []}

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        """Nobody is told of an end before it is certain that the swarm neither repeats nor changes it."""
        service = await self._found(jid)
        if ended := recorded(service):
            return {"service": service, "lost": [], **ended}
        tasks = await self._services.tasks(service)
        killed = [task for task in tasks if _was_killed(task)]
        containers = await asyncio.gather(*map(self._services.container, killed))
        known = {task["ID"]: found for task, found in zip(killed, containers, strict=True) if found}
        lost = [] if is_closed(service) else await self._services.lost(firsts(tasks))
        closed = has_ended(service, tasks, lost) and await self._close(service, record(tasks, known, lost))
        # What is lost may come back and go on, unless the service is closed and keeps that it was lost.
        return {"service": service, "tasks": tasks, "containers": known, "lost": lost if closed else []}

    def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        return self._logs.follow(jid, tail) if follow else self._logs.read(jid, tail)

    async def remove(self, jid: str) -> None:
        service = await self._services.find(jid)
        living = await self._services.living(jid)
        if service is None and not living:
            raise UnknownJob(jid)
        tasks = await self._services.tasks(service) if service else []
        if service and (living or not tasks):
            await self._services.close(service)
        end = time.monotonic() + REMOVAL_TIMEOUT_SECONDS
        while living and time.monotonic() < end:
            await asyncio.sleep(0.1)
            living = await self._services.living(jid)
        if living:
            log.warning("%s: removed, though its tasks do not end: %s", jid, ", ".join(map(_told, living)))
        if service:
            await self._services.delete(service)
        # Docker 20.10 forgets the tasks of a deleted job, and their containers, at its next start only.
        await asyncio.gather(*map(self._services.forget, tasks))

    async def active(self) -> Sequence[str]:
        """Those that have ended, too, until an inspection has closed them."""
        found = await self._services.all(OPEN_LABEL)
        return sorted(item["Spec"]["Name"] for item in found if not is_closed(item))

    async def end(self, jid: str, reason: str) -> None:
        """The swarm removes the tasks that it ends; the end of the log is kept in a label."""
        if await self._going_on(jid) is None:
            return
        said = b"".join([chunk async for chunk in self._logs.read(jid, LOG_LINES)])[-LOG_BYTES:]
        kept = said.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        if service := await self._going_on(jid):  # it may have ended while its log was read
            await self._services.close(service, {REASON_LABEL: reason, LOG_LABEL: kept})

    async def list(self) -> Sequence[str]:
        return sorted(item["Spec"]["Name"] for item in await self._services.all())

    async def ping(self) -> str:
        version = await self._api.json("/version")
        return f"Docker Swarm {version['Version']} (API {version['ApiVersion']})"

    async def close(self) -> None:
        await self._api.close()

    async def _close(self, service: Service, labels: Mapping[str, str]) -> bool:
        """Whether it is closed with these labels, if there are any."""
        try:
            await self._services.close(service, labels)
        except EngineRefused as refused:
            log.warning("%s has ended and could not be closed: %s", service["Spec"]["Name"], refused)
            return False
        return bool(labels)

    async def _going_on(self, jid: str) -> Service | None:
        """The service, unless its tasks have ended or it is closed. Raises UnknownJob."""
        service = await self._found(jid)
        tasks = await self._services.tasks(service)
        ended = is_closed(service) or (tasks and all(map(is_over, tasks)))
        return None if ended else service

    async def _found(self, jid: str) -> Service:
        service = await self._services.find(jid)
        if service is None:
            raise UnknownJob(jid)
        return service


def _told(task: Task) -> str:
    return f"{task['ID']} on {task.get('NodeID') or 'no node'}, {task['Status']['State']}"


def _was_killed(task: Task) -> bool:
    status = task["Status"]
    return (
        status["State"] == "failed"
        and (status.get("ContainerStatus") or {}).get("ExitCode") == SIGKILL_EXIT_CODE
    )
