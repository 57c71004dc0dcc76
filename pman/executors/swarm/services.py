"""Services of pman's, and their tasks.

What swarms do, seen with Docker 20.10.24 and read in swarmkit's manager/orchestrator:
- An update of a service, whatever it says, is a new iteration of its job: the tasks that have not
  ended are removed, with their logs, and those that are wanted run anew (jobs/replicated). So there is
  one update only, to no tasks at all: here that is to close it.
- A manager that starts, or becomes the leader, replaces tasks that failed, whatever the restart policy
  says. Where a node changes, tasks that no longer meet its constraints become `rejected`, those that
  are complete too (constraintenforcer; up to 29.4, moby#52652), and are replaced likewise. Only a closed
  service is safe from it, so it is closed once it has ended, and keeps how its tasks were.
- The tasks of a service that is deleted go on to their end, and later ones are still placed (mended
  after 20.10, swarmkit#3112). So a service is closed first, and deleted once its tasks have ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from pman.errors import EngineRefused, EngineUnreachable, NameTaken
from pman.executors.docker.api import Api, filtered, registry_auth, words
from pman.executors.docker.network import Network
from pman.job import JID_LABEL, LABEL_PREFIX

Service = Mapping[str, Any]
Task = Mapping[str, Any]

ENDED = frozenset(["complete", "shutdown", "failed", "rejected", "remove", "orphaned"])
"""The states from which a task goes nowhere (Docker Engine API, TaskState)."""

NO_TASKS: Mapping[str, Mapping[str, int]] = {"ReplicatedJob": {"MaxConcurrent": 0, "TotalCompletions": 0}}

OPEN_LABEL = f"{LABEL_PREFIX}open"
"""Marks a service that is not closed; a look for those would else bring all that ever ended, 3.5 kB each."""

ENDED_LABEL = f"{LABEL_PREFIX}ended"
"""Keeps how a service's tasks were when the last of them had ended."""

RECORD_BYTES = 2**18
"""The most of that: some thousand tasks. A swarm takes no requests above 4 MiB."""

_RECORDED_FIELDS = ("ID", "Slot", "NodeID", "CreatedAt", "DesiredState", "Status")

SUBPATH_RELEASE = 26
"""The first Docker that mounts sub-paths of volumes (API 1.45)."""

UPDATE_ATTEMPTS = 5
"""A service is closed so often that somebody else changes at the same time."""


class Services:
    def __init__(self, api: Api, network: Network) -> None:
        self._api = api
        self._network = network

    async def create(self, body: Mapping[str, Any]) -> None:
        """Raises NameTaken, EngineRefused."""
        image = str(body["TaskTemplate"]["ContainerSpec"]["Image"])
        headers = await asyncio.to_thread(registry_auth, image)  # the swarm hands it on to its nodes
        create = partial(self._api.create, "/services/create", json=body, headers=headers)
        status, answer = await self._network.needed(create)
        if status == 409:
            raise NameTaken(words(answer))
        self._check("create", status, answer)

    async def find(self, jid: str) -> Service | None:
        """The service of a job; None for what is not pman's."""
        failure = f"the swarm cannot tell the state of {jid}"
        service: Service | None = await self._api.find(f"/services/{quote(jid, safe='')}", failure)
        spec = service["Spec"] if service else {}
        # The engine also finds services by a part of their id.
        return service if spec.get("Name") == jid == (spec.get("Labels") or {}).get(JID_LABEL) else None

    async def tasks(self, service: Service) -> list[Task]:
        """The tasks of the last iteration that has any, by slot, then by age."""
        query = filtered(service=[str(service["ID"])])
        answer = await self._api.find("/tasks", "the swarm cannot tell the tasks of a service", query)
        tasks = sorted(answer or (), key=lambda task: (slot(task), task["CreatedAt"]))  # or deleted since
        last = max(map(_iteration, tasks), default=0)
        return [task for task in tasks if _iteration(task) == last]

    async def lost(self, tasks: Sequence[Task]) -> list[str]:
        """The ids of those that the swarm has given up and whose node does not answer: no end will come."""
        given_up = [task for task in tasks if is_given_up(task)]
        lost = await asyncio.gather(*(self._is_lost(str(task.get("NodeID") or "")) for task in given_up))
        return [str(task["ID"]) for task, is_lost in zip(given_up, lost, strict=True) if is_lost]

    async def _is_lost(self, node: str) -> bool:
        """Tells a node that is down or gone; `unknown` are all of them to a new leader, for a moment."""
        if not node:
            return False  # the task was never anywhere, so the swarm ends it itself
        status, answer = await self._api.call("GET", f"/nodes/{quote(node, safe='')}")
        if status == 200:
            return json.loads(answer)["Status"]["State"] in ("down", "disconnected")
        if status == 503:
            raise EngineUnreachable(f"the swarm cannot tell the state of a node: {words(answer)}")
        return status == 404

    async def is_over(self, identity: str) -> bool:
        """True for a task that has ended, and for one that is not there any more."""
        status, answer = await self._api.call("GET", f"/tasks/{identity}")
        return status == 404 or (status == 200 and is_over(json.loads(answer)))

    async def living(self, jid: str) -> list[Task]:
        """The tasks of a job that have not ended, its service deleted or not."""
        tasks = await self._api.json("/tasks", filtered(label=[f"{JID_LABEL}={jid}"]))
        return [task for task in tasks if not is_over(task)]

    async def ending(self) -> list[Task]:
        """The tasks of all jobs that the swarm ends, and that have not ended; their services are closed."""
        query = filtered(**{"label": [JID_LABEL], "desired-state": ["remove", "shutdown"]})
        return [task for task in await self._api.json("/tasks", query) if not is_over(task)]

    async def close(self, service: Service, labels: Mapping[str, str] | None = None) -> None:
        """End what has not ended, and let nothing run again; the labels are added in the place of OPEN_LABEL.

        Tasks that have ended stay, to be seen, until the service is deleted. Raises EngineRefused.
        """
        current: Service | None = service
        for attempt in range(UPDATE_ATTEMPTS):
            if current is None or is_closed(current):
                return
            spec = {**current["Spec"], "Mode": NO_TASKS}
            own = {name: value for name, value in (spec.get("Labels") or {}).items() if name != OPEN_LABEL}
            spec["Labels"] = {**own, **(labels or {})}
            query = {"version": str(current["Version"]["Index"])}
            status, answer = await self._api.call(
                "POST", f"/services/{current['ID']}/update", query, json=spec
            )
            if status in (200, 404):
                return
            if "out of sequence" not in words(answer) or attempt == UPDATE_ATTEMPTS - 1:
                self._check("update", status, answer)
            current = await self.find(str(service["Spec"]["Name"]))

    async def nodes_without_subpaths(self) -> list[str]:
        """The nodes whose engine may mount the whole volume in the place of a sub-path of it.

        Raises EngineUnreachable.
        """
        return [
            _described(node) for node in await self._api.json("/nodes") if _release(node) < SUBPATH_RELEASE
        ]

    async def delete(self, service: Service) -> None:
        """Raises EngineRefused."""
        status, answer = await self._api.call("DELETE", f"/services/{service['ID']}")
        if status != 404:
            self._check("remove", status, answer)

    async def all(self, label: str = JID_LABEL) -> Sequence[Service]:
        """The services of jobs that have this label, too."""
        services = await self._api.json("/services", filtered(label=[label]))
        return [each for each in services if each["Spec"]["Labels"].get(JID_LABEL) == each["Spec"]["Name"]]

    async def container(self, task: Task) -> Mapping[str, Any] | None:
        """Its inspection, where this engine runs it itself."""
        identity = container_id(task)
        status, answer = await self._api.call("GET", f"/containers/{identity}/json")
        return json.loads(answer) if status == 200 else None

    async def forget(self, task: Task) -> None:
        """Delete the container of a task that has ended, where this engine has it."""
        if identity := container_id(task):
            await self._api.call("DELETE", f"/containers/{identity}", {"v": "1"})

    def _check(self, call: str, status: int, answer: bytes) -> None:
        if status == 503:  # no leader for now, or no manager any more
            raise EngineUnreachable(f"the swarm cannot {call} a service for now: {words(answer)}")
        if status >= 400:
            raise EngineRefused(call, status, words(answer))


