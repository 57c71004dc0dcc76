"""The store that the informers fill: Jobs with their pods and events, as plain data, without a connection.

resourceVersions are only ever compared for equality, as the API asks for. The objects are compressed: a
site has the jobs of a week, and a Job with its pod takes 40 KiB as Python has them, 3 compressed.
"""

from __future__ import annotations

import itertools
import json
import time
import zlib
from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass

from pman.executors.kubernetes.api import Object
from pman.executors.kubernetes.metadata import (
    is_pmans,
    is_terminating,
    name,
    owner_uid,
    resource_version,
    uid,
    without_managed_fields,
)
from pman.executors.kubernetes.reads import Native, native
from pman.executors.kubernetes.status import has_ended, pod_has_ended
from pman.executors.shared.bounded import Bounded
from pman.job import JID_LABEL

SYNC_LAG_SECONDS = 2.0
"""The informer of the pods may lag so long behind that of the Jobs."""

DELETED_LIMIT = 10_000
"""Deleted objects that are remembered, so that late events about them are ignored."""

UNKNOWN_OBJECTS_LIMIT = 1_000
"""Objects that are not in the store (yet) and whose events are: an event may come before its object."""

EVENTS_PER_OBJECT = 20
"""The last events of an object, which the store has; the API itself counts repeats as one."""


@dataclass(slots=True)
class _Job:
    uid: str
    version: str
    has_ended: bool
    ended_pods: int
    """The pods that have ended, by the status of the Job."""
    has_labelled_pods: bool
    """True where the informer sees its pods: they have the label, unless a site's template leaves it out."""
    compressed: bytes
    changed_at: float
    """time.monotonic()"""
    revision: int
    """Another number whenever the Job, its pods or events change."""


@dataclass(frozen=True, slots=True)
class _Child:
    version: str
    compressed: bytes
    has_ended: bool


class _Children:
    """The pods of Jobs, or the events of objects."""

    def __init__(self) -> None:
        self.by_parent: OrderedDict[str, dict[str, _Child]] = OrderedDict()
        """The children, by the uid of their parent, then by their own."""
        self.parents: dict[str, str] = {}
        """The uid of the parent, by that of the child."""

    def put(self, parent: str, item: Object, *, has_ended: bool = False) -> bool:
        """False where this version is there already."""
        siblings = self.by_parent.setdefault(parent, {})
        if uid(item) in siblings and siblings[uid(item)].version == resource_version(item):
            return False
        siblings.pop(uid(item), None)  # to the end
        siblings[uid(item)] = _Child(resource_version(item), _compressed(item), has_ended)
        self.parents[uid(item)] = parent
        return True

    def drop(self, child: str) -> str:
        """The uid of its parent; '' for an unknown child."""
        parent = self.parents.pop(child, "")
        if siblings := self.by_parent.get(parent):
            siblings.pop(child, None)
            if not siblings:
                del self.by_parent[parent]
        return parent

    def drop_all(self, parent: str) -> None:
        for child in self.by_parent.pop(parent, {}):
            self.parents.pop(child, None)


