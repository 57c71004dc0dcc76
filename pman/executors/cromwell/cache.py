"""A cache of workflows' metadata: one query answers all who poll while another one is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pman.errors import EngineUnreachable
from pman.executors.cromwell.server import KEYS, OPTIONS, Metadata, Server
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.tasks import cancel
from pman.job import LABEL_PREFIX, REASON_LABEL

REMOVED_LABEL = f"{LABEL_PREFIX}removed"

ENDED = frozenset({"Succeeded", "Failed", "Aborted"})

MAX_BYTES = 32 * 2**20
"""The rough size of all metadata; a command of thousands of arguments stands in it."""

PARALLEL_REQUESTS = 16
"""Requests for metadata at a time; more of them wait."""

Polls = dict[str, asyncio.Future[Metadata | None]]


class MetadataCache:
    """Metadata by a workflow's id; None where Cromwell does not know it, or does not tell of it yet."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cached: Bounded[str, Metadata] = Bounded(MAX_BYTES, _size)
        self._polls: Polls = {}
        self._answering: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(PARALLEL_REQUESTS)

    async def poll(self, workflow: str) -> Metadata | None:
        """The metadata as of now, or of the next answer to all who poll. Raises EngineUnreachable."""
        future = self._polls.setdefault(workflow, asyncio.get_running_loop().create_future())
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_all())
        return await asyncio.shield(future)

    async def read(self, workflow: str) -> Metadata | None:
        """The metadata by a request of its own. Raises EngineUnreachable."""
        before = self._cached.get(workflow)
        keys = (*KEYS, OPTIONS) if before is None else KEYS
        async with self._turns:
            metadata = await self._server.metadata(workflow, keys)
        if metadata is None:
            return None
        if before:  # what it was submitted with is not asked for twice
            metadata = {**metadata, "submittedFiles": before.get("submittedFiles")}
        self._cached[workflow] = metadata
        return metadata

    async def close(self) -> None:
        await cancel(self._answering)

    async def _answer_all(self) -> None:
        while self._polls:
            polls, self._polls = self._polls, {}
            try:
                await self._answer(polls)
            except Exception as error:  # raised to all who polled; the next polls ask anew
                for future in polls.values():
                    if not future.done():
                        _fail(future, error)
            except BaseException:
                for future in polls.values():
                    future.cancel()
                raise
        self._answering = None

    async def _answer(self, polls: Polls) -> None:
        """Answer one poll by its metadata; of many, read the metadata of those that a query cannot answer."""
        rows = await self._server.rows(list(polls)) if len(polls) > 1 else {}

        async def one(workflow: str, future: asyncio.Future[Metadata | None]) -> None:
            before, row = self._cached.get(workflow), rows.get(workflow)
            same = before and row and _is_unchanged(before, row)
            try:
                future.set_result(before if same else await self.read(workflow))
            except EngineUnreachable as error:
                _fail(future, error)

        await asyncio.gather(*(one(*item) for item in polls.items()))


def _size(metadata: Metadata) -> int:
    """Bytes, roughly."""
    return 2000 + len((metadata.get("submittedFiles") or {}).get("options") or "")


def _fail(future: asyncio.Future[Metadata | None], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # whoever polled may have gone


def _is_unchanged(before: Metadata, row: Mapping[str, Any]) -> bool:
    """Tell whether the metadata are as before, by what a query says of the workflow.

    Of a workflow that runs, only the steps before its call runs show in the metadata alone. A query
    may know less than the metadata did, which is no change.
    """
    labels, cached = row.get("labels") or {}, before.get("labels") or {}
    if any(labels.get(name) != cached.get(name) for name in (REMOVED_LABEL, REASON_LABEL)):
        return False
    status = before.get("status")
    return status in ENDED or (status == row["status"] and (status != "Running" or _runs(before)))


def _runs(metadata: Metadata) -> bool:
    calls = [attempts[-1] for attempts in (metadata.get("calls") or {}).values() if attempts]
    return bool(calls) and all(
        call.get("executionStatus") == "Running" and call.get("jobId") and call.get("stdout")
        for call in calls
    )
