"""List and watch: everything of one kind, told to whoever keeps it, for as long as pman runs.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import aiohttp

from pman.errors import ConfigError, EngineUnreachable
from pman.executors.kubernetes.api import Answer, Api, Forbidden, Object

log = logging.getLogger(__name__)

WATCH_TIMEOUT_SECONDS = 50
"""Seconds after which the server ends a watch, which then goes on: a dead connection shows by then."""

WATCH_GRACE_SECONDS = 10
"""Seconds beyond that after which a connection counts as dead."""

REWATCH_SECONDS = 2.0
"""Seconds that may pass between two watches without what is known being old."""

STEADY_WATCH_SECONDS = 1.0
"""Seconds after which a watch that ends was one that works."""

RETRY_SECONDS, RETRY_LIMIT_SECONDS = 0.2, 15.0
"""Seconds to the next try, at first and at last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandler:
    """Where the objects go."""

    begin: Callable[[], None] = lambda: None
    """Told before all that there are are put."""

    put: Callable[[Object], None]
    drop: Callable[[Object], None]
    retain: Callable[[Set[str]], None]
    """Told thereafter the uids of all of them."""


class Informer:
    def __init__(self, api: Api, path: str, query: Mapping[str, str], handler: EventHandler) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._handler = handler
        self._resource_version = ""
        """All until this one is told; none, where there is nothing to go on from."""
        self._synced_until = 0.0
        self._last_error = ""
        self.is_forbidden = False
        """Whether the API server says that pman may not see these."""

    @property
    def is_synced(self) -> bool:
        """Whether what was told is what there is, but for what is on its way."""
        return time.monotonic() < self._synced_until

    async def run(self) -> None:
        """For ever. What goes wrong is tried again, later each time, and not at once by all pmans."""
        pause = RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                self._resource_version = self._resource_version or await self._list()
                await self._watch()
            except (EngineUnreachable, ConfigError) as error:
                self._not_watching(error)
            except Exception:  # the edge of this task: what is known must not grow old for ever
                log.exception("%s is not watched, by a bug", self._path)
                self._resource_version, self._synced_until = "", 0.0
            lasted = time.monotonic() - began
            if self._resource_version and lasted > STEADY_WATCH_SECONDS:
                pause = RETRY_SECONDS
                if lasted > WATCH_TIMEOUT_SECONDS / 2:
                    continue
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, RETRY_LIMIT_SECONDS)
            if not self.is_synced:
                self._resource_version = ""  # too much may have been missed to go on as if nothing had been

    async def _list(self) -> str:
        version, there = "", set[str]()
        self._handler.begin()
        async for objects, version in self._api.pages(self._path, self._query):  # noqa: B007  (the last one)
            for found in objects:
                self._handler.put(found)
                there.add(str(found["metadata"]["uid"]))
        self._handler.retain(there)
        return version

    async def _watch(self) -> None:
        """Goes on from the version, and leaves the one to go on from: none where that is too old by now."""
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._resource_version,
            "timeoutSeconds": str(WATCH_TIMEOUT_SECONDS),
        }
        idle_timeout = WATCH_TIMEOUT_SECONDS + WATCH_GRACE_SECONDS
        async with self._api.request(
            "GET", self._path, query, stream=True, idle_timeout=idle_timeout
        ) as response:
            if response.status != 200:
                self._begin_anew(self._api.answer(response.status, await response.read()))
                return
            self._watching()
            began = time.monotonic()
            try:
                async for change in _changes(response.content.iter_any()):
                    self._synced_until = time.monotonic() + WATCH_TIMEOUT_SECONDS + WATCH_GRACE_SECONDS
                    if change["type"] == "ERROR":
                        self._begin_anew(Answer(change["object"].get("code", 500), change["object"]))
                        return
                    self._handle(change["type"], change["object"])
                    self._resource_version = change["object"]["metadata"]["resourceVersion"]
            except aiohttp.ClientError:  # what is between the two may end what is idle, again and again
                if time.monotonic() - began < STEADY_WATCH_SECONDS or not self.is_synced:
                    raise
            except BaseException:
                self._synced_until = 0.0
                raise
            self._synced_until = time.monotonic() + REWATCH_SECONDS

    def _handle(self, what: str, found: Object) -> None:
        if what in ("ADDED", "MODIFIED"):
            self._handler.put(found)
        elif what == "DELETED":
            self._handler.drop(found)  # what is left is a BOOKMARK, which only has a version

    def _begin_anew(self, answer: Answer) -> None:
        self._resource_version, self._synced_until = "", 0.0
        if answer.status != 410:  # Gone: changes since that version are no longer known
            raise self._api.unexpected("GET", self._path, answer)

    def _watching(self) -> None:
        self._synced_until = time.monotonic() + WATCH_TIMEOUT_SECONDS + WATCH_GRACE_SECONDS
        self.is_forbidden = False
        if self._last_error:
            log.info("watching %s again", self._path)
            self._last_error = ""

    def _not_watching(self, error: EngineUnreachable | ConfigError) -> None:
        self._resource_version, self._synced_until = "", 0.0
        self.is_forbidden = isinstance(error, Forbidden)
        if self._last_error != str(error):
            self._last_error = str(error)
            log.warning("%s is not watched, asked for each time instead: %s", self._path, error)


async def _changes(chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """One JSON object a line; of any length, unlike what aiohttp's readline takes."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield _parsed(line)


def _parsed(text: bytes) -> Any:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise EngineUnreachable(f"what answers is no Kubernetes: {text!r:.200}") from error
    return found if isinstance(found, dict) else {"message": str(found)}
