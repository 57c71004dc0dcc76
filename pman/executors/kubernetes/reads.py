"""A Job with its pods and events, asked now; and what these objects tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pman.executors.kubernetes.api import PAGE_SIZE, Api, Forbidden, Object, path
from pman.executors.kubernetes.kinds import EVENTS, JOBS, PODS
from pman.job import JID_LABEL

MAIN_CONTAINER = "kubectl.kubernetes.io/default-container"
"""Annotation of a pod whose first container is not the plugin's."""

EVENT_QUERIES_LIMIT = 8
"""Pods up to which the events of each are asked for; of more, those of the whole namespace."""

Native = Mapping[str, Any]
"""job, pods, events."""


class Reads:
    """What the API server says now."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    async def job(self, jid: str) -> Object | None:
        """The Job of that name, whoever's it is and be it on its way out."""
        found = await self._api.get(path(self._namespace, JOBS, jid))
        return without_managed_fields(found) if found else None

    async def native(self, jid: str) -> Native | None:
        """None where there is no job of pman's, or it is being deleted.

        The pods after the Job: what its conditions tell of has happened to them by then.
        """
        job = await self.job(jid)
        if job is None or not is_pmans(job) or is_terminating(job):
            return None
        pods = await self.pods_of(job)
        return native(job, pods, await self._events([job, *pods]))

    async def pods_of(self, job: Object) -> list[Object]:
        """By the uid: an earlier Job of the same name may have left some."""
        chosen = (job["spec"].get("selector") or {}).get("matchLabels") or {"controller-uid": uid(job)}
        selector = ",".join(f"{name}={value}" for name, value in chosen.items())
        return [pod for pod in await self._pods(selector) if owner_uid(pod) == uid(job)]

    async def pods(self, jid: str) -> list[Object]:
        """Those of all Jobs that have or had this name."""
        return [pod for pod in await self._pods(f"{JID_LABEL}={jid}") if owner_uid(pod, jid)]

    async def jobs(self) -> list[Object]:
        found = await self._api.list_all(path(self._namespace, JOBS), {"labelSelector": JID_LABEL})
        return [job for job in found if is_pmans(job) and not is_terminating(job)]

    async def _pods(self, selector: str) -> list[Object]:
        found = await self._api.list_all(path(self._namespace, PODS), {"labelSelector": selector})
        return [without_managed_fields(pod) for pod in found]

    async def _events(self, objects: Sequence[Object]) -> list[Object]:
        """The warnings; none where pman may not see them any more.

        It may at the start, or does not start. Who takes the permission later loses the reasons why jobs
        wait, not the jobs.
        """
        warnings = "type=Warning"
        fields = [f"{warnings},involvedObject.uid={uid(each)}" for each in objects]
        if len(fields) > EVENT_QUERIES_LIMIT:
            fields = [warnings]
        answers = await asyncio.gather(*(self._query_events(each) for each in fields))
        wanted = {uid(each) for each in objects}
        found = [event for answer in answers for event in answer]
        return [event for event in found if event["involvedObject"].get("uid") in wanted]

    async def _query_events(self, fields: str) -> list[Object]:
        where = path(self._namespace, EVENTS)
        with contextlib.suppress(Forbidden):
            found = await self._api.read(where, {"fieldSelector": fields, "limit": str(PAGE_SIZE)})
            return [without_managed_fields(event) for event in found.get("items") or ()]
        return []


def native(job: Object, pods: Iterable[Object], events: Iterable[Object]) -> Native:
    """The pods by creation, then name; the events by their time."""
    return {
        "job": job,
        "pods": sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", name(pod))),
        "events": sorted(events, key=_time),
    }


def without_managed_fields(found: Object) -> Object:
    """Without the record of who set which field: half of an object, and of no use here."""
    if "managedFields" not in found["metadata"]:
        return found
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return {**found, "metadata": metadata}


def name(found: Object) -> str:
    return str(found["metadata"]["name"])


def uid(found: Object) -> str:
    return str(found["metadata"]["uid"])


def resource_version(found: Object) -> str:
    """Of this state of the object: says whether two are the same, not which one is newer."""
    return str(found["metadata"].get("resourceVersion", ""))


def labels(found: Object) -> Mapping[str, str]:
    return found["metadata"].get("labels") or {}


def is_pmans(job: Object) -> bool:
    return labels(job).get(JID_LABEL) == name(job)


def is_terminating(found: Object) -> bool:
    """Whether it is deleted and only waits for a finalizer."""
    return bool(found["metadata"].get("deletionTimestamp"))


def owner_uid(pod: Object, jid: str = "") -> str:
    """The uid of the Job that made it; with a jid, only of one of that name."""
    for reference in pod["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference["kind"] == "Job" and jid in ("", reference["name"]):
            return str(reference["uid"])
    return ""


def has_ended(job: Object) -> bool:
    return bool(_end_conditions(job))


def end_time(job: Object) -> str:
    """ISO 8601; empty where it has not ended."""
    return max((str(each.get("lastTransitionTime") or "") for each in _end_conditions(job)), default="")


def _end_conditions(job: Object) -> list[Object]:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return [
        each for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True"
    ]


def main_container(pod: Object) -> str:
    named = (pod["metadata"].get("annotations") or {}).get(MAIN_CONTAINER)
    return str(named or pod["spec"]["containers"][0]["name"])


def has_started(pod: Object) -> bool:
    """Whether the main container runs or ran: whether there is a log."""
    for each in (pod.get("status") or {}).get("containerStatuses") or ():
        if each["name"] == main_container(pod):
            return "running" in each["state"] or "terminated" in each["state"]
    return False


def main_container_has_ended(pod: Object) -> bool:
    """Whether the main container ran and has ended: whether its node must know the log, or has lost it."""
    known = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(each["name"] == main_container(pod) and _has_run(each) for each in known)


def pod_has_ended(pod: Object) -> bool:
    """Whether no process of it is left, nor will be."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    known = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    return len(known) == len(containers) and all(map(_has_run, known))


def _has_run(container: Object) -> bool:
    """Not one of which nothing but `terminated` is said.

    That is what a kubelet (1.20, TerminatePod) writes for each container of a deleted pod that, by the
    status it has written before, waits; it may have begun to run since.
    """
    return bool(((container.get("state") or {}).get("terminated") or {}).get("containerID"))


def _time(event: Object) -> str:
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
