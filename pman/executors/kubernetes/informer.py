"""List and watch all objects of a resource, for as long as pman runs, and hand them to a store.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import aiohttp

from pman.errors import ConfigError, EngineUnreachable
from pman.executors.kubernetes.api import Answer, Api, Forbidden, Object
from pman.executors.kubernetes.metadata import uid
from pman.executors.shared.http import lines

log = logging.getLogger(__name__)

WATCH_TIMEOUT_SECONDS = 50
"""The server ends a watch after so long, and the next one goes on from there: a dead connection shows."""

WATCH_GRACE_SECONDS = 10
"""A connection counts as dead when nothing came for so long beyond WATCH_TIMEOUT_SECONDS."""

REWATCH_SECONDS = 2.0
"""Between two watches so long may pass while the store still counts as synced."""

STEADY_WATCH_SECONDS = 1.0
"""A watch that lasted so long worked: the pause before the next one is short."""

RETRY_SECONDS, RETRY_LIMIT_SECONDS = 0.2, 15.0
"""The first pause before another try, which doubles, and the longest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandler:
    """The calls of a store: `put` for an object that was added or changed, `drop` for a deleted one's uid."""

    begin: Callable[[], None] = lambda: None
    """Called before a list, whose objects are all put."""

    put: Callable[[Object], None]
    drop: Callable[[str], None]
    retain: Callable[[Set[str]], None]
    """Called after a list with the uids of all its objects: others are gone."""


class Informer:
    def __init__(self, api: Api, path: str, query: Mapping[str, str], handler: EventHandler) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._handler = handler
        self._resource_version = ""
        """The one to watch from; '' before the next list."""
        self._synced_until = 0.0
        self._last_error = ""
        self.is_forbidden = False
        """True while pman lacks the permission to list or watch these."""

    @property
    def is_synced(self) -> bool:
        """Tell whether the store has the state of the cluster, but for events that are on their way."""
        return time.monotonic() < self._synced_until

    async def run(self) -> None:
        """List and watch for ever. After errors the pause doubles, at random: pmans come one by one."""
        pause = RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                self._resource_version = self._resource_version or await self._list()
                await self._watch()
            except (EngineUnreachable, ConfigError) as error:
                self._watch_failed(error)
            except Exception:  # the edge of this task: the store must not stay old for ever
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
                self._resource_version = ""  # too many events may have been missed to go on from there

    async def _list(self) -> str:
        version, uids = "", set[str]()
        self._handler.begin()
        async for objects, version in self._api.pages(self._path, self._query):  # noqa: B007  (the last one)
            for item in objects:
                self._handler.put(item)
                uids.add(uid(item))
        self._handler.retain(uids)
        return version

    async def _watch(self) -> None:
        """Watch from the resourceVersion, and advance it; it becomes '' where the server has forgotten it."""
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
                self._list_again(self._api.answer(response.status, await response.read()))
                return
            self._watch_began()
            began = time.monotonic()
            try:
                async for line in lines(response.content.iter_any()):
                    event = self._api.answer(response.status, line).content
                    self._synced_until = time.monotonic() + WATCH_TIMEOUT_SECONDS + WATCH_GRACE_SECONDS
                    if event["type"] == "ERROR":
                        self._list_again(Answer(event["object"].get("code", 500), event["object"]))
                        return
                    self._handle(event["type"], event["object"])
                    self._resource_version = event["object"]["metadata"]["resourceVersion"]
            except aiohttp.ClientError:  # a proxy in between may end idle connections, again and again
                if time.monotonic() - began < STEADY_WATCH_SECONDS or not self.is_synced:
                    raise
            except BaseException:
                self._synced_until = 0.0
                raise
            self._synced_until = time.monotonic() + REWATCH_SECONDS

    def _handle(self, event: str, item: Object) -> None:
        if event in ("ADDED", "MODIFIED"):
            self._handler.put(item)
        elif event == "DELETED":
            self._handler.drop(uid(item))  # the fourth is BOOKMARK, which only has a resourceVersion

    def _list_again(self, answer: Answer) -> None:
        self._resource_version, self._synced_until = "", 0.0
        if answer.status != 410:  # Gone: the server has forgotten the changes since that resourceVersion
            raise self._api.unexpected("GET", self._path, answer)

    def _watch_began(self) -> None:
        self._synced_until = time.monotonic() + WATCH_TIMEOUT_SECONDS + WATCH_GRACE_SECONDS
        self.is_forbidden = False
        if self._last_error:
            log.info("watching %s again", self._path)
            self._last_error = ""

    def _watch_failed(self, error: EngineUnreachable | ConfigError) -> None:
        self._resource_version, self._synced_until = "", 0.0
        self.is_forbidden = isinstance(error, Forbidden)
        if self._last_error != str(error):
            self._last_error = str(error)
            log.warning("%s is not watched, asked for each time instead: %s", self._path, error)
