"""Documents as objects of the cluster: created in order, as one, or not at all.

The Job owns the others, so that deleting it deletes them. Names are taken only once, which makes
every creation safe to repeat: what a call that was cut has left is found and completed.

Whoever completes a Job that another call has made marks it, and whoever takes one back deletes it only
as it was without the mark: so a Job for which one call answers is not deleted by another that failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pman.errors import ConfigError, ConnectionCut, EngineRefused, EngineUnreachable, NameTaken
from pman.executors.kubernetes.api import Answer, Api, Object, path
from pman.executors.kubernetes.fields import dropped, has
from pman.executors.kubernetes.kinds import JOBS, Kinds
from pman.executors.kubernetes.reads import (
    is_pmans,
    is_terminating,
    labels,
    name,
    resource_version,
    uid,
    without_managed_fields,
)
from pman.job import JID_LABEL, LABEL_PREFIX, Document

log = logging.getLogger(__name__)

COMPLETED = f"{LABEL_PREFIX}completed"
"""Annotation of a Job whose documents another call than its own has found complete."""

RETRY_SECONDS = 0.25
"""Seconds between two tries to take a name."""

ATTEMPTS = 80
"""Tries for what is being deleted, or what the API server could not do."""

ORPHAN_ATTEMPTS = 8
"""Tries after which what belongs to no Job counts as left behind: before, another pman may be at it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    body: Object
    where: str
    """E.g. `/apis/batch/v1 jobs`."""

    @property
    def kind(self) -> str:
        return str(self.body["kind"])


class Objects:
    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._kinds = Kinds(api)
        self._dropped: set[str] = set()

    async def apply(self, jid: str, documents: Sequence[Document]) -> Object:
        """The Job. Raises NameTaken, EngineRefused, and then leaves nothing of its own behind.

        With EngineUnreachable only what cannot be reached, or what may be another call's by now.
        """
        manifests = [await self._manifest(document) for document in documents]
        at = next(
            (i for i, each in enumerate(manifests) if each.where == JOBS and name(each.body) == jid), None
        )
        if at is None:
            raise ConfigError(f"templates/kubernetes: none of the documents is a Job of the name {jid}")
        call = _Call(self._api, self._namespace, jid, manifests, at)
        try:
            job = await call.apply()
        except (NameTaken, EngineRefused, EngineUnreachable) as error:
            await call.take_back(is_answered=not isinstance(error, EngineUnreachable))
            raise
        self._tell_dropped(manifests[at].body, job)
        return job

    def _tell_dropped(self, sent: Object, job: Object) -> None:
        """Once for each field: what is of a later version, or of a feature that is off, is not refused."""
        if new := set(dropped(sent, job)) - self._dropped:
            log.warning("this API server does not know, and ignores, of the Job: %s", ", ".join(sorted(new)))
            self._dropped |= new

    async def _manifest(self, document: Document) -> Manifest:
        """Raises ConfigError for what cannot belong to a Job in the namespace."""
        body: Any = document.content
        try:
            kind = await self._kinds.find(str(body["apiVersion"]), str(body["kind"]))
            metadata = dict(body["metadata"])
            metadata["name"] = str(metadata["name"])
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"templates/kubernetes/{document.name}: a document needs apiVersion, kind and metadata.name"
            ) from error
        if metadata["name"] in (".", "..") or set(metadata["name"]) & {
            "/",
            "%",
        }:  # what the API has no path for
            raise EngineRefused(f"create {body['kind']}", 422, f"{metadata['name']!r} can be no name")
        namespace = metadata.setdefault("namespace", self._namespace)
        if namespace != self._namespace or not kind.namespaced:
            raise ConfigError(
                f"templates/kubernetes/{document.name}: {body['kind']} {metadata['name']} would be outside "
                f"of the namespace {self._namespace}, where no Job can own it",
                "it would stay when the job is deleted; create it once, by hand",
            )
        return Manifest({**body, "metadata": metadata}, kind.path)


