"""A cache of workflows' metadata: one query answers all who poll while another one is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pman.executors.cromwell.server import KEYS, OPTIONS, Metadata, Server
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.tasks import SingleFlight
from pman.job import LABEL_PREFIX, REASON_LABEL

REMOVED_LABEL = f"{LABEL_PREFIX}removed"

ENDED = frozenset({"Succeeded", "Failed", "Aborted"})

MAX_BYTES = 32 * 2**20
"""The rough size of all metadata; a command of thousands of arguments stands in it."""

PARALLEL_REQUESTS = 16
"""Requests for metadata at a time; more of them wait."""


class MetadataCache:
    """Metadata by a workflow's id; None where Cromwell does not know it, or does not tell of it yet."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cached: Bounded[str, Metadata] = Bounded(MAX_BYTES, _size)
        self._polled: set[str] = set()
        """The workflows that the next answer is for."""

        self._round = 0
        """The number of that answer."""

        self._answers = SingleFlight[int, Mapping[str, Metadata | BaseException | None]]()
        self._answering = asyncio.Lock()
        self._turns = asyncio.Semaphore(PARALLEL_REQUESTS)

    async def poll(self, workflow: str) -> Metadata | None:
        """The metadata as of now, or of the next answer to all who poll. Raises EngineUnreachable."""
        polled = self._polled
        polled.add(workflow)
        answers = await self._answers.run(self._round, lambda: self._answer(polled))
        answer = answers[workflow]
        if isinstance(answer, BaseException):
            raise answer
        return answer

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
        await self._answers.close()

    async def _answer(self, polled: set[str]) -> Mapping[str, Metadata | BaseException | None]:
        """Answer one poll by its metadata; of many, read the metadata of those that a query cannot answer."""
        async with self._answering:  # who polls meanwhile is answered with the others
            self._polled, self._round = set(), self._round + 1
            rows = await self._server.rows(list(polled)) if len(polled) > 1 else {}

            async def one(workflow: str) -> Metadata | None:
                before, row = self._cached.get(workflow), rows.get(workflow)
                same = before and row and _is_unchanged(before, row)
                return before if same else await self.read(workflow)

            answers = await asyncio.gather(*map(one, polled), return_exceptions=True)
            return dict(zip(polled, answers, strict=True))


def _size(metadata: Metadata) -> int:
    """Bytes, roughly."""
    return 2000 + len((metadata.get("submittedFiles") or {}).get("options") or "")


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
