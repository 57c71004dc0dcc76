"""Jobs, pods and events as the watches last told them: plain data, no connection in sight.

Versions of objects are only ever compared for equality, as the API asks for.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from pman.executors.kubernetes.api import Object
from pman.executors.kubernetes.state import (
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


class Memory:
    def __init__(self) -> None:
        self._jobs: dict[str, Object] = {}
        self._names: dict[str, str] = {}
        """Of the Jobs, by uid."""
        self._pods: dict[str, dict[str, Object]] = {}
        """By uid, of each owner's uid."""
        self._owners: dict[str, str] = {}
        self._events: OrderedDict[str, dict[str, Object]] = OrderedDict()
        """By uid, of each object's uid."""
        self._about: dict[str, str] = {}
        self._revisions: dict[str, int] = {}
        self._count = itertools.count(1)
        self._changed: dict[str, float] = {}
        self._expected: dict[str, tuple[str, float]] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def native(self, jid: str) -> Native | None:
        """None for what is not known, or not for sure."""
        job = self._jobs.get(jid)
        if job is None or not self._is_settled(job):
            return None
        pods = self._pods.get(uid(job), {})
        events = [event for each in (uid(job), *pods) for event in self._events.get(each, {}).values()]
        return native(job, pods.values(), events)

    def revision(self, jid: str) -> int | None:
        """Another number whenever `native` would tell something else."""
        return self._revisions.get(jid) if jid in self._jobs else None

    def jids(self) -> list[str]:
        return sorted(self._jobs)

    def active(self) -> list[str]:
        return sorted(jid for jid, job in self._jobs.items() if not has_ended(job))

    def is_deleted(self, found: Object) -> bool:
        return uid(found) in self._deleted

    def expect(self, job: Object) -> None:
        """What pman has just changed is not known before the watch tells of it, in its turn."""
        if (known := self._jobs.get(name(job))) and version(known) != version(job):
            self._expected[name(job)] = (version(job), time.monotonic() + SETTLING)

    def forget(self, job: Object) -> None:
        """What pman has just deleted."""
        self._bury(uid(job))
        self._drop_job(job)

    def replace_jobs(self, jobs: Sequence[Object]) -> None:
        listed = {uid(job) for job in jobs}
        for job in [job for job in self._jobs.values() if uid(job) not in listed]:
            self._drop_job(job)
        for job in jobs:
            self.put_job(job)

    def put_job(self, job: Object) -> None:
        jid = name(job)
        known = self._jobs.get(jid)
        if not is_pmans(job) or is_going(job):
            if known and uid(known) == uid(job):
                self._drop_job(known)
            return
        if self.is_deleted(job):
            return
        if known and uid(known) != uid(job):
            self.forget(known)  # only one at a time can have the name
        elif known and version(known) == version(job):
            return
        if jid in self._expected and self._expected[jid][0] == version(job):
            del self._expected[jid]
        self._jobs[jid] = stripped(job)
        self._names[uid(job)] = jid
        self._changed[jid] = time.monotonic()
        self._revise(jid)

    def put_new_job(self, job: Object) -> None:
        """What pman has just created; the watch may have told more of it by now."""
        known = self._jobs.get(name(job))
        if not known or uid(known) != uid(job):
            self.put_job(job)

    def drop_job(self, job: Object) -> None:
        """The watch tells that it was deleted."""
        self.forget(job)

    def replace_pods(self, pods: Sequence[Object]) -> None:
        listed = {uid(pod) for pod in pods}
        for pod in [pod for each in self._pods.values() for pod in each.values() if uid(pod) not in listed]:
            self.drop_pod(pod)
        for pod in pods:
            self.put_pod(pod)

    def put_pod(self, pod: Object) -> None:
        by = owner(pod)
        siblings = self._pods.get(by, {})
        known = siblings.get(uid(pod))
        if not by or (known and version(known) == version(pod)):
            return
        self._pods.setdefault(by, {})[uid(pod)] = stripped(pod)
        self._owners[uid(pod)] = by
        self._revise_owner(by)

    def drop_pod(self, pod: Object) -> None:
        by = self._owners.pop(uid(pod), "")
        if siblings := self._pods.get(by):
            siblings.pop(uid(pod), None)
            if not siblings:
                del self._pods[by]
        self._drop_events(uid(pod))
        self._revise_owner(by)

    def replace_events(self, events: Sequence[Object]) -> None:
        listed = {uid(event) for event in events}
        for event in [
            event for each in self._events.values() for event in each.values() if uid(event) not in listed
        ]:
            self.drop_event(event)
        for event in events:
            self.put_event(event)

    def put_event(self, event: Object) -> None:
        about = str(event["involvedObject"].get("uid", ""))
        known = self._events.setdefault(about, {})
        if uid(event) in known and version(known[uid(event)]) == version(event):
            return
        known.pop(uid(event), None)
        known[uid(event)] = stripped(event)
        self._about[uid(event)] = about
        if len(known) > EVENTS_EACH:
            self._about.pop(next(iter(known)))
            del known[next(iter(known))]
        self._forget_strange_events()
        self._revise_owner(self._owners.get(about, about))

    def drop_event(self, event: Object) -> None:
        """Events do not live long, by default an hour."""
        about = self._about.pop(uid(event), "")
        if about in self._events:
            self._events[about].pop(uid(event), None)
            if not self._events[about]:
                del self._events[about]
        self._revise_owner(self._owners.get(about, about))

    def _is_settled(self, job: Object) -> bool:
        """Whether nothing is on its way that would tell more.

        The two watches are not in step: the end of a Job may be known before that of its pods, and
        with it why. The platform asks only once for what has ended.
        """
        jid, now = name(job), time.monotonic()
        if jid in self._expected:
            if now < self._expected[jid][1]:
                return False
            del self._expected[jid]
        template = (job["spec"]["template"].get("metadata") or {}).get("labels") or {}
        if template.get(JID_LABEL) != jid:
            return False  # a template of the site's own; the watch does not see such pods
        if not has_ended(job) or now > self._changed[jid] + SETTLING:
            return True
        status, pods = job["status"], self._pods.get(uid(job), {}).values()
        over = sum(map(is_over, pods))
        return over == len(pods) and over >= status.get("succeeded", 0) + status.get("failed", 0)

    def _drop_job(self, job: Object) -> None:
        jid = self._names.pop(uid(job), None)
        if jid is None:
            return
        for kept in (self._jobs, self._revisions, self._changed, self._expected):
            kept.pop(jid, None)
        self._drop_events(uid(job))

    def _drop_events(self, about: str) -> None:
        for event in self._events.pop(about, {}):
            self._about.pop(event, None)

    def _forget_strange_events(self) -> None:
        if len(self._events) > STRANGE + len(self._names) + len(self._owners):
            for about in self._strange():
                self._drop_events(about)
                return

    def _strange(self) -> Iterable[str]:
        """The oldest first."""
        return (about for about in self._events if about not in self._names and about not in self._owners)

    def _bury(self, identity: str) -> None:
        self._deleted[identity] = None
        if len(self._deleted) > DELETED:
            self._deleted.popitem(last=False)

    def _revise_owner(self, identity: str) -> None:
        if identity in self._names:
            self._revise(self._names[identity])

    def _revise(self, jid: str) -> None:
        self._revisions[jid] = next(self._count)
