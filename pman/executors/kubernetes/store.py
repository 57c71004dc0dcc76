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
from pman.executors.kubernetes.reads import (
    Native,
    has_ended,
    is_going,
    is_over,
    is_pmans,
    name,
    native,
    owner,
    stripped,
    uid,
    version,
)
from pman.job import JID_LABEL

SETTLING = 2.0
"""Seconds that the watch of the pods may lag behind that of the Jobs."""

DELETED = 10_000
"""Deleted objects that are known to be: what still comes of them by a watch is old."""

STRANGE = 1_000
"""Objects not known (yet) whose events are kept: an event may come before what it is about."""

EVENTS_EACH = 20
"""Events of one object that are kept, the last ones; the API itself counts repeats as one."""


@dataclass(frozen=True, slots=True)
class _Job:
    uid: str
    version: str
    has_ended: bool
    pods_over: int
    """How many of its pods it says have ended."""
    has_seen_pods: bool
    """Whether the watch sees its pods: by default they bear the label, a site's template may not."""
    packed: bytes


@dataclass(frozen=True, slots=True)
class _Pod:
    version: str
    is_over: bool
    packed: bytes


@dataclass(frozen=True, slots=True)
class _Event:
    version: str
    packed: bytes


class Memory:
    """Of the Jobs of a name, the one that pman has made itself counts until it is told of.

    What is told of another one is older then: the watch lags behind pman's own calls.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        """By name."""
        self._names: dict[str, str] = {}
        """Of the Jobs, by uid."""
        self._new: set[str] = set()
        """The uids of those that pman has made and that may not be told of yet."""
        self._pods: dict[str, dict[str, _Pod]] = {}
        """By uid, of each owner's uid."""
        self._owners: dict[str, str] = {}
        """The uid of each pod's owner."""
        self._events: OrderedDict[str, dict[str, _Event]] = OrderedDict()
        """By uid, of the uid of what they are about."""
        self._about: dict[str, str] = {}
        """The uid of what each event is about."""
        self._revisions: dict[str, int] = {}
        self._count = itertools.count(1)
        self._changed: dict[str, float] = {}
        self._expected: dict[str, tuple[str, float]] = {}
        self._deleted: OrderedDict[str, float] = OrderedDict()
        """When it became known, by uid."""

    def native(self, jid: str) -> Native | None:
        """None for what is not known, or not for sure."""
        job = self._jobs.get(jid)
        if job is None or not self._is_settled(jid, job):
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
        if (known := self._jobs.get(name(job))) and known.version != version(job):
            self._expected[name(job)] = (version(job), time.monotonic() + SETTLING)

    def forget(self, job: Object) -> None:
        """What pman has just deleted, or the watch tells was."""
        self._bury(uid(job))

    def begin_jobs(self) -> None:
        """All that there are now are about to be told, and of none of a name but the last one."""
        self._new.clear()

    def retain_jobs(self, there: Set[str]) -> None:
        for each in self._names.keys() - there - self._new:
            self._drop_job(each)

    def put_job(self, job: Object) -> None:
        known = self._jobs.get(name(job))
        if not is_pmans(job) or is_going(job):
            self._drop_job(uid(job))
            return
        if uid(job) in self._deleted or (known and known.uid in self._new - {uid(job)}):
            return
        self._new.discard(uid(job))
        if known and (known.uid, known.version) == (uid(job), version(job)):
            return
        if known and known.uid != uid(job):
            self._bury(known.uid)  # only one at a time can have the name
        self._put_job(name(job), job)

    def put_new_job(self, job: Object) -> None:
        """What pman has just created; the watch may have told more of it by now."""
        if uid(job) in self._names or uid(job) in self._deleted:
            return
        if known := self._jobs.get(name(job)):
            self._drop_job(known.uid)
        self.put_job(job)
        self._new |= {uid(job)} & self._names.keys()

    def _put_job(self, jid: str, job: Object) -> None:
        if self._expected.get(jid, ("",))[0] == version(job):
            del self._expected[jid]
        status = job.get("status") or {}
        template = (job["spec"]["template"].get("metadata") or {}).get("labels") or {}
        self._jobs[jid] = _Job(
            uid=uid(job),
            version=version(job),
            has_ended=has_ended(job),
            pods_over=status.get("succeeded", 0) + status.get("failed", 0),
            has_seen_pods=template.get(JID_LABEL) == jid,
            packed=_packed(job),
        )
        self._names[uid(job)] = jid
        self._changed[jid] = time.monotonic()
        self._revise(jid)

    def retain_pods(self, there: Set[str]) -> None:
        for each in self._owners.keys() - there:
            self._drop_pod(each)

    def put_pod(self, pod: Object) -> None:
        by = owner(pod)
        known = self._pods.get(by, {}).get(uid(pod))
        if not by or (known and known.version == version(pod)):
            return
        self._pods.setdefault(by, {})[uid(pod)] = _Pod(version(pod), is_over(pod), _packed(pod))
        self._owners[uid(pod)] = by
        self._revise_owner(by)

    def drop_pod(self, pod: Object) -> None:
        self._drop_pod(uid(pod))

    def retain_events(self, there: Set[str]) -> None:
        for each in self._about.keys() - there:
            self._drop_event(each)

    def put_event(self, event: Object) -> None:
        about = str(event["involvedObject"].get("uid", ""))
        known = self._events.setdefault(about, {})
        if uid(event) in known and known[uid(event)].version == version(event):
            return
        known.pop(uid(event), None)  # to the end of those that are kept
        known[uid(event)] = _Event(version(event), _packed(event))
        self._about[uid(event)] = about
        if len(known) > EVENTS_EACH:
            self._drop_event(next(iter(known)))
        self._drop_strange_events()
        self._revise_owner(self._owners.get(about, about))

    def drop_event(self, event: Object) -> None:
        """Events do not live long, by default an hour."""
        self._drop_event(uid(event))

    def _is_settled(self, jid: str, job: _Job) -> bool:
        """Whether nothing is on its way that would tell more.

        The two watches are not in step: the end of a Job may be known before that of its pods, and
        with it why. The platform asks only once for what has ended.
        """
        now = time.monotonic()
        if job.uid in self._new and now > self._changed[jid] + SETTLING:
            return False
        if jid in self._expected:
            if now < self._expected[jid][1]:
                return False
            del self._expected[jid]
        if not job.has_seen_pods:
            return False
        if not job.has_ended or now > self._changed[jid] + SETTLING:
            return True
        pods = self._pods.get(job.uid, {}).values()
        over = sum(pod.is_over for pod in pods)
        return over == len(pods) and over >= job.pods_over

    def _bury(self, identity: str) -> None:
        """What still comes of it is old."""
        self._drop_job(identity)
        self._deleted[identity] = time.monotonic()
        if len(self._deleted) > DELETED:
            self._deleted.popitem(last=False)

    def _drop_job(self, identity: str) -> None:
        if jid := self._names.pop(identity, ""):
            for kept in (self._jobs, self._revisions, self._changed, self._expected):
                kept.pop(jid, None)
        self._new.discard(identity)
        self._drop_events(identity)

    def _drop_pod(self, identity: str) -> None:
        by = self._owners.pop(identity, "")
        if siblings := self._pods.get(by):
            siblings.pop(identity, None)
            if not siblings:
                del self._pods[by]
        self._drop_events(identity)
        self._revise_owner(by)

    def _drop_event(self, identity: str) -> None:
        about = self._about.pop(identity, "")
        if known := self._events.get(about):
            known.pop(identity, None)
            if not known:
                del self._events[about]
        self._revise_owner(self._owners.get(about, about))

    def _drop_events(self, about: str) -> None:
        for event in self._events.pop(about, {}):
            self._about.pop(event, None)

    def _drop_strange_events(self) -> None:
        """Those about the oldest of what is not known, where there are too many."""
        if len(self._events) > STRANGE + len(self._names) + len(self._owners):
            self._drop_events(next(self._strange()))

    def _strange(self) -> Iterator[str]:
        return (about for about in self._events if about not in self._names and about not in self._owners)

    def _revise_owner(self, identity: str) -> None:
        if identity in self._names:
            self._revise(self._names[identity])

    def _revise(self, jid: str) -> None:
        self._revisions[jid] = next(self._count)


def _packed(found: Object) -> bytes:
    return zlib.compress(json.dumps(stripped(found), separators=(",", ":")).encode(), 1)


def _unpacked(kept: _Job | _Pod | _Event) -> Object:
    found: Object = json.loads(zlib.decompress(kept.packed))
    return found
