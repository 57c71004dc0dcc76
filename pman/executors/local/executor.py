"""A job is one directory, which a supervisor of its own runs and which says all there is to know.

So jobs do not notice when pman ends. A lock that the supervisor holds tells whether it lives,
whatever became of its process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors.local.directory import ALIVE, delete, documents, end, last_line, state_of, told
from pman.executors.shared.logfile import chunks
from pman.job import Document

log = logging.getLogger(__name__)

SUPERVISOR = "pman.executors.local.supervisor"

ABANDONED = 60
"""Seconds after which a directory that is set aside belongs to a pman that ended in between."""

Namespaces = Literal["root", "user", "none"]


class LocalExecutor:
    """The jobs of one directory; several pmans may share it."""

    def __init__(self, settings: Mapping[str, Any], namespaces: Namespaces | None = None) -> None:
        """`namespaces` takes the place of a look at what the machine allows."""
        user = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state", "pman")
        self._state = Path(settings["LOCAL_STATE"] or user.expanduser())
        self._jobs = self._state / "jobs"
        self._aside = self._state / "aside"
        self._storebase = settings["STOREBASE"]
        self._timeout = float(settings["ENGINE_TIMEOUT"])
        self._namespaces = namespaces

    # --- the protocol --------------------------------------------------------------------------

    async def facts(self) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._facts)

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        contents = [document.content for document in documents if isinstance(document.content, Mapping)]
        scripts = [document for document in documents if document.name.endswith(".sh")]
        if len(contents) != 1 or len(scripts) != 1:
            raise ConfigError("templates: a local job is one script (*.sh.j2) and one mapping (*.yaml.j2)")
        made = await asyncio.to_thread(self._create, jid, documents, contents[0])
        try:
            await asyncio.to_thread(self._start, jid)
        except EngineRefused as refused:
            refused.made = made
            raise
        return await self.inspect(jid)

    async def discard(self, jid: str, made: str) -> None:
        await asyncio.to_thread(self._discard, jid, made)

    async def resume(self, jid: str) -> None:
        await asyncio.to_thread(self._start, jid)

    async def unfinished(self) -> Sequence[str]:
        return await asyncio.to_thread(self._names, ["created"])

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        return await asyncio.to_thread(self._inspect, jid)

    async def held(self, jid: str) -> Mapping[str, str]:
        return await asyncio.to_thread(documents, self._directory(jid))

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        ended = partial(self._has_ended, jid) if follow else None
        with contextlib.suppress(FileNotFoundError):
            async for chunk in chunks(self._directory(jid) / "log", tail, ended):
                yield chunk

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

    # --- at start ------------------------------------------------------------------------------

    def _facts(self) -> Mapping[str, Any]:
        if not Path(self._storebase).is_dir():
            raise ConfigError(f"STOREBASE={self._storebase!r}: no such directory on this machine")
        try:
            for directory in (self._jobs, self._aside):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._namespaces = self._namespaces or self._probe()
        except OSError as error:
            raise ConfigError(f"LOCAL_STATE={str(self._state)!r}: {error}") from error
        self._tidy()
        log.warning(
            "CONTAINER_ENV=local: jobs are processes of this machine with the rights of their user; "
            "nothing isolates them from it, and images are not used%s",
            "; /share/incoming and /share/outgoing in their arguments become the directories themselves"
            if self._namespaces == "none"
            else "",
        )
        native = {
            "platform": platform.platform(terse=True),
            "root": os.geteuid() == 0,
            "cpu_affinity": hasattr(os, "sched_setaffinity"),
            "namespaces": self._namespaces,
        }
        return {"storebase": self._storebase, "namespaces": self._namespaces, "native": native}

    def _probe(self) -> Namespaces:
        """How jobs get mounts of their own, found by doing it."""
        with tempfile.TemporaryDirectory(dir=self._aside) as directory:
            if self._supervisor("probe", Path(directory)).returncode == 0:
                return "user" if os.geteuid() else "root"
            log.info("no mounts for jobs: %s", last_line(Path(directory, "errors")))
            return "none"

    def _tidy(self) -> None:
        """What a pman that ended in between has left: jobs half written, or half removed."""
        for directory in self._aside.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - directory.stat().st_mtime > ABANDONED:
                    delete(directory, self._timeout)

    # --- a job ---------------------------------------------------------------------------------

    def _directory(self, jid: str) -> Path:
        if jid.startswith(".") or "/" in jid or "\0" in jid:
            raise UnknownJob(jid)
        return self._jobs / jid

    def _create(self, jid: str, documents: Sequence[Document], job: object) -> str:
        """The whole directory appears at once, or NameTaken; what tells it from others of the name."""
        with _refusing("create"), tempfile.TemporaryDirectory(dir=self._aside) as aside:
            new = Path(aside, jid)
            new.mkdir(mode=0o700)
            for name in ("documents", "root", "work"):
                (new / name).mkdir()
            for document in documents:
                file = new / "documents" / document.name
                file.touch(mode=0o600)  # the script has the environment of the job
                file.write_text(document.text, "utf-8", newline="")
            (new / "job.json").write_text(json.dumps(job), "utf-8")
            for name in ("lock", "log"):
                (new / name).touch()
            made = _made(new)
            try:
                new.rename(self._directory(jid))
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    raise NameTaken(f"{jid} is there already") from error
                raise
        return made

    def _discard(self, jid: str, made: str) -> None:
        """The directory of a job that never started."""
        directory = self._directory(jid)
        with contextlib.suppress(FileNotFoundError, UnknownJob):
            if _made(directory) == made and state_of(directory)["status"] == "created":
                self._remove(jid)

    def _start(self, jid: str) -> None:
        """Returns when it runs; the supervisor sees to it that this happens once."""
        directory = self._directory(jid)
        with _refusing("start"):
            done = self._supervisor("run", directory)
            if done.returncode and directory.exists():
                words = last_line(directory / "errors")
                raise EngineRefused("start", 500, words or f"exit code {done.returncode}")

    def _inspect(self, jid: str) -> Mapping[str, Any]:
        try:
            return told(self._directory(jid))
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownJob(jid) from None

    def _end(self, jid: str, reason: str) -> None:
        with _refusing("end"):
            try:
                end(self._directory(jid), reason, self._timeout)
            except FileNotFoundError:
                raise UnknownJob(jid) from None

    def _remove(self, jid: str) -> None:
        directory, aside = self._directory(jid), self._aside / f"{jid}.{uuid.uuid4()}"
        try:
            os.utime(directory)  # not abandoned
            directory.rename(aside)  # from here on nobody starts it
        except (FileNotFoundError, NotADirectoryError):
            if not self._is_being_removed(jid):
                raise UnknownJob(jid) from None
            end = time.monotonic() + self._timeout
            while self._is_being_removed(jid) and time.monotonic() < end:
                time.sleep(0.05)
            return
        with _refusing("remove"):
            delete(aside, self._timeout)

    def _is_being_removed(self, jid: str) -> bool:
        """By a call that has not answered yet."""
        return any(file.name.rpartition(".")[0] == jid for file in self._aside.iterdir())

    def _names(self, statuses: Sequence[str] = ()) -> Sequence[str]:
        found = sorted(
            directory.name for directory in self._jobs.iterdir() if (directory / "job.json").exists()
        )
        return [jid for jid in found if not statuses or state_of(self._jobs / jid)["status"] in statuses]

    async def _has_ended(self, jid: str) -> bool:
        try:
            state = (await self.inspect(jid))["state"]["status"]
        except UnknownJob:
            return True
        return state not in ("created", *ALIVE)

    def _supervisor(self, call: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
        """Returns when the supervisor has gone to the background; `errors` stays open for it."""
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


def _made(directory: Path) -> str:
    """Raises FileNotFoundError."""
    found = (directory / "job.json").stat()
    return f"{found.st_ino} {found.st_mtime_ns}"


@contextlib.contextmanager
def _refusing(call: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineRefused(call, 500, str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise EngineUnreachable(
            f"this machine did not start the job within {error.timeout:.0f} s", "is it overloaded?"
        ) from error
