"""Read a Job with its pods and events from the API server, without the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pman.executors.kubernetes.api import EVENTS, JOBS, PAGE_SIZE, PODS, Api, Forbidden, Object
from pman.executors.kubernetes.metadata import (
    is_pmans,
    is_terminating,
    name,
    owner_uid,
    uid,
    without_managed_fields,
)
from pman.job import JID_LABEL

EVENT_QUERIES_LIMIT = 8
"""Objects whose events are queried one by one; for more, those of the whole namespace are."""

Native = Mapping[str, Any]
"""job, pods, events."""


class Reads:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def job(self, jid: str) -> Object | None:
        """The Job of that name, be it somebody else's or terminating."""
        job = await self._api.get(self._api.path(JOBS, jid))
        return without_managed_fields(job) if job else None

    async def native(self, jid: str) -> Native | None:
        """The native state; None where there is no Job of pman's, or it is terminating.

        The pods are read after the Job, so that they show what its conditions say.
        """
        job = await self.job(jid)
        if job is None or not is_pmans(job) or is_terminating(job):
            return None
        pods = await self.pods_of(job)
        return native(job, pods, await self._events([job, *pods]))

    async def pods_of(self, job: Object) -> list[Object]:
        """The pods of this very Job; an earlier Job of the same name may have left some."""
        labels = (job["spec"].get("selector") or {}).get("matchLabels") or {"controller-uid": uid(job)}
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return [pod for pod in await self._pods(selector) if owner_uid(pod) == uid(job)]

    async def pods(self, jid: str) -> list[Object]:
        """The pods of all Jobs that have or had this name."""
        return [pod for pod in await self._pods(f"{JID_LABEL}={jid}") if owner_uid(pod, jid)]

    async def jobs(self) -> list[Object]:
        jobs = await self._api.list_all(self._api.path(JOBS), {"labelSelector": JID_LABEL})
        return [job for job in jobs if is_pmans(job) and not is_terminating(job)]

    async def _pods(self, selector: str) -> list[Object]:
        pods = await self._api.list_all(self._api.path(PODS), {"labelSelector": selector})
        return [without_managed_fields(pod) for pod in pods]

    async def _events(self, objects: Sequence[Object]) -> list[Object]:
        """The warnings about these objects; none where pman has lost the permission to read events.

        It has it at the start, or does not start. A site that takes it away later loses the reasons why jobs
        wait, not the jobs.
        """
        warnings = "type=Warning"
        fields = [f"{warnings},involvedObject.uid={uid(each)}" for each in objects]
        if len(fields) > EVENT_QUERIES_LIMIT:
            fields = [warnings]
        answers = await asyncio.gather(*(self._query_events(each) for each in fields))
        uids = {uid(each) for each in objects}
        events = [event for answer in answers for event in answer]
        return [event for event in events if event["involvedObject"].get("uid") in uids]

    async def _query_events(self, fields: str) -> list[Object]:
        where = self._api.path(EVENTS)
        with contextlib.suppress(Forbidden):
            page = await self._api.read(where, {"fieldSelector": fields, "limit": str(PAGE_SIZE)})
            return [without_managed_fields(event) for event in page.get("items") or ()]
        return []


def native(job: Object, pods: Iterable[Object], events: Iterable[Object]) -> Native:
    """The native state: pods sorted by creation, then name; events by their time."""
    return {
        "job": job,
        "pods": sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", name(pod))),
        "events": sorted(events, key=_time),
    }


def _time(event: Object) -> str:
    last = event.get("lastTimestamp") or event.get("eventTime")
    return str(last or event["metadata"].get("creationTimestamp") or "")
