"""The workflow of a job: the one of its last generation, of which Cromwell may tell only seconds later."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from cachetools import TTLCache

from pman.errors import EngineUnreachable, UnknownJob
from pman.executors.cromwell.cache import REMOVED_LABEL, MetadataCache
from pman.executors.cromwell.server import QUERY_SIZE, Metadata, Server
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.tasks import SingleFlight

NAMESPACE = uuid.UUID("8f1c5c5e-3f0a-4d0e-9a53-5b8f6c0f5d1e")
"""The namespace of pman's jobs; with another one pman would lose sight of all of them."""

SUBMITTED_SECONDS = 600.0
"""For so long a workflow that this pman has submitted, and Cromwell does not tell of, counts as there."""

MAX_GENERATIONS = 20_000
"""Deleted names whose generation is known without asking; another one is asked for from its first one on."""

QUERY_INTERVAL_SECONDS = 0.25
"""Between two queries for what Cromwell does not tell of yet, however many wait for it."""

MAX_AWAITED = 2 * QUERY_SIZE
"""Workflows at a time, most of which were never submitted; whoever asks for one more has to come again."""


class Workflows:
    def __init__(self, server: Server, lag: float) -> None:
        """`lag`: seconds until Cromwell surely tells of what it has taken."""
        self._server = server
        self.cache = MetadataCache(server)
        self._awaited = Counter[str]()
        """The number of callers that wait, by the workflow that Cromwell does not tell of yet."""

        self._queries = SingleFlight[str, Mapping[str, Mapping[str, Any]]]()
        self._next_query_at = float("-inf")
        self._lag = lag
        self._generations: Bounded[str, int] = Bounded(MAX_GENERATIONS)
        """The generation that may be there, of names that were deleted: those below are gone for good."""

        self.submitted: TTLCache[str, Metadata] = TTLCache(math.inf, SUBMITTED_SECONDS)
        """The metadata of workflows that this pman has submitted and Cromwell does not tell of yet, by id."""

    def ids(self, jid: str) -> Iterator[tuple[int, str]]:
        """The generation that may be there and its workflow's id, then the next ones, without end."""
        for generation in count(self._generations.get(jid, 1)):
            yield generation, workflow_id(jid, generation)

    async def find(self, jid: str, *, fresh: bool) -> tuple[int, Metadata, bool]:
        """Its generation, its metadata, and whether Cromwell tells of it yet. Raises UnknownJob.

        A caller who asks for a name that Cromwell does not tell of waits until it surely would: the job may
        have been submitted by another pman, or by this one before a restart.
        """
        read = self.cache.read if fresh else self.cache.poll
        for generation, workflow in self.ids(jid):
            metadata = await read(workflow)
            if metadata is None and (submitted := self.submitted.get(workflow)):
                return generation, submitted, False
            if metadata is None:
                metadata = await self.visible(workflow)
            if metadata is None:
                raise UnknownJob(jid)
            self.submitted.pop(workflow, None)
            if not is_removed(metadata):
                return generation, metadata, True
            self.forget(jid, generation, workflow)
        raise AssertionError  # there is always a next generation

    async def is_removed(self, jid: str, generation: int, workflow: str) -> bool:
        """Tell whether a workflow that is there is a deleted job's.

        Raises EngineUnreachable where Cromwell does not tell of it.
        """
        if workflow in self.submitted:
            return False
        metadata = await self.visible(workflow)
        if metadata is None:
            raise self.silent(jid)
        if is_removed(metadata):
            self.forget(jid, generation, workflow)
        return is_removed(metadata)

    def forget(self, jid: str, generation: int, workflow: str) -> None:
        """The job was deleted, by any pman; the next one of its name is of the next generation."""
        self.submitted.pop(workflow, None)
        self._generations[jid] = max(generation + 1, self._generations.get(jid, 1))

    async def visible(self, workflow: str) -> Metadata | None:
        """The metadata as soon as Cromwell tells of it; None once it would have. Raises EngineUnreachable."""
        if workflow not in self._awaited and len(self._awaited) >= MAX_AWAITED:
            raise EngineUnreachable(
                f"{MAX_AWAITED} jobs are asked for at once that Cromwell does not tell of",
                "it may have taken them just now, or nobody ever submitted jobs of these names",
            )
        self._awaited[workflow] += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lag):
                    while workflow not in await self._queries.run("", self._query):
                        pass
        finally:
            self._awaited[workflow] -= 1
            if not self._awaited[workflow]:
                del self._awaited[workflow]
        return await self.cache.read(workflow)

    async def _query(self) -> Mapping[str, Mapping[str, Any]]:
        """The rows of those that are awaited, by id; with a pause after the query before."""
        await asyncio.sleep(self._next_query_at - time.monotonic())
        try:
            return await self._server.rows(list(self._awaited))
        finally:
            self._next_query_at = time.monotonic() + QUERY_INTERVAL_SECONDS

    async def label(self, workflow: str, labels: Mapping[str, str]) -> bool:
        """Label it once Cromwell tells of it, which labels nothing else; False where it does not."""
        return await self._server.label(workflow, labels) or (
            await self.visible(workflow) is not None and await self._server.label(workflow, labels)
        )

    def silent(self, jid: str) -> EngineUnreachable:
        return EngineUnreachable(
            f"Cromwell has a workflow for {jid} and does not tell of it within {self._lag:.0f} s",
            "it is slow to write its metadata; CROMWELL_LAG_SECONDS sets how long pman waits",
        )

    async def close(self) -> None:
        await self._queries.close()
        await self.cache.close()


def workflow_id(jid: str, generation: int) -> str:
    """The id by the job's name and a count of its deletions, from 1, so that nobody has to ask for it.

    Cromwell takes the id of a workflow from who submits it (75 or newer) and refuses one in use. So of
    all pmans that submit a job, at once or again after a crash, one succeeds. An id is used up for ever: a
    name that is free again after DELETE goes on with the next generation.
    """
    return str(uuid.uuid5(NAMESPACE, f"{jid}#{generation}"))


def is_removed(metadata: Metadata) -> bool:
    return REMOVED_LABEL in (metadata.get("labels") or {})
