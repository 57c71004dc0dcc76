"""Runs pman's jobs as processes of another host: `remote.sh` does the work there, called through ssh."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

from pman.errors import EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.job import Document

REMOTE = Path(__file__).with_name("remote.sh").read_text()


class SshExecutor:
    """See Executor and Startable in pman.executors for what each call means."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        config = ["-F", settings["SSH_CONFIG"]] if settings["SSH_CONFIG"] else []
        self._ssh = ["ssh", *config, "-T", "-o", "BatchMode=yes", "--", settings["SSH_HOST"]]

    async def facts(self) -> Mapping[str, Any]:
        return {"storebase": self._settings["STOREBASE"], "native": {"system": await self.ping()}}

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        text = {document.name: document.text.encode() for document in documents}
        script, notes = text["job.sh"], text["job.json"]
        await self._call("create", jid, str(len(script)), str(len(notes)), stdin=script + notes)
        try:
            await self.resume(jid)
        except EngineRefused as refused:
            refused.leftover = jid
            raise
        return await self.inspect(jid)

    async def resume(self, jid: str) -> None:
        await self._call("start", jid)

    async def discard(self, jid: str, leftover: str) -> None:
        await self.remove(jid)

    async def unfinished(self) -> Sequence[str]:
        return (await self._call("created")).split()

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        state: Mapping[str, Any] = json.loads(await self._call("inspect", jid))
        return state

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        process = await self._start("logs", jid, str(tail), "follow" if follow else "")
        try:
            while chunk := await process.stdout.read(2**16):  # type: ignore[union-attr]  # it is a pipe
                yield chunk
            _, err = await process.communicate()
            self._check("logs", jid, process.returncode or 0, err)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def active(self) -> Sequence[str]:
        return (await self._call("active")).split()

    async def end(self, jid: str, reason: str) -> None:
        await self._call("end", jid, reason)

    async def remove(self, jid: str) -> None:
        await self._call("remove", jid)

    async def list(self) -> Sequence[str]:
        return (await self._call("list")).split()

    async def ping(self) -> str:
        return (await self._call("ping")).strip()

    async def _call(self, verb: str, jid: str = "", *more: str, stdin: bytes = b"") -> str:
        process = await self._start(verb, jid, *more)
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), self._settings["ENGINE_TIMEOUT"])
        except TimeoutError as error:
            process.kill()
            raise EngineUnreachable(f"{self._ssh[-1]} does not answer to {verb} in time") from error
        self._check(verb, jid, process.returncode or 0, err)
        return out.decode()

    def _check(self, verb: str, jid: str, code: int, err: bytes) -> None:
        message = err.decode(errors="replace").strip()
        away = EngineUnreachable(f"ssh {self._ssh[-1]}: {message}")
        meanings = {17: NameTaken(jid), 44: UnknownJob(jid), 255: away}  # two of remote.sh, and ssh's own
        if code:
            raise meanings.get(code) or EngineRefused(verb, code, message)

    async def _start(self, *words: str) -> asyncio.subprocess.Process:
        command = shlex.join(["sh", "-c", REMOTE, "pman", self._settings["SSH_STATE"], *words])
        return await asyncio.create_subprocess_exec(*self._ssh, command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
