"""What Cromwell says of workflows: one query answers all who ask while another one is on its way."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pman.errors import EngineUnreachable
from pman.executors.cromwell.server import Metadata, Server
from pman.job import LABEL_PREFIX, REASON_LABEL

REMOVED_LABEL = f"{LABEL_PREFIX}removed"

ENDED = frozenset({"Succeeded", "Failed", "Aborted"})

REMEMBERED = 32 * 2**20
"""Bytes, roughly, of the last metadata of workflows; a command of thousands of arguments stands in it."""

AT_ONCE = 16
"""Requests for metadata at a time; more of them wait."""

Asked = dict[str, asyncio.Future[Metadata | None]]


class Polls:
    """Metadata by a workflow's id; None where Cromwell does not know it, or does not tell of it yet."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: OrderedDict[str, Metadata] = OrderedDict()
        self._size = 0
        """Of what is known."""

        self._asked: Asked = {}
        self._asking: asyncio.Task[None] | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(self, workflow: str) -> Metadata | None:
        """As of now, or of the next answer of Cromwell's. Raises EngineUnreachable."""
        future = self._asked.setdefault(workflow, asyncio.get_running_loop().create_future())
        if self._asking is None:
            self._asking = asyncio.create_task(self._answer_all())
        return await asyncio.shield(future)

    async def ask_alone(self, workflow: str) -> Metadata | None:
        """By a request of its own. Raises EngineUnreachable."""
        before = self._known.get(workflow)
        async with self._turns:
            found = await self._server.metadata(workflow, options=before is None)
        if found is None:
            return None
        if before:  # what it was submitted with is not asked for twice
            found = {**found, "submittedFiles": before.get("submittedFiles")}
        self._remember(workflow, found)
        return found

    def _remember(self, workflow: str, metadata: Metadata) -> None:
        if before := self._known.pop(workflow, None):
            self._size -= _size(before)
        self._known[workflow] = metadata
        self._size += _size(metadata)
        while self._size > REMEMBERED:
            _, oldest = self._known.popitem(last=False)
            self._size -= _size(oldest)

    async def close(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _answer_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                await self._answer(asked)
            except Exception as error:  # each who asked is told; the next are asked for anew
                for future in asked.values():
                    if not future.done():
                        _fail(future, error)
            except BaseException:
                for future in asked.values():
                    future.cancel()
                raise
        self._asking = None

    async def _answer(self, asked: Asked) -> None:
        """One alone by its metadata; of many, the metadata of those that a query cannot answer for."""
        rows = await self._server.rows(list(asked)) if len(asked) > 1 else {}

        async def one(workflow: str, future: asyncio.Future[Metadata | None]) -> None:
            before, row = self._known.get(workflow), rows.get(workflow)
            same = before and row and _is_unchanged(before, row)
            try:
                future.set_result(before if same else await self.ask_alone(workflow))
            except EngineUnreachable as error:
                _fail(future, error)

        await asyncio.gather(*(one(*item) for item in asked.items()))


def _size(metadata: Metadata) -> int:
    return 2000 + len((metadata.get("submittedFiles") or {}).get("options") or "")


def _fail(future: asyncio.Future[Metadata | None], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # who asked may have gone


def _is_unchanged(before: Metadata, row: Mapping[str, Any]) -> bool:
    """Whether metadata would tell the same as before, by what a query says of the workflow.

    Of a workflow that runs, only the steps before its call runs show in the metadata alone. A query
    may know less than the metadata told already, which is no change.
    """
    labels, kept = row.get("labels") or {}, before.get("labels") or {}
    if any(labels.get(name) != kept.get(name) for name in (REMOVED_LABEL, REASON_LABEL)):
        return False
    status = before.get("status")
    return status in ENDED or (status == row["status"] and (status != "Running" or _runs(before)))


def _runs(metadata: Metadata) -> bool:
    calls = [attempts[-1] for attempts in (metadata.get("calls") or {}).values() if attempts]
    return bool(calls) and all(
        call.get("executionStatus") == "Running" and call.get("jobId") and call.get("stdout")
        for call in calls
    )
