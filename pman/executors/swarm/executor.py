"""The protocol of an executor over a swarm's manager: a job is one service, by the job's name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from pman.errors import EngineRefused, UnknownJob
from pman.executors.docker.api import Api, docker_api
from pman.executors.docker.guard import Directories, Guard, refusal, rivals
from pman.executors.docker.lens import NoStorebaseError
from pman.executors.docker.network import SWARM_BRIDGE, Network
from pman.executors.docker.storebase import by_path, facts, find
from pman.executors.shared.tasks import Attempts
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
"""So long a removal waits for the processes of a job, on a node that may be gone."""

REMOVAL_INTERVAL_SECONDS = 0.1
"""Between two looks whether they have ended."""

LOG_LINES, LOG_BYTES = 1000, 64 * 2**10
"""The end of the log of a job that pman ends; a label is part of every answer about its service."""

SIGKILL_EXIT_CODE = 137
"""Exit code of what was ended by SIGKILL, by the kernel for want of memory among others."""


def connect(settings: Mapping[str, Any]) -> SwarmExecutor:
    return SwarmExecutor(docker_api(settings), settings)


class SwarmExecutor:
    """See Executor for what each call means."""

    def __init__(self, api: Api, settings: Mapping[str, Any]) -> None:
        self._api = api
        self._settings = settings
        self._network = Network(api, settings, SWARM_BRIDGE)
        self._services = Services(api, self._network)
        self._logs = Logs(api, self._services)
        self._guard: Guard | None = None
        self._mounts_subpaths = False
        """Every node of the swarm could do so at the start; one may join that cannot."""

        self._applying: dict[str, Directories] = {}
        """The jobs that are on their way to the swarm."""

    async def facts(self) -> Mapping[str, Any]:
        storebase = await find(self._api, self._settings)
        self._guard = Guard(self._api, storebase)
        stated = await facts(self._api, storebase)
        # Where it is no manager, the checks of the rules say so.
        is_manager = (stated["native"].get("Swarm") or {}).get("ControlAvailable")
        if is_manager:
            await self._network.ensure()
        mounts_subpaths = bool(stated["storebase_volume"] and is_manager)
        older = await self._services.nodes_without_subpaths() if mounts_subpaths else []
        if older:
            return {
                **stated,
                "storebase_volume": None,
                **by_path(f"the node {', '.join(older)} of the swarm"),
            }
        self._mounts_subpaths = mounts_subpaths
        return stated

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        (document,) = documents
        body = cast(Mapping[str, Any], document.content)
        if self._guard and (own := Directories.of(body.get("Labels"))):
            self._applying[jid] = own
            try:
                await self._look(self._guard, own)
                await self._services.create(body)
            finally:
                self._applying.pop(jid, None)  # two may submit the same
        else:
            if self._guard:
                log.warning("the labels of %s do not tell its directories, so nobody looks at them", jid)
            await self._look_at_nodes()
            await self._services.create(body)
        return {"service": {"Spec": body}, "tasks": [], "containers": {}, "lost": []}

    async def _look(self, guard: Guard, own: Directories) -> None:
        """Raises EngineRefused where it may not be given its directories; see guard.py for why so.

        A service may start as soon as it is there, so whoever is not to begin before it is refused as well.
        """
        services, tasks, _ = await asyncio.gather(
            self._services.all(OPEN_LABEL), self._services.ending(), self._look_at_nodes()
        )
        for rival in rivals(own, ((other, False) for other in self._applying.values())):
            raise refusal(own, rival)
        ending = (Directories.of(task["Spec"]["ContainerSpec"].get("Labels")) for task in tasks)
        for rival in rivals(own, ((other, True) for other in ending)):
            raise refusal(own, rival)
        for rival in rivals(own, ((Directories.of(one["Spec"]["Labels"]), False) for one in services)):
            if await self._may_run(rival.jid):
                raise refusal(own, rival)
        try:
            await guard.check(own)
        except NoStorebaseError as error:
            log.warning("%s: %s; so nobody looks for links on the way to its directories", own.jid, error)

    async def _look_at_nodes(self) -> None:
        """Raises EngineRefused where one has joined that takes a sub-path for the whole volume."""
        if self._mounts_subpaths and (older := await self._services.nodes_without_subpaths()):
            message = f"the node {', '.join(older)} would mount the whole storebase; it needs Docker 26"
            raise EngineRefused("mount", 500, f"{message}, or pman a restart, to mount by path")

    async def _may_run(self, jid: str) -> bool:
        """Tell whether a task of it is there, or is still to come."""
        service = await self._services.find(jid)
        tasks = await self._services.tasks(service) if service else []
        to_come = service is not None and not is_closed(service) and not tasks
        return to_come or not all(map(is_over, tasks))

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        """The service with its tasks; an end only once it is certain that the swarm does not change it."""
        service = await self._service(jid)
        if ended := recorded(service):
            return {"service": service, "lost": [], **ended}
        tasks = await self._services.tasks(service)
        killed = [task for task in tasks if _was_killed(task)]
        containers = await asyncio.gather(*map(self._services.container, killed))
        inspections = {task["ID"]: one for task, one in zip(killed, containers, strict=True) if one}
        lost = [] if is_closed(service) else await self._services.lost(firsts(tasks))
        closed = has_ended(service, tasks, lost) and await self._close(
            service, record(tasks, inspections, lost)
        )
        # What is lost may come back and go on, unless the service is closed and keeps that it was lost.
        return {"service": service, "tasks": tasks, "containers": inspections, "lost": lost if closed else []}

    def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        return self._logs.follow(jid, tail) if follow else self._logs.read(jid, tail)

    async def remove(self, jid: str) -> None:
        service = await self._services.find(jid)
        living = await self._services.living(jid)
        if service is None and not living:
            raise UnknownJob(jid)
        tasks = await self._services.tasks(service) if service else []
        if service and (living or not tasks):
            # Still marked as open, so that whoever submits a job meanwhile looks for its tasks.
            await self._services.close(service, {OPEN_LABEL: "yes"})
        async for _ in Attempts(REMOVAL_INTERVAL_SECONDS, within=REMOVAL_TIMEOUT_SECONDS):
            if not living:
                break
            living = await self._services.living(jid)
        if living:
            log.warning("%s: removed, though its tasks do not end: %s", jid, ", ".join(map(_state, living)))
        if service:
            await self._services.delete(service)
        # Docker 20.10 forgets the tasks of a deleted job, and their containers, at its next start only.
        await asyncio.gather(*map(self._services.forget, tasks))

    async def active(self) -> Sequence[str]:
        """Has those that have ended, too, until an inspection has closed them."""
        services = await self._services.all(OPEN_LABEL)
        return sorted(service["Spec"]["Name"] for service in services if not is_closed(service))

    async def end(self, jid: str, reason: str) -> None:
        """The swarm removes the tasks that it ends; the end of the log is kept in a label."""
        if await self._running(jid) is None:
            return
        end = b"".join([chunk async for chunk in self._logs.read(jid, LOG_LINES)])[-LOG_BYTES:]
        text = end.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        if service := await self._running(jid):  # it may have ended while its log was read
            await self._services.close(service, {REASON_LABEL: reason, LOG_LABEL: text})

    async def list(self) -> Sequence[str]:
        return sorted(service["Spec"]["Name"] for service in await self._services.all())

    async def ping(self) -> str:
        return f"Docker Swarm {await self._api.version()}"

    async def close(self) -> None:
        await self._api.close()

    async def _close(self, service: Service, labels: Mapping[str, str]) -> bool:
        """Close it; whether it has these labels then, if there are any."""
        try:
            await self._services.close(service, labels)
        except EngineRefused as refused:
            log.warning("%s has ended and could not be closed: %s", service["Spec"]["Name"], refused)
            return False
        return bool(labels)

    async def _running(self, jid: str) -> Service | None:
        """The service, unless its tasks have ended or it is closed. Raises UnknownJob."""
        service = await self._service(jid)
        tasks = await self._services.tasks(service)
        ended = is_closed(service) or (tasks and all(map(is_over, tasks)))
        return None if ended else service

    async def _service(self, jid: str) -> Service:
        service = await self._services.find(jid)
        if service is None:
            raise UnknownJob(jid)
        return service


def _state(task: Task) -> str:
    return f"{task['ID']} on {task.get('NodeID') or 'no node'}, {task['Status']['State']}"


def _was_killed(task: Task) -> bool:
    status = task["Status"]
    return (
        status["State"] == "failed"
        and (status.get("ContainerStatus") or {}).get("ExitCode") == SIGKILL_EXIT_CODE
    )
