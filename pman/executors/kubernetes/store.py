"""Jobs, pods and events as the watches last told them: plain data, no connection in sight.

Versions of objects are only ever compared for equality, as the API asks for. The objects are kept
packed: a site has the jobs of a week, and a Job with its pod takes 40 KiB as Python has them, 3 packed.
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
from pman.job import JID_LABEL

SYNC_LAG_SECONDS = 2.0
"""Seconds that the watch of the pods may lag behind that of the Jobs."""

DELETED_LIMIT = 10_000
"""Deleted objects that are known to be: what still comes of them by a watch is old."""

UNKNOWN_OBJECTS_LIMIT = 1_000
"""Objects not known (yet) whose events are kept: an event may come before what it is about."""

EVENTS_PER_OBJECT = 20
"""Events of one object that are kept, the last ones; the API itself counts repeats as one."""


@dataclass(frozen=True, slots=True)
class _Job:
    uid: str
    version: str
    has_ended: bool
    ended_pods: int
    """How many of its pods it says have ended."""
    has_labelled_pods: bool
    """Whether the watch sees its pods: by default they bear the label, a site's template may not."""
    packed: bytes


@dataclass(frozen=True, slots=True)
class _Pod:
    version: str
    pod_has_ended: bool
    packed: bytes


@dataclass(frozen=True, slots=True)
class _Event:
    version: str
    packed: bytes


