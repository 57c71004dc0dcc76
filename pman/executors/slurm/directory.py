"""The jobs' directories on the storebase: what outlives pman, and what SLURM forgets.

Of a job: `job.json` (as rendered), `job.sh` (until SLURM has it: it holds the environment, with a token of a
user's), `id` (SLURM's, of the one submission that counts), `log`, `rc` (the exit code, which the script
writes), `asked` (why pman ended it), `end.json` (what SLURM said at the end). All that decides something
appears whole or not at all, and once: by rename and link, which are atomic on network file systems too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pman.errors import EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors.slurm.native import Entry

log = logging.getLogger(__name__)

ABANDONED = 60
"""Seconds after which a directory that is set aside belongs to a pman that ended in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the directory of a job tells."""

    jid: str
    made: str
    """Tells it from others of the name."""

    job: Mapping[str, Any]
    notes: Mapping[str, Any]
    identity: int | None
    """SLURM's id of the job, once it is certain which of them it is."""

    unfinished: bool
    """Its submission is not done; SLURM may hold it."""

    asked: str
    code: int | None
    end: Entry | None


class Directories:
    """Those of all jobs; several pmans may share them."""

    def __init__(self, root: Path, user: str | None) -> None:
        """`root` as pman sees it; `user`: who the jobs run as, where that may be somebody else."""
        self.root = root
        self._jobs = root / "jobs"
        self._aside = root / "aside"
        self._user = user
        self._contents: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def prepare(self) -> None:
        """Raises OSError where pman may not write, or does not see it."""
        self.root.parent.stat()  # what pman does not see must not be made
        for directory in (self.root, self._jobs):
            directory.mkdir(mode=0o755, exist_ok=True)
        self._aside.mkdir(mode=0o700, exist_ok=True)
        for old in self._aside.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > ABANDONED:
                    shutil.rmtree(old)

    def directory(self, jid: str) -> Path:
        if jid.startswith(".") or "/" in jid or "\0" in jid:
            raise UnknownJob(jid)
        return self._jobs / jid

    def create(self, jid: str, content: Mapping[str, Any], script: str) -> str:
        """The whole directory at once, or NameTaken; what tells it from others of the name.

        Raises EngineRefused.
        """
        with refusing("create"), tempfile.TemporaryDirectory(dir=self._aside) as aside:
            new = Path(aside, jid)
            new.mkdir(mode=0o700)
            for name, text in (("job.json", json.dumps(content)), ("job.sh", script)):
                (new / name).touch(mode=0o600)
                (new / name).write_text(text, "utf-8", newline="")
            self._hand_over(new)
            made = _made(new)
            try:
                new.rename(self.directory(jid))
            except OSError:
                if self.directory(jid).exists():
                    raise NameTaken(f"{jid} is there already") from None
                raise
        return made

    def _hand_over(self, new: Path) -> None:
        """Where root submits for another user, it is the other's: SLURM writes the log as that one."""
        if os.geteuid() or not self._user:
            return
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(self._user)
            os.chown(new, found.pw_uid, found.pw_gid)

    def read(self, jid: str) -> Kept | None:
        """None where there is none. Raises EngineUnreachable where that cannot be told."""
        try:
            return self._read(jid, self.directory(jid))
        except (FileNotFoundError, NotADirectoryError):
            if self._jobs.is_dir():
                return None
            raise self._gone("it is not there") from None
        except OSError as error:
            raise self._gone(error) from error

    def _gone(self, why: object) -> EngineUnreachable:
        return EngineUnreachable(
            f"the directory of the jobs, {self._jobs}, cannot be read: {why}",
            "is the storebase, or where SLURM_DIRECTORY is, mounted where pman runs?",
        )

    def _read(self, jid: str, directory: Path) -> Kept:
        made = _made(directory)
        content = self._content(jid, made, directory)
        end = _text(directory / "end.json")
        return Kept(
            jid=jid,
            made=made,
            job=content["job"],
            notes=content["notes"],
            identity=_number(directory / "id"),
            unfinished=(directory / "job.sh").exists(),
            asked=_text(directory / "asked"),
            code=_number(directory / "rc"),
            end=json.loads(end) if end else None,
        )

    def _content(self, jid: str, made: str, directory: Path) -> Mapping[str, Any]:
        """Of job.json, read once: it may have thousands of arguments."""
        if (known := self._contents.get(jid)) and known[0] == made:
            return known[1]
        content: Mapping[str, Any] = json.loads((directory / "job.json").read_bytes())
        if len(self._contents) >= 2000:
            self._contents.pop(next(iter(self._contents)))
        self._contents[jid] = (made, content)
        return content

    def script(self, jid: str) -> str:
        """Raises FileNotFoundError once it has been submitted."""
        return (self.directory(jid) / "job.sh").read_bytes().decode()

    def documents(self, jid: str) -> Mapping[str, str]:
        """Those that are there, by name."""
        found = {}
        for name in ("job.json", "job.sh"):
            with contextlib.suppress(FileNotFoundError):
                found[name] = (self.directory(jid) / name).read_bytes().decode()
        return found

    def claim(self, kept: Kept, identity: int) -> int | None:
        """SLURM's id of the job from now on: this one, unless it has one; None where the job was deleted.

        Raises OSError where it could not be written.
        """
        try:
            directory = os.open(self.directory(kept.jid), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            if _made_in(directory) != kept.made:
                return None
            own = f"id.{identity}.{uuid.uuid4().hex[:8]}"
            file = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
            try:
                with os.fdopen(file, "w") as opened:
                    opened.write(f"{identity}\n")
                with contextlib.suppress(FileExistsError):
                    os.link(own, "id", src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                os.unlink(own, dir_fd=directory)
        except FileNotFoundError:
            return None  # deleted in between
        finally:
            os.close(directory)
        now = self.read(kept.jid)
        return now.identity if now and now.made == kept.made else None

    def begun(self, kept: Kept) -> None:
        """The script has reached SLURM, and what it says of a user's token is of no more use."""
        now = self.read(kept.jid)
        if now and now.made == kept.made:
            (self.directory(kept.jid) / "job.sh").unlink(missing_ok=True)

    def ask(self, jid: str, reason: str) -> None:
        """Raises UnknownJob."""
        with refusing("end"):
            try:
                (self.directory(jid) / "asked").write_text(reason, "utf-8")
            except FileNotFoundError:
                raise UnknownJob(jid) from None

    def keep(self, entries: Iterable[Entry]) -> None:
        """How jobs ended; a full disk costs it, and no more."""
        for entry in entries:
            directory = self._jobs / entry["name"]
            try:
                if _number(directory / "id") == entry["id"] and not (directory / "end.json").exists():
                    new = directory / f"end.{uuid.uuid4().hex[:8]}"
                    new.write_text(json.dumps(entry), "utf-8")
                    new.replace(directory / "end.json")
            except OSError as error:
                log.warning("how %s ended cannot be kept: %s", entry["name"], error)

    def set_aside(self, jid: str, made: str = "") -> Path:
        """From here on the name is free; `made`: only this one. Raises UnknownJob."""
        directory, aside = self.directory(jid), self._aside / f"{jid}.{uuid.uuid4().hex[:8]}"
        with refusing("remove"):
            try:
                if made and _made(directory) != made:
                    raise UnknownJob(jid)
                os.utime(directory)  # not abandoned
                directory.rename(aside)
            except (FileNotFoundError, NotADirectoryError):
                raise UnknownJob(jid) from None
        self._contents.pop(jid, None)
        return aside

    def delete(self, aside: Path) -> None:
        with refusing("remove"), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside)

    def names(self, *, unfinished: bool = False) -> Sequence[str]:
        file = "job.sh" if unfinished else "job.json"
        try:
            return sorted(entry.name for entry in os.scandir(self._jobs) if Path(entry.path, file).exists())
        except OSError as error:
            raise self._gone(error) from error


def identity_in(aside: Path) -> int | None:
    return _number(aside / "id")


@contextlib.contextmanager
def refusing(call: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineRefused(call, 500, str(error)) from error


def _made(directory: Path) -> str:
    found = (directory / "job.json").stat()
    return f"{found.st_ino} {found.st_mtime_ns}"


def _made_in(directory: int) -> str:
    found = os.stat("job.json", dir_fd=directory)
    return f"{found.st_ino} {found.st_mtime_ns}"


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None
