"""The jobs' directories on the storebase: what outlives pman, and what SLURM forgets.

Each has `job.json` (as rendered), `job.sh` (until SLURM has it: it holds the environment, with a token of a
user's), `id` (SLURM's, of the one submission that counts), `log`, `rc` (the exit code, which the script
writes), `asked` (why pman ended it), `end.json` (what SLURM said at the end). All that decides something
appears whole or not at all, and once: by rename and link, which are atomic on network file systems too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pwd
import re
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pman.errors import EngineUnreachable, UnknownJob
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.jobdir import JobDirectories, bytes_of, incarnation_of, refusing, text_of
from pman.executors.slurm.native import Entry

log = logging.getLogger(__name__)

CACHED_DOCUMENTS = 2_000
"""Jobs whose job.json is read once: it may have thousands of arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The content of a job's directory."""

    jid: str
    incarnation: str
    """Tells the job from others of its name."""

    job: Mapping[str, Any]
    notes: Mapping[str, Any]
    job_id: int | None
    """SLURM's, once it is certain which of several submissions counts."""

    is_unfinished: bool
    """Its submission is not done; SLURM may hold it."""

    end_reason: str
    """Why pman ended it; '' where it did not."""

    exit_code: int | None
    end: Entry | None
    """SLURM's last words of the job."""

    def native_state(self, source: str, entry: Entry | None) -> Mapping[str, Any]:
        """See templates/slurm/state.yaml."""
        return native_state(source, entry, self.notes, self.job, self.end_reason)


def native_state(
    source: str, entry: Entry | None, notes: Mapping[str, Any], job: Mapping[str, Any], asked: str = ""
) -> Mapping[str, Any]:
    """See templates/slurm/state.yaml."""
    return {"source": source, "asked": asked, "notes": notes, "sent": job, "job": entry}


