"""The calls that create, change and delete objects.

A name is taken only once, which makes every creation safe to repeat: a call that was cut may have gone
through, and then the repeat finds the object that it wanted to create.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pman.errors import ConnectionCut, EngineRefused
from pman.executors.kubernetes.api import Answer, Api, Object
from pman.executors.kubernetes.manifests import Manifest, has
from pman.executors.kubernetes.metadata import is_terminating, name, resource_version, uid

NAME_RETRY_SECONDS = 0.25
"""Between two tries to create an object whose name another one has."""

NAME_ATTEMPTS = 80
"""Tries, 20 s in all: an earlier object of the name may be terminating, or the API server busy."""


Resolve = Callable[[Object, str, int], Awaitable[Object | None]]
"""Takes an object that has the name already and is not terminating, the API server's words, and the number of
the attempt, from 0. Returns the object to use in place of a new one, or None to try again; or raises."""


class Objects:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, manifest: Manifest, resolve: Resolve) -> tuple[Object, bool]:
        """Return the object, and whether it is new. Raises EngineRefused, and what `resolve` raises."""
        message = ""
        for attempt in range(NAME_ATTEMPTS):
            answer = await self._post(manifest)
            if answer.status < 400:
                return answer.content, True
            message, existing = answer.message, await self.get(manifest)
            if existing and is_terminating(existing) and manifest.may_await(existing):
                message = _terminating(existing)
            elif existing and (resolved := await resolve(existing, message, attempt)):
                return resolved, False
            await asyncio.sleep(NAME_RETRY_SECONDS)
        raise EngineRefused(f"create {manifest.kind}", 409, message)

    async def get(self, manifest: Manifest) -> Object | None:
        """The object that has the manifest's name, whoever's it is."""
        return await self._api.get(self._path(manifest))

    async def patch(self, manifest: Manifest, metadata: Mapping[str, Any]) -> Object | None:
        """Merge into the metadata; None where the object has changed or is gone. Raises EngineRefused."""
        call, body = f"patch {manifest.kind}", {"metadata": metadata}
        answer = await self._api.change(call, "PATCH", self._path(manifest), body)
        return answer.content if answer.status < 400 else None

    async def delete(self, manifest: Manifest, existing: Object) -> bool:
        """Delete it as it was read; False where it has changed since. Raises EngineRefused.

        A Job is there until its pods are not, so that no later Job of the name runs beside them.
        """
        options = {
            "propagationPolicy": "Foreground" if manifest.is_the_job else "Background",
            "preconditions": {"uid": uid(existing), "resourceVersion": resource_version(existing)},
        }
        answer = await self._api.change(f"delete {manifest.kind}", "DELETE", self._path(manifest), options)
        return answer.status != 409

    async def _post(self, manifest: Manifest) -> Answer:
        """Send it, and once more where the call was cut; 201 or 409. Raises EngineRefused."""
        where, cut = self._api.path(manifest.resource), False
        try:
            answer = await self._api.call("POST", where, body=manifest.body)
        except ConnectionCut:
            cut = True
            answer = await self._api.call("POST", where, body=manifest.body)
        if answer.status >= 400 and answer.status != 409:
            raise EngineRefused(f"create {manifest.kind}", answer.status, answer.message)
        if answer.status == 409 and cut and (existing := await self.get(manifest)):
            own = manifest.is_of_the_same_name(existing) and has(existing["metadata"], manifest.marks)
            return Answer(201, existing) if own else answer
        return answer

    def _path(self, manifest: Manifest) -> str:
        return self._api.path(manifest.resource, name(manifest.body))


def _terminating(existing: Object) -> str:
    finalizers = ", ".join(existing["metadata"].get("finalizers") or ())
    waits = f", which waits for its finalizers ({finalizers})" if finalizers else ""
    return f"{existing['kind']} {name(existing)} of an earlier job is being deleted{waits}"