class _Call:
    """One application of the documents of one job; `at` is the Job's place among them."""

    def __init__(self, api: Api, namespace: str, jid: str, manifests: Sequence[Manifest], at: int) -> None:
        self._api = api
        self._namespace = namespace
        self._jid = jid
        self._before, self._job, self._after = manifests[:at], manifests[at], manifests[at + 1 :]
        self._made: list[tuple[Manifest, Object]] = []

    async def apply(self) -> Object:
        if self._before and (found := await self._find(self._job)) and not is_terminating(found):
            await self._complete(found)
        early = [(each, await self._ensure(each, None)) for each in self._before]
        job = await self._create_job()
        for each, found in early:
            await self._own(each, found, job)
        for each in self._after:
            await self._ensure(each, job)
        return without_managed_fields(job)

    async def take_back(self, *, is_answered: bool) -> None:
        """What was created; what cannot be reached now stays, and is completed by a repeat."""
        try:
            is_made = any(manifest is self._job for manifest, _ in self._made)
            if not is_answered and not is_made and await self._find(self._job):
                return  # whoever made it
            # The Job first: once it is gone, or going, no other call answers for it.
            for manifest, found in sorted(self._made, key=lambda each: each[0] is not self._job):
                if not await self._take_back(manifest, found):
                    return
        except (EngineUnreachable, EngineRefused) as error:
            made = ", ".join(f"{manifest.kind} {name(found)}" for manifest, found in self._made)
            log.warning("%s: left until it is asked for again: %s: %s", self._jid, made, error)

    async def _take_back(self, manifest: Manifest, made: Object) -> bool:
        """But for what another call has made its Job's; False for a Job that another call has completed."""
        own = {uid(each) for _, each in self._made}
        found: Object | None = made
        for _ in range(ATTEMPTS):
            if found is None or uid(found) != uid(made) or not self._owners(found) <= own:
                return True
            if COMPLETED in (found["metadata"].get("annotations") or {}):
                return False
            if await self._delete(manifest, found):
                return True
            found = await self._find(manifest)
        return False

    async def _create_job(self) -> Object:
        told = ""
        for _ in range(ATTEMPTS):
            answer = await self._post(self._job, self._job.body)
            if answer.status < 400:
                return self._keep(self._job, answer.content)
            told = answer.message
            found = await self._find(self._job)
            if found and not is_terminating(found):
                await self._complete(found)
            elif found:
                told = _going(found)
            await asyncio.sleep(RETRY_SECONDS)
        raise EngineRefused("create Job", 409, told)

    async def _complete(self, job: Object) -> None:
        """Adds what a call for the same job left undone. Raises NameTaken, unless the Job goes meanwhile."""
        others = (*self._before, *self._after)
        if others and is_pmans(job) and has(job["metadata"], _marks(self._job.body)):
            for each in others:
                await self._ensure(each, job)
            self._made.clear()  # it is the Job's now
            patch = {"metadata": {"uid": uid(job), "annotations": {COMPLETED: "yes"}}}
            answer = await self._api.call("PATCH", self._path(self._job), body=patch)
            if answer.status in (404, 409) or (answer.status < 400 and is_terminating(answer.content)):
                return
            if answer.status >= 400:
                raise EngineRefused("patch Job", answer.status, answer.message)
        raise NameTaken(f"a Job {self._jid} exists")

    async def _ensure(self, manifest: Manifest, job: Object | None) -> Object:
        """The object: created, or found as an earlier call left it. Raises NameTaken, EngineRefused."""
        body = _owned(manifest.body, _references(job)) if job else manifest.body
        told = ""
        for turn in range(ATTEMPTS):
            answer = await self._post(manifest, body)
            if answer.status < 400:
                return self._keep(manifest, answer.content)
            told = answer.message
            found = await self._find(manifest)
            if found and not self._is_ours(found):
                break
            if found and not is_terminating(found):
                if settled := await self._settle(manifest, found, job, turn):
                    return settled
                continue
            if found:
                told = _going(found)
            await asyncio.sleep(RETRY_SECONDS)
        raise EngineRefused(f"create {manifest.kind}", 409, told)

    async def _settle(
        self, manifest: Manifest, found: Object, job: Object | None, turn: int
    ) -> Object | None:
        """What of this job's is there already, if it can stay; else it goes, since its Job went."""
        owners = self._owners(found)
        if job and uid(job) in owners:
            return found
        if not owners and has(found, manifest.body):
            return await self._own(manifest, found, job) if job else found
        if job is None and (other := await self._find(self._job)) and not is_terminating(other):
            await self._complete(other)
        if not owners and turn < ORPHAN_ATTEMPTS:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            await self._delete(manifest, found)
        return None

    async def _own(self, manifest: Manifest, found: Object, job: Object) -> Object:
        """Make it the Job's; or another one, where this one changed or went meanwhile."""
        references = [*(found["metadata"].get("ownerReferences") or ()), *_references(job)]
        if uid(job) in self._owners(found):
            return found
        patch = {
            "metadata": {
                "uid": uid(found),
                "resourceVersion": resource_version(found),
                "ownerReferences": references,
            }
        }
        answer = await self._api.call("PATCH", self._path(manifest), body=patch)
        if answer.status < 400:
            return _object(answer)
        if answer.status in (404, 409):
            return await self._ensure(manifest, job)
        raise EngineRefused(f"patch {manifest.kind}", answer.status, answer.message)

    async def _post(self, manifest: Manifest, body: Object) -> Answer:
        """201 or 409. Raises EngineRefused, EngineUnreachable.

        A call that was cut may have gone through: the repeat then finds the name taken, by ourselves.
        """
        where = path(self._namespace, manifest.where)
        cut = False
        try:
            answer = await self._api.call("POST", where, body=body)
        except ConnectionCut:
            cut = True
            answer = await self._api.call("POST", where, body=body)
        if answer.status >= 400 and answer.status != 409:
            raise EngineRefused(f"create {manifest.kind}", answer.status, answer.message)
        if answer.status == 409 and cut:
            found = await self._find(manifest)
            if found and self._is_ours(found) and has(found["metadata"], _marks(body)):
                return Answer(201, found)
        return answer

    async def _delete(self, manifest: Manifest, found: Object) -> bool:
        """As it was found; False where it has changed, or is another one by now.

        A Job is there until its pods are not, so that none of a later Job of the name runs beside them.
        """
        options = {
            "propagationPolicy": "Foreground" if manifest is self._job else "Background",
            "preconditions": {"uid": uid(found), "resourceVersion": resource_version(found)},
        }
        answer = await self._api.call("DELETE", self._path(manifest), body=options)
        if answer.status >= 400 and answer.status not in (404, 409):
            raise EngineRefused(f"delete {manifest.kind}", answer.status, answer.message)
        return answer.status != 409

    async def _find(self, manifest: Manifest) -> Object | None:
        return await self._api.get(self._path(manifest))

    def _keep(self, manifest: Manifest, found: Object) -> Object:
        self._made.append((manifest, found))
        return found

    def _path(self, manifest: Manifest) -> str:
        return path(self._namespace, manifest.where, name(manifest.body))

    def _is_ours(self, found: Object) -> bool:
        return labels(found).get(JID_LABEL) == self._jid or bool(self._owners(found))

    def _owners(self, found: Object) -> set[str]:
        """The uids of the Jobs of this name that own it."""
        references = found["metadata"].get("ownerReferences") or ()
        return {each["uid"] for each in references if each["kind"] == "Job" and each["name"] == self._jid}


def _references(job: Object) -> list[Mapping[str, Any]]:
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name(job),
            "uid": uid(job),
            "controller": False,
            "blockOwnerDeletion": False,
        }
    ]


def _owned(body: Object, references: Sequence[Mapping[str, Any]]) -> Object:
    metadata = body["metadata"]
    return {
        **body,
        "metadata": {**metadata, "ownerReferences": [*(metadata.get("ownerReferences") or ()), *references]},
    }


def _marks(body: Object) -> Mapping[str, Any]:
    """What tells one job from another of the same name."""
    metadata = body["metadata"]
    return {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}


def _going(found: Object) -> str:
    finalizers = ", ".join(found["metadata"].get("finalizers") or ())
    waits = f", which waits for its finalizers ({finalizers})" if finalizers else ""
    return f"{found['kind']} {name(found)} of an earlier job is being deleted{waits}"


def _object(answer: Answer) -> Object:
    found: Object = answer.content
    return found
