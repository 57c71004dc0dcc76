"""The executor over the Kubernetes API: a job is one Job, by the job's name."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from typing import Any

from pman.errors import UnknownJob
from pman.executors.kubernetes.access import Access
from pman.executors.kubernetes.api import EVENTS, JOBS, PODS, Api, Object
from pman.executors.kubernetes.bundle import Bundle
from pman.executors.kubernetes.informer import EventHandler, Informer
from pman.executors.kubernetes.logs import Logs
from pman.executors.kubernetes.manifests import Manifests, warn_of_dropped
from pman.executors.kubernetes.metadata import name, without_managed_fields
from pman.executors.kubernetes.objects import Objects
from pman.executors.kubernetes.permissions import (
    check_claim,
    check_namespace,
    left_open,
    missing_permissions,
)
from pman.executors.kubernetes.reads import Reads, native
from pman.executors.kubernetes.removal import Removal
from pman.executors.kubernetes.status import has_ended
from pman.executors.kubernetes.store import Store
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.tasks import cancel
from pman.job import JID_LABEL, Document

DIRECT_READS_LIMIT = 10_000
"""Jobs whose last answer is remembered to be a direct read; that matters until the next look at them."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


def connect(settings: Mapping[str, Any]) -> KubernetesExecutor:
    access = Access(settings["KUBECONFIG"], settings["ENGINE_TIMEOUT"])
    return KubernetesExecutor(Api(access, str(settings["JOB_NAMESPACE"])), settings)


class KubernetesExecutor:
    """See Executor for what each call means."""

    def __init__(self, api: Api, settings: Mapping[str, Any]) -> None:
        self._api = api
        self._settings = settings
        self._store = store = Store()
        self._reads = Reads(api)
        self._manifests = Manifests(api)
        self._objects = Objects(api)
        self._ignored_fields: set[str] = set()
        """The fields of a Job of which the log said that the API server ignores them."""
        self._logs = Logs(api, self.inspect)
        self._removal = Removal(api, self._reads, store.delete_job)
        labelled = {"labelSelector": JID_LABEL}
        warnings = {"fieldSelector": "type=Warning"}
        jobs = EventHandler(
            begin=store.begin_job_list, put=store.put_job, drop=store.delete_job, retain=store.retain_jobs
        )
        pods = EventHandler(put=store.put_pod, drop=store.drop_pod, retain=store.retain_pods)
        events = EventHandler(put=store.put_event, drop=store.drop_event, retain=store.retain_events)
        self._informers = {
            JOBS: Informer(api, api.path(JOBS), labelled, jobs),
            PODS: Informer(api, api.path(PODS), labelled, pods),
            EVENTS: Informer(api, api.path(EVENTS), warnings, events),
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._direct_reads: Bounded[str, bool] = Bounded(DIRECT_READS_LIMIT)
        """Jobs last answered by a direct read; the store may be older."""

    async def facts(self) -> Mapping[str, Any]:
        self._watch()
        claim = self._settings["VOLUME_NAME"] if self._settings["STORAGE_TYPE"] == "kubernetes_pvc" else None
        await check_namespace(self._api)  # first: without it, nothing else is there either
        await check_claim(self._api, claim)
        version = str((await self._api.read("/version"))["gitVersion"])
        missing = await missing_permissions(self._api, claim)
        return {
            "storebase": self._settings["STOREBASE"] or "",
            "native": {"version": version, "missing": missing},
            "warnings": left_open(version),
        }

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        self._watch()
        manifests = await self._manifests.read(jid, documents)
        job = without_managed_fields(await Bundle(self._objects, manifests).apply())
        sent = next(manifest.body for manifest in manifests if manifest.is_the_job)
        warn_of_dropped(sent, job, self._ignored_fields)
        self._store.add_created_job(job)
        return native(job, [], [])

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        self._watch()
        if not fresh and self._is_synced() and (cached := self._store.native(jid)):
            self._direct_reads.pop(jid, None)
            return cached
        began = time.monotonic()
        check_name(jid)
        read = await self._reads.native(jid)
        if read is None or self._store.is_deleted(read["job"], began):
            self._direct_reads.pop(jid, None)
            raise UnknownJob(jid)
        self._direct_reads[jid] = True
        return read

    def revision(self, jid: str) -> Hashable | None:
        return self._store.revision(jid) if self._is_synced() and jid not in self._direct_reads else None

    def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        return self._logs.follow(jid, tail) if follow else self._logs.last(jid, tail)

    async def remove(self, jid: str) -> None:
        check_name(jid)
        await self._removal.remove(jid)

    async def active(self) -> Sequence[str]:
        self._watch()
        if self._is_synced():
            return self._store.active()
        return sorted(name(job) for job in await self._jobs() if not has_ended(job))

    async def end(self, jid: str, reason: str) -> None:
        check_name(jid)
        self._store.expect(await self._removal.end(jid, reason))

    async def list(self) -> Sequence[str]:
        self._watch()
        if self._is_synced():
            return self._store.jids()
        return sorted(map(name, await self._jobs()))

    async def ping(self) -> str:
        version = await self._api.read("/version")
        return f"Kubernetes {version['gitVersion']} ({self._api.address})"

    async def close(self) -> None:
        await cancel(*self._tasks)
        await self._api.close()

    async def _jobs(self) -> Sequence[Object]:
        began = time.monotonic()
        return [job for job in await self._reads.jobs() if not self._store.is_deleted(job, began)]

    def _watch(self) -> None:
        """Start the informers, with the first call."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(watch.run()) for watch in self._informers.values()]

    def _is_synced(self) -> bool:
        """Tell whether the store is up to date; events may be missing where pman must not see them."""
        events = self._informers[EVENTS]
        return (
            self._informers[JOBS].is_synced
            and self._informers[PODS].is_synced
            and (events.is_synced or events.is_forbidden)
        )


def check_name(jid: str) -> None:
    """Raises UnknownJob unless a Job can have this name, also the value of a label: 63 characters.

    Any other text must not get into a path.
    """
    if not _NAME.fullmatch(jid):
        raise UnknownJob(jid)
