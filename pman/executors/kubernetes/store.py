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
from collections.abc import Iterator, Set
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


@dataclass(frozen=True, slots=True)
class _Job:
    uid: str
    version: str
    has_ended: bool
    ended_pods: int
    """The pods that have ended, by the status of the Job."""
    has_labelled_pods: bool
    """True where the informer sees its pods: they have the label, unless a site's template leaves it out."""
    compressed: bytes


@dataclass(frozen=True, slots=True)
class _Pod:
    version: str
    has_ended: bool
    compressed: bytes


@dataclass(frozen=True, slots=True)
class _Event:
    version: str
    compressed: bytes


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
        self._pods: dict[str, dict[str, _Pod]] = {}
        """The pods, by the uid of the owner, then by their own."""
        self._owner_uids: dict[str, str] = {}
        """The uid of the owner, by that of the pod."""
        self._events: OrderedDict[str, dict[str, _Event]] = OrderedDict()
        """The events, by the uid of the involved object, then by their own."""
        self._involved_uids: dict[str, str] = {}
        """The uid of the involved object, by that of the event."""
        self._revisions: dict[str, int] = {}
        self._count = itertools.count(1)
        self._changed_at: dict[str, float] = {}
        self._expected: dict[str, tuple[str, float]] = {}
        self._deleted: Bounded[str, float] = Bounded(DELETED_LIMIT)
        """When the deletion became known, by uid; time.monotonic()."""

    def native(self, jid: str) -> Native | None:
        """The native state; None where the store has no such Job, or may lack a part of it."""
        job = self._jobs.get(jid)
        if job is None or not self._is_consistent(jid, job):
            return None
        pods = self._pods.get(job.uid, {})
        events = [event for each in (job.uid, *pods) for event in self._events.get(each, {}).values()]
        return native(_object(job), map(_object, pods.values()), map(_object, events))

    def revision(self, jid: str) -> int | None:
        """Another number whenever `native` would differ."""
        return self._revisions.get(jid)

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

    def delete_job(self, job: Object) -> None:
        """pman or somebody else has deleted this Job: late events about it are ignored."""
        self._mark_deleted(uid(job))

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
            self._mark_deleted(cached.uid)  # only one at a time can have the name
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
        )
        self._names_by_uid[uid(job)] = jid
        self._changed_at[jid] = time.monotonic()
        self._touch(jid)

    def retain_pods(self, uids: Set[str]) -> None:
        for each in self._owner_uids.keys() - uids:
            self._drop_pod(each)

    def put_pod(self, pod: Object) -> None:
        owner = owner_uid(pod)
        cached = self._pods.get(owner, {}).get(uid(pod))
        if not owner or (cached and cached.version == resource_version(pod)):
            return
        self._pods.setdefault(owner, {})[uid(pod)] = _Pod(
            resource_version(pod), pod_has_ended(pod), _compressed(pod)
        )
        self._owner_uids[uid(pod)] = owner
        self._touch_owner(owner)

    def drop_pod(self, pod: Object) -> None:
        self._drop_pod(uid(pod))

    def retain_events(self, uids: Set[str]) -> None:
        for each in self._involved_uids.keys() - uids:
            self._drop_event(each)

    def put_event(self, event: Object) -> None:
        involved = str(event["involvedObject"].get("uid", ""))
        cached = self._events.setdefault(involved, {})
        if uid(event) in cached and cached[uid(event)].version == resource_version(event):
            return
        cached.pop(uid(event), None)  # to the end
        cached[uid(event)] = _Event(resource_version(event), _compressed(event))
        self._involved_uids[uid(event)] = involved
        if len(cached) > EVENTS_PER_OBJECT:
            self._drop_event(next(iter(cached)))
        self._drop_events_of_unknown_objects()
        self._touch_owner(self._owner_uids.get(involved, involved))

    def drop_event(self, event: Object) -> None:
        """Events expire, by default after an hour."""
        self._drop_event(uid(event))

    def _is_consistent(self, jid: str, job: _Job) -> bool:
        """Tell whether no event is on its way that belongs to this state of the Job.

        The informers are not in step: the end of a Job may come before that of its pods, which has the
        reason, and the platform asks only once for a job that has ended.
        """
        now = time.monotonic()
        if job.uid in self._unconfirmed and now > self._changed_at[jid] + SYNC_LAG_SECONDS:
            return False
        if jid in self._expected:
            if now < self._expected[jid][1]:
                return False
            del self._expected[jid]
        if not job.has_labelled_pods:
            return False
        if not job.has_ended or now > self._changed_at[jid] + SYNC_LAG_SECONDS:
            return True
        pods = self._pods.get(job.uid, {}).values()
        ended = sum(pod.has_ended for pod in pods)
        return ended == len(pods) and ended >= job.ended_pods

    def _mark_deleted(self, object_uid: str) -> None:
        """Drop the Job, and ignore late events about it."""
        self._drop_job(object_uid)
        self._deleted[object_uid] = time.monotonic()

    def _drop_job(self, object_uid: str) -> None:
        if jid := self._names_by_uid.pop(object_uid, ""):
            for table in (self._jobs, self._revisions, self._changed_at, self._expected):
                table.pop(jid, None)
        self._unconfirmed.discard(object_uid)
        self._drop_events(object_uid)

    def _drop_pod(self, object_uid: str) -> None:
        owner = self._owner_uids.pop(object_uid, "")
        if siblings := self._pods.get(owner):
            siblings.pop(object_uid, None)
            if not siblings:
                del self._pods[owner]
        self._drop_events(object_uid)
        self._touch_owner(owner)

    def _drop_event(self, object_uid: str) -> None:
        involved = self._involved_uids.pop(object_uid, "")
        if cached := self._events.get(involved):
            cached.pop(object_uid, None)
            if not cached:
                del self._events[involved]
        self._touch_owner(self._owner_uids.get(involved, involved))

    def _drop_events(self, involved: str) -> None:
        for event in self._events.pop(involved, {}):
            self._involved_uids.pop(event, None)

    def _drop_events_of_unknown_objects(self) -> None:
        """Drop the events of the oldest object that is not in the store, where there are too many."""
        if len(self._events) > UNKNOWN_OBJECTS_LIMIT + len(self._names_by_uid) + len(self._owner_uids):
            self._drop_events(next(self._unknown_objects()))

    def _unknown_objects(self) -> Iterator[str]:
        return (
            involved
            for involved in self._events
            if involved not in self._names_by_uid and involved not in self._owner_uids
        )

    def _touch_owner(self, object_uid: str) -> None:
        if object_uid in self._names_by_uid:
            self._touch(self._names_by_uid[object_uid])

    def _touch(self, jid: str) -> None:
        self._revisions[jid] = next(self._count)


def _compressed(item: Object) -> bytes:
    return zlib.compress(json.dumps(without_managed_fields(item), separators=(",", ":")).encode(), 1)


def _object(entry: _Job | _Pod | _Event) -> Object:
    item: Object = json.loads(zlib.decompress(entry.compressed))
    return item