def _version(node: Mapping[str, Any]) -> str:
    """'' for one that has not described itself: it has never been connected."""
    return str(((node.get("Description") or {}).get("Engine") or {}).get("EngineVersion") or "")


def _release(node: Mapping[str, Any]) -> int:
    """The first number of its engine's version; 0 for one without any."""
    number = _version(node).partition(".")[0]
    return int(number) if number.isdigit() else 0


def _described(node: Mapping[str, Any]) -> str:
    name = (node.get("Description") or {}).get("Hostname") or node["ID"]
    return f"{name} (Docker {_version(node) or 'of no known version'})"


def slot(task: Task) -> int:
    """The number of the worker, from 0; the API leaves the first one out."""
    return int(task.get("Slot") or 0)


def container_id(task: Task) -> str:
    """'' where there is none yet, or never was."""
    return str((task["Status"].get("ContainerStatus") or {}).get("ContainerID") or "")


def firsts(tasks: Sequence[Task]) -> list[Task]:
    """One for each slot: what comes after it runs it anew, which nobody has asked for."""
    return list({slot(task): task for task in reversed(tasks)}.values())


def wanted(service: Service) -> int:
    """The number of tasks that are to complete; the API leaves 0 out."""
    return int((service["Spec"]["Mode"].get("ReplicatedJob") or {}).get("TotalCompletions") or 0)


def is_closed(service: Service) -> bool:
    return wanted(service) == 0


def is_over(task: Task) -> bool:
    return task["Status"]["State"] in ENDED


def is_given_up(task: Task) -> bool:
    """Its node was drained or lost, or somebody changed the service; it ends, if its node hears of it."""
    return not is_over(task) and task.get("DesiredState") in ("shutdown", "remove")


def has_ended(service: Service, tasks: Sequence[Task], lost: Sequence[str] = ()) -> bool:
    """True once each worker has ended, until somebody has closed the service."""
    workers = firsts(tasks)
    ended = all(is_over(task) or task["ID"] in lost for task in workers)
    return not is_closed(service) and len(workers) >= wanted(service) and ended


def record(
    tasks: Sequence[Task], containers: Mapping[str, Mapping[str, Any]], lost: Sequence[str] = ()
) -> dict[str, str]:
    """The label that keeps them; none where they are too many."""
    fields = [{name: task[name] for name in _RECORDED_FIELDS if name in task} for task in firsts(tasks)]
    states = {identity: {"State": container["State"]} for identity, container in containers.items()}
    text = json.dumps({"tasks": fields, "containers": states, "lost": list(lost)}, separators=(",", ":"))
    return {ENDED_LABEL: text} if len(text) <= RECORD_BYTES else {}


def recorded(service: Service) -> Mapping[str, Any] | None:
    """`tasks`, `containers` and `lost` as they were at the end."""
    text = service["Spec"]["Labels"].get(ENDED_LABEL)
    return json.loads(text) if text else None


def _iteration(task: Task) -> int:
    return int((task.get("JobIteration") or {}).get("Index") or 0)