class Store:
    """The Jobs with their pods and events.

    A Job that we have just created wins over events of an earlier one of its name: the informer lags behind
    pman's own calls, so such events are older.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        """The Jobs, by name."""
        self._names_by_uid: dict[str, str] = {}
        """The name of each Job, by its uid."""
        self._unconfirmed: set[str] = set()
        """The uids of Jobs that pman has created, and that no event has confirmed yet."""
        self._pods = _Children()
        self._events = _Children()
        self._count = itertools.count(1)
        self._expected: dict[str, tuple[str, float]] = {}
        self._deleted: Bounded[str, float] = Bounded(DELETED_LIMIT)
        """When the deletion became known, by uid; time.monotonic()."""

    def native(self, jid: str) -> Native | None:
        """The native state; None where the store has no such Job, or may lack a part of it."""
        job = self._jobs.get(jid)
        if job is None or not self._is_consistent(jid, job):
            return None
        pods, by_parent = self._pods.by_parent.get(job.uid, {}), self._events.by_parent
        events = [event for each in (job.uid, *pods) for event in by_parent.get(each, {}).values()]
        return native(_object(job), map(_object, pods.values()), map(_object, events))

    def revision(self, jid: str) -> int | None:
        """Another number whenever `native` would differ."""
        job = self._jobs.get(jid)
        return job.revision if job else None

    def jids(self) -> list[str]:
        return sorted(self._jobs)

    def active(self) -> list[str]:
        return sorted(jid for jid, job in self._jobs.items() if not job.has_ended)

    def is_deleted(self, item: Object, since: float) -> bool:
        """Tell whether its deletion came after `since` (time.monotonic()): a read begun then is old."""
        return self._deleted.get(uid(item), since) > since

    def expect(self, job: Object) -> None:
        """pman has just changed this Job: what the store has is old until the informer has this version."""
        if (cached := self._jobs.get(name(job))) and cached.version != resource_version(job):
            self._expected[name(job)] = (resource_version(job), time.monotonic() + SYNC_LAG_SECONDS)

    def delete_job(self, object_uid: str) -> None:
        """pman or somebody else has deleted this Job: late events about it are ignored."""
        self._drop_job(object_uid)
        self._deleted[object_uid] = time.monotonic()

    def begin_job_list(self) -> None:
        """A list of all Jobs begins: it has one of a name, which wins over one that pman has created."""
        self._unconfirmed.clear()

    def retain_jobs(self, uids: Set[str]) -> None:
        for each in self._names_by_uid.keys() - uids - self._unconfirmed:
            self._drop_job(each)

    def put_job(self, job: Object) -> None:
        cached = self._jobs.get(name(job))
        if not is_pmans(job) or is_terminating(job):
            self._drop_job(uid(job))
            return
        if uid(job) in self._deleted or (cached and cached.uid in self._unconfirmed - {uid(job)}):
            return
        self._unconfirmed.discard(uid(job))
        if cached and (cached.uid, cached.version) == (uid(job), resource_version(job)):
            return
        if cached and cached.uid != uid(job):
            self.delete_job(cached.uid)  # only one at a time can have the name
        self._put_job(name(job), job)

    def add_created_job(self, job: Object) -> None:
        """pman has just created this Job; the informer may have a later version of it by now."""
        if uid(job) in self._names_by_uid or uid(job) in self._deleted:
            return
        if cached := self._jobs.get(name(job)):
            self._drop_job(cached.uid)
        self.put_job(job)
        self._unconfirmed |= {uid(job)} & self._names_by_uid.keys()

    def _put_job(self, jid: str, job: Object) -> None:
        if self._expected.get(jid, ("",))[0] == resource_version(job):
            del self._expected[jid]
        status = job.get("status") or {}
        template = (job["spec"]["template"].get("metadata") or {}).get("labels") or {}
        self._jobs[jid] = _Job(
            uid=uid(job),
            version=resource_version(job),
            has_ended=has_ended(job),
            ended_pods=status.get("succeeded", 0) + status.get("failed", 0),
            has_labelled_pods=template.get(JID_LABEL) == jid,
            compressed=_compressed(job),
            changed_at=time.monotonic(),
            revision=next(self._count),
        )
        self._names_by_uid[uid(job)] = jid

    def retain_pods(self, uids: Set[str]) -> None:
        for each in self._pods.parents.keys() - uids:
            self.drop_pod(each)

    def put_pod(self, pod: Object) -> None:
        owner = owner_uid(pod)
        if owner and self._pods.put(owner, pod, has_ended=pod_has_ended(pod)):
            self._touch_owner(owner)

    def drop_pod(self, object_uid: str) -> None:
        owner = self._pods.drop(object_uid)
        self._events.drop_all(object_uid)
        self._touch_owner(owner)

    def retain_events(self, uids: Set[str]) -> None:
        for each in self._events.parents.keys() - uids:
            self.drop_event(each)

    def put_event(self, event: Object) -> None:
        involved = str(event["involvedObject"].get("uid", ""))
        if not self._events.put(involved, event):
            return
        events = self._events.by_parent[involved]
        if len(events) > EVENTS_PER_OBJECT:
            self.drop_event(next(iter(events)))
        self._drop_events_of_unknown_objects()
        self._touch_owner(self._pods.parents.get(involved, involved))

    def drop_event(self, object_uid: str) -> None:
        """Events expire, by default after an hour."""
        involved = self._events.drop(object_uid)
        self._touch_owner(self._pods.parents.get(involved, involved))

    def _is_consistent(self, jid: str, job: _Job) -> bool:
        """Tell whether no event is on its way that belongs to this state of the Job.

        The informers are not in step: the end of a Job may come before that of its pods, which has the
        reason, and the platform asks only once for a job that has ended.
        """
        now = time.monotonic()
        has_settled = now > job.changed_at + SYNC_LAG_SECONDS
        if job.uid in self._unconfirmed and has_settled:
            return False
        if jid in self._expected:
            if now < self._expected[jid][1]:
                return False
            del self._expected[jid]
        if not job.has_labelled_pods:
            return False
        if not job.has_ended or has_settled:
            return True
        pods = self._pods.by_parent.get(job.uid, {}).values()
        ended = sum(pod.has_ended for pod in pods)
        return ended == len(pods) and ended >= job.ended_pods

    def _drop_job(self, object_uid: str) -> None:
        if jid := self._names_by_uid.pop(object_uid, ""):
            self._jobs.pop(jid, None)
            self._expected.pop(jid, None)
        self._unconfirmed.discard(object_uid)
        self._events.drop_all(object_uid)

    def _drop_events_of_unknown_objects(self) -> None:
        """Drop the events of the oldest object that is not in the store, where there are too many."""
        jobs, pods, events = self._names_by_uid, self._pods.parents, self._events.by_parent
        if len(events) > UNKNOWN_OBJECTS_LIMIT + len(jobs) + len(pods):
            self._events.drop_all(next(each for each in events if each not in jobs and each not in pods))

    def _touch_owner(self, object_uid: str) -> None:
        if jid := self._names_by_uid.get(object_uid):
            self._jobs[jid].revision = next(self._count)


def _compressed(item: Object) -> bytes:
    return zlib.compress(json.dumps(without_managed_fields(item), separators=(",", ":")).encode(), 1)


def _object(entry: _Job | _Child) -> Object:
    item: Object = json.loads(zlib.decompress(entry.compressed))
    return item