class Directories:
    """The directories of all jobs; several pmans may share them."""

    def __init__(self, root: Path, user: str | None) -> None:
        """`root` as pman sees it; `user`: who the jobs run as, where that may be somebody else."""
        self._directories = JobDirectories(root)
        self._user = user
        self._documents: Bounded[str, tuple[str, Mapping[str, Any]]] = Bounded(CACHED_DOCUMENTS)
        """Incarnation and content of job.json, by jid."""

        self._owners: frozenset[int] = frozenset([os.geteuid()])
        """The users whose files pman takes for its own: a network file system may take root for another."""

        self._lock = threading.Lock()
        """Held while the documents are used: every call may come from a thread of its own."""

    def prepare(self) -> None:
        """Raises OSError where pman does not see it or may not write, or others might have put it there."""
        root, jobs, aside = self._directories.root, self._directories.jobs, self._directories.aside
        root.parent.stat()  # what pman does not see must not be created
        for directory in (root, jobs):
            directory.mkdir(mode=0o711, exist_ok=True)
        aside.mkdir(mode=0o700, exist_ok=True)
        for directory, status in ((root, root.stat()), (jobs, jobs.lstat()), (aside, aside.lstat())):
            if stat.S_ISLNK(status.st_mode) or status.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
                raise PermissionError(errno.EPERM, "everybody may exchange what is in it", str(directory))
        with tempfile.TemporaryFile(dir=aside) as file:
            self._owners |= {os.fstat(file.fileno()).st_uid}
        for directory in (jobs, aside):  # whoever may write to what is above can put one of their own there
            if (owner := directory.stat().st_uid) not in self._owners:
                own = " or ".join(map(str, sorted(self._owners)))
                message = f"its owner is {owner}, and pman writes as {own}: chown -R it, if it is pman's"
                raise PermissionError(errno.EPERM, message, str(directory))
        for abandoned in self._directories.abandoned():
            shutil.rmtree(abandoned, ignore_errors=True)

    def directory(self, jid: str) -> Path:
        """The job's directory, there or not. Raises UnknownJob for what cannot be a name of one."""
        return self._directories.path(jid)

    def create(self, jid: str, content: Mapping[str, Any], script: str) -> str:
        """Create the whole directory at once; its incarnation. Raises NameTaken, EngineRefused."""
        with self._directories.creation(jid) as new:
            for name, text in (("job.json", json.dumps(content)), ("job.sh", script)):
                (new / name).touch(mode=0o600)
                (new / name).write_text(text, "utf-8", newline="")
            self._hand_over(new)
            return incarnation_of(new)

    def _hand_over(self, new: Path) -> None:
        """Where root submits for another user, it is the other's: SLURM writes the log as that one."""
        if os.geteuid() or not self._user:
            return
        with contextlib.suppress(KeyError):
            owner = pwd.getpwnam(self._user)
            os.chown(new, owner.pw_uid, owner.pw_gid)

    def read(self, jid: str) -> Record | None:
        """The record, or None where there is none. Raises EngineUnreachable where that cannot be seen."""
        try:
            return self._read(jid, self.directory(jid))
        except (FileNotFoundError, NotADirectoryError):
            if self._directories.jobs.is_dir():
                return None
            raise self._unreadable("it is not there") from None
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, why: object) -> EngineUnreachable:
        return EngineUnreachable(
            f"the directory of the jobs, {self._directories.jobs}, cannot be read: {why}",
            "is the storebase, or where SLURM_DIRECTORY is, mounted where pman runs?",
        )

    def _read(self, jid: str, directory: Path) -> Record:
        incarnation = incarnation_of(directory)
        content = self._document(jid, incarnation, directory / "job.json")
        end = text_of(directory / "end.json", self._owners)
        record = Record(
            jid=jid,
            incarnation=incarnation,
            job=content["job"],
            notes=content["notes"],
            job_id=number_in(directory / "id", self._owners),
            is_unfinished=self._is_own(directory / "job.sh"),
            end_reason=text_of(directory / "asked"),
            exit_code=number_in(directory / "rc"),
            end=json.loads(end) if end else None,
        )
        # Deleted while it was read, a job would seem to be one that has been submitted, and has no id.
        return record if incarnation_of(directory) == incarnation else self._read(jid, directory)

    def _document(self, jid: str, incarnation: str, file: Path) -> Mapping[str, Any]:
        with self._lock:
            cached, content = self._documents.get(jid, ("", {}))
        if cached != incarnation:
            content = json.loads(bytes_of(file, self._owners))
            with self._lock:
                self._documents[jid] = incarnation, content
        return content

    def script(self, jid: str) -> str:
        """Raises FileNotFoundError once it has been submitted."""
        return bytes_of(self.directory(jid) / "job.sh", self._owners).decode()

    def _is_own(self, file: Path) -> bool:
        """Tell whether the file is there, and of pman's."""
        try:
            return file.lstat().st_uid in self._owners
        except FileNotFoundError:
            return False

    def documents(self, jid: str) -> Mapping[str, str]:
        """The texts of those that are there, by name."""
        texts = {}
        for name in ("job.json", "job.sh"):
            with contextlib.suppress(FileNotFoundError):
                texts[name] = bytes_of(self.directory(jid) / name, self._owners).decode()
        return texts

    def claim(self, record: Record, job_id: int) -> int | None:
        """SLURM's id of the job from now on: this one, unless it has one; None where the job was deleted.

        Raises OSError where it could not be written.
        """
        try:
            directory = os.open(self.directory(record.jid), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            if incarnation_of(directory) != record.incarnation:
                return None
            own = f"id.{job_id}.{uuid.uuid4().hex[:8]}"
            file = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
            try:
                with os.fdopen(file, "w") as opened:
                    opened.write(f"{job_id}\n")
                with contextlib.suppress(FileExistsError):
                    os.link(own, "id", src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                os.unlink(own, dir_fd=directory)
        except FileNotFoundError:
            return None  # deleted in between
        finally:
            os.close(directory)
        now = self.read(record.jid)
        return now.job_id if now and now.incarnation == record.incarnation else None

    def forget_script(self, record: Record) -> None:
        """The script has reached SLURM, and what it says of a user's token is of no more use."""
        now = self.read(record.jid)
        if now and now.incarnation == record.incarnation:
            (self.directory(record.jid) / "job.sh").unlink(missing_ok=True)

    def write_end_reason(self, jid: str, reason: str) -> None:
        """Raises UnknownJob, EngineRefused."""
        with refusing("end"):
            try:
                _write(self.directory(jid) / "asked", reason)
            except FileNotFoundError:
                raise UnknownJob(jid) from None

    def write_ends(self, entries: Iterable[Entry]) -> None:
        """Write how jobs ended; on a full disk that is lost, and no more."""
        for entry in entries:
            directory = self._directories.jobs / entry["name"]
            try:
                id_in_directory = number_in(directory / "id", self._owners)
                if id_in_directory == entry["id"] and not self._is_own(directory / "end.json"):
                    _write(directory / "end.json", json.dumps(entry))
            except OSError as error:
                log.warning("how %s ended cannot be kept: %s", entry["name"], error)

    def set_aside(self, jid: str, incarnation: str = "") -> Path:
        """See JobDirectories."""
        aside = self._directories.set_aside(jid, incarnation)
        with self._lock:
            self._documents.pop(jid, None)
        return aside

    def delete(self, aside: Path) -> None:
        """Raises EngineRefused."""
        with refusing("remove"), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside)

    def names(self, *, unfinished: bool = False) -> Sequence[str]:
        """The jobs, sorted; `unfinished`: whose submission is not done. Raises EngineUnreachable."""
        try:
            return self._directories.names("job.sh" if unfinished else "job.json")
        except OSError as error:
            raise self._unreadable(error) from error


def number_in(file: Path, owners: Collection[int] = ()) -> int | None:
    """The number in a file; None where there is none. `owners`: see bytes_of."""
    text = text_of(file, owners).strip()
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _write(file: Path, text: str) -> None:
    """Put a new file in the place of whatever is there, so that no link leads the text elsewhere."""
    new = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        with new.open("x", encoding="utf-8") as opened:
            opened.write(text)
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise
