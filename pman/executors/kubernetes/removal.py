"""Delete a Job and wait until its processes end; or end a Job and keep it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat

from pman.errors import EngineRefused, UnknownJob
from pman.executors.kubernetes.api import JOBS, PODS, Api, Object
from pman.executors.kubernetes.metadata import is_pmans, is_terminating, name, resource_version, uid
from pman.executors.kubernetes.reads import Reads
from pman.executors.kubernetes.status import has_ended, pod_has_ended
from pman.job import REASON_LABEL

log = logging.getLogger(__name__)

GRACE_SECONDS = 2
"""gracePeriodSeconds of a deleted pod. 0 would forget the pod before its processes end."""

SECOND_GRACE_SECONDS = 1
"""gracePeriodSeconds of a second deletion: a change of the pod, so that its kubelet looks again.

A kubelet (1.20) that is told to end a pod before it has noticed that a container of it has begun lets
the container run, and looks again after a minute or more. It takes 1 for 2 anyway.
"""

SECOND_DELETE_SECONDS = 4.0
"""After so long a pod that is still there is deleted a second time."""

REMOVAL_TIMEOUT_SECONDS = 60.0
"""For so long a removal waits for its pods; a lost node never tells of their end. pfcon waits 100."""

POLL_SECONDS = (0.1, 0.2, 0.3, 0.5)
"""Between two looks at the pods; the last pause is repeated."""

CONFLICT_ATTEMPTS = 5
"""Attempts to change a Job that somebody else changes at the same time."""


class Removal:
    def __init__(self, api: Api, reads: Reads, deleted: Callable[[str], None]) -> None:
        """`deleted` is called with the uid of each Job that has just been deleted."""
        self._api = api
        self._reads = reads
        self._deleted = deleted

    async def remove(self, jid: str) -> None:
        """Delete the Job; returns when no process of it writes any more. Raises UnknownJob, EngineRefused."""
        job = await self._reads.job(jid)
        if job and not is_pmans(job):
            raise UnknownJob(jid)
        pods = await self._living_pods(jid, job)  # looked for before, so as to be faster than the cluster
        if job and not is_terminating(job):
            await self._delete(JOBS, job, propagationPolicy="Background")  # of what it owns, by the cluster
        if job:
            self._deleted(uid(job))
        if not job and not pods:
            raise UnknownJob(jid)
        await self._await_end(jid, job, pods)

    async def end(self, jid: str, reason: str) -> Object:
        """Set its deadline, so that the cluster ends and keeps it; the Job as it is then.

        Raises UnknownJob, EngineRefused.
        """
        for _ in range(CONFLICT_ATTEMPTS):
            job = await self._reads.job(jid)
            if job is None or not is_pmans(job) or is_terminating(job):
                raise UnknownJob(jid)
            if has_ended(job) or REASON_LABEL in (job["metadata"].get("annotations") or {}):
                return job
            patch = {
                "metadata": {"resourceVersion": resource_version(job), "annotations": {REASON_LABEL: reason}},
                "spec": {"activeDeadlineSeconds": 1},
            }
            answer = await self._api.change("end", "PATCH", self._api.path(JOBS, jid), patch)
            if answer.status < 400:
                patched: Object = answer.content
                return patched
            # 409: the Job has changed meanwhile, it may have ended
        raise EngineRefused("end", 409, f"the Job {jid} changes all the time")

    async def _delete(self, resource: str, item: Object, **options: object) -> None:
        """Delete it, unless it is gone, or another one by now. Raises EngineRefused."""
        body = {**options, "preconditions": {"uid": uid(item)}}
        await self._api.change("remove", "DELETE", self._api.path(resource, name(item)), body)

    async def _living_pods(self, jid: str, job: Object | None) -> list[Object]:
        """The pods of the Job that may have processes; without a Job, those of earlier ones of its name."""
        pods = await self._reads.pods_of(job) if job else await self._reads.pods(jid)
        return [pod for pod in pods if not pod_has_ended(pod)]

    async def _await_end(self, jid: str, job: Object | None, pods: Sequence[Object]) -> None:
        """Delete the pods, once more those that stay; returns when none is left, or after the timeout."""
        until = time.monotonic() + REMOVAL_TIMEOUT_SECONDS
        deleted_at: dict[str, float] = {}  # by uid; inf where it was deleted twice
        for pause in chain(POLL_SECONDS, repeat(POLL_SECONDS[-1])):
            now = time.monotonic()
            new = [pod for pod in pods if uid(pod) not in deleted_at]
            late = [pod for pod in pods if deleted_at.get(uid(pod), now) < now - SECOND_DELETE_SECONDS]
            deleted_at |= {uid(pod): now for pod in new} | {uid(pod): float("inf") for pod in late}
            await asyncio.gather(
                *(self._delete(PODS, pod, gracePeriodSeconds=GRACE_SECONDS) for pod in new),
                *(self._delete(PODS, pod, gracePeriodSeconds=SECOND_GRACE_SECONDS) for pod in late),
            )
            await asyncio.sleep(pause if pods else 0)
            pods = await self._living_pods(jid, job)
            if not pods:
                return
            if time.monotonic() > until:
                log.warning("%s: removed, though its pods do not end: %s", jid, ", ".join(map(name, pods)))
                return
