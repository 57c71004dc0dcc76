"""A Job, often with other documents: created in order, as one, or not at all.

The Job owns the others, so that deleting it deletes them. What a call that was cut has left is adopted and
completed by its repeat. Whoever completes a Job that another call has created marks it, and whoever takes one
back deletes it only as it was without the mark: so a Job for which one call answers is not deleted by another
that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pman.errors import EngineRefused, EngineUnreachable, NameTaken
from pman.executors.kubernetes.api import Object
from pman.executors.kubernetes.manifests import Manifest, has, owner_reference
from pman.executors.kubernetes.metadata import is_pmans, is_terminating, name, resource_version, uid
from pman.executors.kubernetes.objects import NAME_ATTEMPTS, Objects, Resolve
from pman.job import LABEL_PREFIX

log = logging.getLogger(__name__)

COMPLETED = f"{LABEL_PREFIX}completed"
"""Annotation of a Job whose documents another call than its own has found complete."""

ORPHAN_ATTEMPTS = 8
"""Tries to create an object, 2 s in all, during which one of the name that no Job owns is left alone: another
pman may be about to create its Job."""


class Bundle:
    """One application of the documents of one job."""

    def __init__(self, objects: Objects, manifests: Sequence[Manifest]) -> None:
        """One of the manifests is the Job."""
        self._objects = objects
        at = next(index for index, manifest in enumerate(manifests) if manifest.is_the_job)
        self._before, self._job, self._after = manifests[:at], manifests[at], manifests[at + 1 :]
        self._created: list[tuple[Manifest, Object]] = []

    async def apply(self) -> Object:
        """The Job. Raises NameTaken, EngineRefused, and then leaves nothing of its own behind.

        With EngineUnreachable only what cannot be reached, or what may be another call's by now.
        """
        try:
            return await self._apply()
        except (NameTaken, EngineRefused, EngineUnreachable) as error:
            await self.take_back(is_answered=not isinstance(error, EngineUnreachable))
            raise

    async def take_back(self, *, is_answered: bool) -> None:
        """Delete what was created; what cannot be reached now stays, and is completed by a repeat."""
        try:
            has_job = any(manifest is self._job for manifest, _ in self._created)
            if self._created and not is_answered and not has_job and await self._objects.get(self._job):
                return  # whoever created it
            # The Job first: once it is gone, or terminating, no other call answers for it.
            for manifest, created in sorted(self._created, key=lambda each: each[0] is not self._job):
                if not await self._take_back(manifest, created):
                    return
        except (EngineUnreachable, EngineRefused) as error:
            left = ", ".join(f"{manifest.kind} {name(created)}" for manifest, created in self._created)
            log.warning("%s: left until it is asked for again: %s: %s", self._job.jid, left, error)

    async def _apply(self) -> Object:
        if self._before and (job := await self._objects.get(self._job)) and not is_terminating(job):
            await self._complete(job)
        early = [(manifest, await self._ensure(manifest, None)) for manifest in self._before]
        job = await self._create_job()
        for manifest, existing in early:
            await self._adopt(manifest, existing, job)
        for manifest in self._after:
            await self._ensure(manifest, job)
        return job

    async def _take_back(self, manifest: Manifest, created: Object) -> bool:
        """Delete it, unless it belongs to another call's Job; False for a Job that another call completed."""
        own = {uid(each) for _, each in self._created}
        existing: Object | None = created
        for _ in range(NAME_ATTEMPTS):
            if existing is None or uid(existing) != uid(created) or not manifest.owners_of(existing) <= own:
                return True
            if COMPLETED in (existing["metadata"].get("annotations") or {}):
                return False
            if await self._objects.delete(manifest, existing):
                return True
            existing = await self._objects.get(manifest)
        return False

    async def _create(self, manifest: Manifest, resolve: Resolve) -> Object:
        created, is_new = await self._objects.create(manifest, resolve)
        if is_new:
            self._created.append((manifest, created))
        return created

    async def _create_job(self) -> Object:
        return await self._create(self._job, lambda existing, *_: self._complete(existing))

    async def _complete(self, job: Object) -> None:
        """Add what a call for the same job left undone. Raises NameTaken, unless the Job goes meanwhile."""
        others = (*self._before, *self._after)
        if others and is_pmans(job) and has(job["metadata"], self._job.marks):
            for manifest in others:
                await self._ensure(manifest, job)
            self._created.clear()  # it is the Job's now
            metadata = {"uid": uid(job), "annotations": {COMPLETED: "yes"}}
            patched = await self._objects.patch(self._job, metadata)
            if patched is None or is_terminating(patched):
                return
        raise NameTaken(f"a Job {self._job.jid} exists")

    async def _ensure(self, manifest: Manifest, job: Object | None) -> Object:
        """The object: created, or as an earlier call left it. Raises NameTaken, EngineRefused."""

        async def resolve(existing: Object, message: str, attempt: int) -> Object | None:
            if not manifest.is_of_the_same_name(existing):
                raise EngineRefused(f"create {manifest.kind}", 409, message)
            return await self._settle(manifest, existing, attempt, job)

        return await self._create(manifest.owned_by(job) if job else manifest, resolve)

    async def _settle(
        self, manifest: Manifest, existing: Object, attempt: int, job: Object | None
    ) -> Object | None:
        """The existing object of this job, if it can stay; else delete it, since its Job went."""
        owners = manifest.owners_of(existing)
        if job and uid(job) in owners:
            return existing
        if not owners and has(existing, manifest.body):
            return await self._adopt(manifest, existing, job) if job else existing
        if job is None and (other := await self._objects.get(self._job)) and not is_terminating(other):
            await self._complete(other)
        if owners or attempt >= ORPHAN_ATTEMPTS:
            await self._objects.delete(manifest, existing)
        return None

    async def _adopt(self, manifest: Manifest, existing: Object, job: Object) -> Object:
        """Make the Job its owner; or create another one, where this one changed or went meanwhile."""
        if uid(job) in manifest.owners_of(existing):
            return existing
        references = [*(existing["metadata"].get("ownerReferences") or ()), owner_reference(job)]
        as_read = {"uid": uid(existing), "resourceVersion": resource_version(existing)}
        adopted = await self._objects.patch(manifest, {**as_read, "ownerReferences": references})
        return adopted or await self._ensure(manifest, job)
