"""A job is one directory, which a supervisor of its own runs and which says all there is to know.

So jobs do not notice when pman ends. A lock that the supervisor holds tells whether it lives,
whatever became of its process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, UnknownJob
from pman.executors.local.directory import ALIVE, delete, documents, end, last_line, native_state, state_of
from pman.executors.shared.jobdir import JobDirectories, incarnation_of, refusing
from pman.executors.shared.logfile import chunks
from pman.job import Document

log = logging.getLogger(__name__)

SUPERVISOR = "pman.executors.local.supervisor"

WITHOUT_MOUNTS = (
    "this machine lets jobs have no mounts: /share/incoming and /share/outgoing in their arguments become "
    "the directories themselves, and who exchanges one of them for a link leads a job elsewhere"
)

Namespaces = Literal["root", "user", "none"]


class LocalExecutor:
    """Runs the jobs of one directory, which several pmans may share. Executor says what each call means."""

    def __init__(self, settings: Mapping[str, Any], namespaces: Namespaces | None = None) -> None:
        """`namespaces` takes the place of a look at what the machine allows."""
        user = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state", "pman")
        self._directories = JobDirectories(Path(settings["LOCAL_STATE"] or user.expanduser()))
        self._storebase = settings["STOREBASE"]
        self._timeout = float(settings["ENGINE_TIMEOUT"])
        self._namespaces = namespaces

    async def facts(self) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._facts)

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        contents = [document.content for document in documents if isinstance(document.content, Mapping)]
        scripts = [document for document in documents if document.name.endswith(".sh")]
        if len(contents) != 1 or len(scripts) != 1:
            raise ConfigError("templates: a local job is one script (*.sh.j2) and one mapping (*.yaml.j2)")
        incarnation = await asyncio.to_thread(self._create, jid, documents, contents[0])
        try:
            await asyncio.to_thread(self._start, jid)
        except EngineRefused as refused:
            refused.leftover = incarnation
            raise
        return await self.inspect(jid)

    async def discard(self, jid: str, leftover: str) -> None:
        await asyncio.to_thread(self._discard, jid, leftover)

    async def resume(self, jid: str) -> None:
        await asyncio.to_thread(self._start, jid)

    async def unfinished(self) -> Sequence[str]:
        return await asyncio.to_thread(self._names, ["created"])

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._inspect, jid)

    async def held(self, jid: str) -> Mapping[str, str]:
        return await asyncio.to_thread(documents, self._directories.path(jid))

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        ended = partial(self._has_ended, jid) if follow else None
        async for chunk in chunks(self._directories.path(jid) / "log", tail, ended):
            yield chunk

    def log_end(self, jid: str, tail: int, limit: int) -> AsyncIterator[bytes]:
        return chunks(self._directories.path(jid) / "log", tail, limit=limit)

    async def end(self, jid: str, reason: str) -> None:
        await asyncio.to_thread(self._end, jid, reason)

    async def active(self) -> Sequence[str]:
        return await asyncio.to_thread(self._names, ("created", *ALIVE))

    async def remove(self, jid: str) -> None:
        await asyncio.to_thread(self._remove, jid)

    async def list(self) -> Sequence[str]:
        return await asyncio.to_thread(self._names)

    async def ping(self) -> str:
        return f"local processes of {platform.node()} ({platform.platform(terse=True)}), not isolated"

    def _facts(self) -> Mapping[str, Any]:
        if not Path(self._storebase).is_dir():
            raise ConfigError(f"STOREBASE={self._storebase!r}: no such directory on this machine")
        state, storebase = self._directories.root.resolve(), Path(self._storebase).resolve()
        if state.is_relative_to(storebase) and not state.is_relative_to(storebase / ".pman"):
            raise ConfigError(
                f"LOCAL_STATE={str(self._directories.root)!r}: jobs are given what is in the storebase; "
                f"use {self._storebase}/.pman, which none is given, or a directory elsewhere"
            )
        try:
            for directory in (self._directories.jobs, self._directories.aside):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._namespaces = self._namespaces or self._probe()
        except OSError as error:
            raise ConfigError(f"LOCAL_STATE={str(self._directories.root)!r}: {error}") from error
        self._tidy()
        log.warning(
            "CONTAINER_ENV=local: jobs are processes of this machine with the rights of their user; "
            "nothing isolates them from it, and images are not used"
        )
        native = {
            "platform": platform.platform(terse=True),
            "root": os.geteuid() == 0,
            "cpu_affinity": hasattr(os, "sched_setaffinity"),
            "namespaces": self._namespaces,
        }
        warnings = [WITHOUT_MOUNTS] if self._namespaces == "none" else []
        own = {"namespaces": self._namespaces, "native": native}
        return {"storebase": self._storebase, "warnings": warnings, **own}

    def _probe(self) -> Namespaces:
        """Try how jobs can have mounts of their own."""
        with tempfile.TemporaryDirectory(dir=self._directories.aside) as directory:
            if self._supervisor("probe", Path(directory)).returncode == 0:
                return "user" if os.geteuid() else "root"
            log.info("no mounts for jobs: %s", last_line(Path(directory, "errors")))
            return "none"

    def _tidy(self) -> None:
        """Delete what a pman that ended in between has left: jobs half written, or half removed."""
        for directory in self._directories.abandoned():
            with contextlib.suppress(OSError):
                delete(directory, self._timeout)

    def _create(self, jid: str, documents: Sequence[Document], job: object) -> str:
        """Create the whole directory at once; its incarnation. Raises NameTaken, EngineRefused."""
        with self._directories.creation(jid) as new:
            for name in ("documents", "root", "work"):
                (new / name).mkdir()
            for document in documents:
                file = new / "documents" / document.name
                file.touch(mode=0o600)  # the script has the environment of the job
                file.write_text(document.text, "utf-8", newline="")
            (new / "job.json").write_text(json.dumps(job), "utf-8")
            for name in ("lock", "log"):
                (new / name).touch()
            return incarnation_of(new)

    def _discard(self, jid: str, leftover: str) -> None:
        """Delete the directory of a job that never started."""
        directory = self._directories.path(jid)
        with contextlib.suppress(FileNotFoundError, UnknownJob):
            if incarnation_of(directory) == leftover and state_of(directory)["status"] == "created":
                self._remove(jid)

    def _start(self, jid: str) -> None:
        """Returns when the job runs; the supervisor sees to it that it is started once."""
        directory = self._directories.path(jid)
        with refusing("start"):
            done = self._supervisor("run", directory)
            if done.returncode and directory.exists():
                message = last_line(directory / "errors")
                raise EngineRefused("start", 500, message or f"exit code {done.returncode}")

    def _inspect(self, jid: str) -> Mapping[str, Any]:
        try:
            return native_state(self._directories.path(jid))
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownJob(jid) from None

    def _end(self, jid: str, reason: str) -> None:
        with refusing("end"):
            try:
                end(self._directories.path(jid), reason, self._timeout)
            except FileNotFoundError:
                raise UnknownJob(jid) from None

    def _remove(self, jid: str) -> None:
        """Returns when it is deleted, by another call or this one. Raises UnknownJob, EngineRefused."""
        try:
            aside = self._directories.set_aside(jid)  # from here on nobody starts it
        except UnknownJob:
            if not self._directories.is_set_aside(jid):
                raise
            deadline = time.monotonic() + self._timeout
            while self._directories.is_set_aside(jid) and time.monotonic() < deadline:
                time.sleep(0.05)
            return
        with refusing("remove"):
            delete(aside, self._timeout)

    def _names(self, statuses: Sequence[str] = ()) -> Sequence[str]:
        names, jobs = self._directories.names(), self._directories.jobs
        return [jid for jid in names if not statuses or state_of(jobs / jid)["status"] in statuses]

    async def _has_ended(self, jid: str) -> bool:
        try:
            state = (await self.inspect(jid))["state"]["status"]
        except UnknownJob:
            return True
        return state not in ("created", *ALIVE)

    def _supervisor(self, call: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
        """Returns when the supervisor has gone to the background; `errors` stays open for it.

        Raises EngineUnreachable where that takes too long.
        """
        try:
            with (directory / "errors").open("ab") as errors:
                return subprocess.run(  # noqa: S603  (no shell, no words of a request)
                    [sys.executable, "-P", "-m", SUPERVISOR, call, directory],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                    timeout=self._timeout,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise EngineUnreachable(
                f"this machine did not start the job within {error.timeout:.0f} s", "is it overloaded?"
            ) from error
