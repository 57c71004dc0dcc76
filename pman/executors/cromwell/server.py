"""Cromwell's REST API: each call, and what its answer means (CromwellApiService, swagger of version 92)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from pman.errors import EngineRefused, EngineUnreachable, NameTaken, TimedOut
from pman.executors.shared.http import Http

WORKFLOWS = "/api/workflows/v1"

Metadata = Mapping[str, Any]

KEYS = (
    "status", "submission", "start", "end", "labels", "failures", "executionStatus", "backendStatus",
    "returnCode", "jobId", "callRoot", "stdout", "stderr",
)  # fmt: skip
"""The metadata that rules and logs need; each is a prefix, of the workflow's keys and of its calls'."""

QUERY_SIZE = 500
"""Workflows that one query asks for at the most."""

OPTIONS = "submittedFiles:options"
"""The key of what a workflow was submitted with, which never changes."""


class Server:
    """Every call raises EngineUnreachable for no answer, and for one that is a failure of Cromwell's."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def version(self) -> str:
        """Cromwell's version, such as 92-abcdef0."""
        _, content = await self._call("GET", "/engine/v1/version", takes=(200,))
        return str(content.get("cromwell", "of unknown version"))

    async def submit(self, workflow: str, form: Mapping[str, str]) -> None:
        """Start a workflow of this id. Raises NameTaken where the id is in use, EngineRefused.

        Tried twice: what failed the first time may have been carried out, and then the id is in use.
        """
        try:
            await self._submit(workflow, form)
        except TimedOut:
            raise
        except EngineUnreachable:
            await self._submit(workflow, form)

    async def metadata(self, workflow: str, keys: Sequence[str] = KEYS) -> Metadata | None:
        """The metadata, or None where Cromwell does not know the workflow, or does not tell of it yet."""
        params = [*(("includeKey", key) for key in keys), ("expandSubWorkflows", "false")]
        path = f"{WORKFLOWS}/{workflow}/metadata"
        status, content = await self._call("GET", path, takes=(200, 404), params=params)
        return content if status == 200 else None

    async def query(self, filters: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, Any]]:
        """The id, status, times and labels of the workflows that match."""
        body = [*filters, {"additionalQueryResultFields": "labels"}]
        _, content = await self._call("POST", f"{WORKFLOWS}/query", takes=(200,), json=body)
        rows: Sequence[Mapping[str, Any]] = content["results"]
        return rows

    async def rows(self, workflows: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The same of these workflows, by id; metadata tells of a workflow up to a second sooner."""
        rows: list[Mapping[str, Any]] = []
        for begin in range(0, len(workflows), QUERY_SIZE):
            rows += await self.query([{"id": name} for name in workflows[begin : begin + QUERY_SIZE]])
        return {row["id"]: row for row in rows}

    async def abort(self, workflow: str) -> bool:
        """Abort one that it may not tell of yet; False where it has ended or was never there."""
        status, _ = await self._call("POST", f"{WORKFLOWS}/{workflow}/abort", takes=(200, 403, 404))
        return status == 200

    async def label(self, workflow: str, labels: Mapping[str, str]) -> bool:
        """Set labels; False where Cromwell does not know the workflow, or does not tell of it yet."""
        path = f"{WORKFLOWS}/{workflow}/labels"
        status, _ = await self._call("PATCH", path, takes=(200, 404), json=dict(labels))
        return status == 200

    async def close(self) -> None:
        await self._http.close()

    async def _submit(self, workflow: str, form: Mapping[str, str]) -> None:
        parts = aiohttp.FormData()
        for name, text in {**form, "requestedWorkflowId": json.dumps(workflow)}.items():
            parts.add_field(name, text, content_type="text/plain; charset=utf-8")  # multipart, or it is 415
        status, content = await self._call("POST", WORKFLOWS, takes=range(200, 500), data=parts)
        if status >= 300:
            message = _message(content)
            if "already in use" in message:
                raise NameTaken(message)
            raise EngineRefused("submit", status, message)

    async def _call(
        self, method: str, path: str, *, takes: Sequence[int], **options: Any
    ) -> tuple[int, dict[str, Any]]:
        status, body = await self._http.call(method, path, **options)
        content = _content(body)
        if status not in takes or (status < 300 and content is None):
            raise EngineUnreachable(
                f"Cromwell at {self._http.address} answered {status} to {method} {path}: "
                f"{_message(content) or body[:200].decode(errors='replace') or 'nothing'}",
                "its own log tells more; is CROMWELL_URL the address of a Cromwell server?",
            )
        return status, content or {"message": body[:1000].decode(errors="replace")}


def calls(metadata: Metadata) -> list[Mapping[str, Any]]:
    """The attempts of the one call; empty before there is one."""
    return [call for attempts in (metadata.get("calls") or {}).values() for call in attempts]


def _content(body: bytes) -> dict[str, Any] | None:
    """The JSON object, or None for anything else, such as a text about an unknown route."""
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _message(content: Mapping[str, Any] | None) -> str:
    return "; ".join([str((content or {}).get("message", "")), *map(str, (content or {}).get("errors", ()))])