class Store:
    """Of the Jobs of a name, the one that pman has made itself counts until it is told of.

    What is told of another one is older then: the watch lags behind pman's own calls.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        """By name."""
        self._names_by_uid: dict[str, str] = {}
        """Of the Jobs, by uid."""
        self._unconfirmed: set[str] = set()
        """The uids of those that pman has made and that may not be told of yet."""
        self._pods: dict[str, dict[str, _Pod]] = {}
        """By uid, of each owner's uid."""
        self._owner_uids: dict[str, str] = {}
        """The uid of each pod's owner."""
        self._events: OrderedDict[str, dict[str, _Event]] = OrderedDict()
        """By uid, of the uid of what they are about."""
        self._involved_uids: dict[str, str] = {}
        """The uid of what each event is about."""
        self._revisions: dict[str, int] = {}
        self._count = itertools.count(1)
        self._changed_at: dict[str, float] = {}
        self._expected: dict[str, tuple[str, float]] = {}
        self._deleted: OrderedDict[str, float] = OrderedDict()
        """When it became known, by uid."""

    def native(self, jid: str) -> Native | None:
        """None for what is not known, or not for sure."""
        job = self._jobs.get(jid)
        if job is None or not self._is_consistent(jid, job):
            return None
        pods = self._pods.get(job.uid, {})
        events = [event for each in (job.uid, *pods) for event in self._events.get(each, {}).values()]
        return native(_unpacked(job), map(_unpacked, pods.values()), map(_unpacked, events))

    def revision(self, jid: str) -> int | None:
        """Another number whenever `native` would tell something else."""
        return self._revisions.get(jid)

    def jids(self) -> list[str]:
        return sorted(self._jobs)

    def active(self) -> list[str]:
        return sorted(jid for jid, job in self._jobs.items() if not job.has_ended)

    def is_deleted(self, found: Object, since: float) -> bool:
        """Whether that has become known since (time.monotonic), so that what was asked for then is old."""
        return self._deleted.get(uid(found), since) > since

    def expect(self, job: Object) -> None:
        """What pman has just changed is not known before the watch tells of it, in its turn."""
        if (known := self._jobs.get(name(job))) and known.version != resource_version(job):
            self._expected[name(job)] = (resource_version(job), time.monotonic() + SYNC_LAG_SECONDS)

    def delete_job(self, job: Object) -> None:
        """What pman has just deleted, or the watch tells was."""
        self._mark_deleted(uid(job))

    def begin_job_list(self) -> None:
        """All that there are now are about to be told, and of none of a name but the last one."""
        self._unconfirmed.clear()

    def retain_jobs(self, there: Set[str]) -> None:
        for each in self._names_by_uid.keys() - there - self._unconfirmed:
            self._drop_job(each)

    def put_job(self, job: Object) -> None:
        known = self._jobs.get(name(job))
        if not is_pmans(job) or is_terminating(job):
            self._drop_job(uid(job))
            return
        if uid(job) in self._deleted or (known and known.uid in self._unconfirmed - {uid(job)}):
            return
        self._unconfirmed.discard(uid(job))
        if known and (known.uid, known.version) == (uid(job), resource_version(job)):
            return
        if known and known.uid != uid(job):
            self._mark_deleted(known.uid)  # only one at a time can have the name
        self._put_job(name(job), job)

    def add_created_job(self, job: Object) -> None:
        """What pman has just created; the watch may have told more of it by now."""
        if uid(job) in self._names_by_uid or uid(job) in self._deleted:
            return
        if known := self._jobs.get(name(job)):
            self._drop_job(known.uid)
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
            packed=_packed(job),
        )
        self._names_by_uid[uid(job)] = jid
        self._changed_at[jid] = time.monotonic()
        self._touch(jid)

    def retain_pods(self, there: Set[str]) -> None:
        for each in self._owner_uids.keys() - there:
            self._drop_pod(each)

    def put_pod(self, pod: Object) -> None:
        by = owner_uid(pod)
        known = self._pods.get(by, {}).get(uid(pod))
        if not by or (known and known.version == resource_version(pod)):
            return
        self._pods.setdefault(by, {})[uid(pod)] = _Pod(
            resource_version(pod), pod_has_ended(pod), _packed(pod)
        )
        self._owner_uids[uid(pod)] = by
        self._touch_owner(by)

    def drop_pod(self, pod: Object) -> None:
        self._drop_pod(uid(pod))

    def retain_events(self, there: Set[str]) -> None:
        for each in self._involved_uids.keys() - there:
            self._drop_event(each)

    def put_event(self, event: Object) -> None:
        about = str(event["involvedObject"].get("uid", ""))
        known = self._events.setdefault(about, {})
        if uid(event) in known and known[uid(event)].version == resource_version(event):
            return
        known.pop(uid(event), None)  # to the end of those that are kept
        known[uid(event)] = _Event(resource_version(event), _packed(event))
        self._involved_uids[uid(event)] = about
        if len(known) > EVENTS_PER_OBJECT:
            self._drop_event(next(iter(known)))
        self._drop_events_of_unknown_objects()
        self._touch_owner(self._owner_uids.get(about, about))

    def drop_event(self, event: Object) -> None:
        """Events do not live long, by default an hour."""
        self._drop_event(uid(event))

    def _is_consistent(self, jid: str, job: _Job) -> bool:
        """Whether nothing is on its way that would tell more.

        The two watches are not in step: the end of a Job may be known before that of its pods, and
        with it why. The platform asks only once for what has ended.
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
        over = sum(pod.pod_has_ended for pod in pods)
        return over == len(pods) and over >= job.ended_pods

    def _mark_deleted(self, identity: str) -> None:
        """What still comes of it is old."""
        self._drop_job(identity)
        self._deleted[identity] = time.monotonic()
        if len(self._deleted) > DELETED_LIMIT:
            self._deleted.popitem(last=False)

    def _drop_job(self, identity: str) -> None:
        if jid := self._names_by_uid.pop(identity, ""):
            for kept in (self._jobs, self._revisions, self._changed_at, self._expected):
                kept.pop(jid, None)
        self._unconfirmed.discard(identity)
        self._drop_events(identity)

    def _drop_pod(self, identity: str) -> None:
        by = self._owner_uids.pop(identity, "")
        if siblings := self._pods.get(by):
            siblings.pop(identity, None)
            if not siblings:
                del self._pods[by]
        self._drop_events(identity)
        self._touch_owner(by)

    def _drop_event(self, identity: str) -> None:
        about = self._involved_uids.pop(identity, "")
        if known := self._events.get(about):
            known.pop(identity, None)
            if not known:
                del self._events[about]
        self._touch_owner(self._owner_uids.get(about, about))

    def _drop_events(self, about: str) -> None:
        for event in self._events.pop(about, {}):
            self._involved_uids.pop(event, None)

    def _drop_events_of_unknown_objects(self) -> None:
        """Those about the oldest of what is not known, where there are too many."""
        if len(self._events) > UNKNOWN_OBJECTS_LIMIT + len(self._names_by_uid) + len(self._owner_uids):
            self._drop_events(next(self._unknown_objects()))

    def _unknown_objects(self) -> Iterator[str]:
        return (
            about
            for about in self._events
            if about not in self._names_by_uid and about not in self._owner_uids
        )

    def _touch_owner(self, identity: str) -> None:
        if identity in self._names_by_uid:
            self._touch(self._names_by_uid[identity])

    def _touch(self, jid: str) -> None:
        self._revisions[jid] = next(self._count)


def _packed(found: Object) -> bytes:
    return zlib.compress(json.dumps(without_managed_fields(found), separators=(",", ":")).encode(), 1)


def _unpacked(kept: _Job | _Pod | _Event) -> Object:
    found: Object = json.loads(zlib.decompress(kept.packed))
    return found
