"""The directory of a job, for engines that keep a job's state in files.

Several pmans may share the root. A job's directory appears whole or not at all, and once: it is filled
aside and renamed. It goes the same way: it is renamed aside, which frees its name, and is then deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from pman.errors import EngineRefused, NameTaken, UnknownJob
from pman.executors.shared.logfile import open_regular

ABANDONED_SECONDS = 60
"""After so long a directory that is set aside belongs to a pman that ended before it could delete it."""

MAX_FOREIGN_BYTES = 4096
"""Bytes that are read of a file that is not pman's own, such as an exit code."""


class JobDirectories:
    """`jobs` has a directory for each job, with at least its job.json; `aside` those that come or go."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = root / "jobs"
        self.aside = root / "aside"

    def path(self, jid: str) -> Path:
        """The job's directory, there or not. Raises UnknownJob for what cannot be a name of one."""
        if jid.startswith(".") or "/" in jid or "\0" in jid:
            raise UnknownJob(jid)
        return self.jobs / jid

    @contextlib.contextmanager
    def creation(self, jid: str) -> Iterator[Path]:
        """An empty directory to fill, which is the job's at the end of the block.

        Raises NameTaken; EngineRefused for what the file system refuses, in the block, too.
        """
        with refusing("create"), tempfile.TemporaryDirectory(dir=self.aside) as temporary:
            new = Path(temporary, jid)
            new.mkdir(mode=0o700)
            yield new
            self._rename(new, jid)

    def _rename(self, new: Path, jid: str) -> None:
        for is_last in (False, True):
            try:
                new.rename(self.path(jid))
            except OSError as error:
                is_there, is_refused = self.path(jid).exists(), error.errno in (errno.EEXIST, errno.ENOTEMPTY)
                if is_refused and not is_there and not is_last:
                    continue  # what had the name was deleted meanwhile
                if is_refused or is_there:
                    raise NameTaken(f"{jid} is there already") from error
                raise
            else:
                return

    def set_aside(self, jid: str, incarnation: str = "") -> Path:
        """Free the job's name; where its directory is now, to be deleted.

        `incarnation`: only this job of the name. Raises UnknownJob, EngineRefused.
        """
        directory, aside = self.path(jid), self.aside / f"{jid}.{uuid.uuid4().hex[:8]}"
        with refusing("remove"):
            try:
                if incarnation and incarnation_of(directory) != incarnation:
                    raise UnknownJob(jid)
                os.utime(directory)  # not abandoned
                directory.rename(aside)
            except (FileNotFoundError, NotADirectoryError):
                raise UnknownJob(jid) from None
        return aside

    def is_set_aside(self, jid: str) -> bool:
        """True while a call that has not answered yet is deleting a job of this name."""
        return any(directory.name.rpartition(".")[0] == jid for directory in self.aside.iterdir())

    def abandoned(self) -> Iterator[Path]:
        """Directories that a pman has left half written or half deleted."""
        for directory in self.aside.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - directory.stat().st_mtime > ABANDONED_SECONDS:
                    yield directory

    def names(self, file: str = "job.json") -> list[str]:
        """The jobs whose directory has this file, sorted. Raises OSError."""
        return sorted(entry.name for entry in os.scandir(self.jobs) if Path(entry.path, file).exists())


def incarnation_of(directory: Path | int) -> str:
    """Tells a job from others of its name; by path or open descriptor. Raises FileNotFoundError."""
    if isinstance(directory, int):
        status = os.stat("job.json", dir_fd=directory, follow_symlinks=False)
    else:
        status = (directory / "job.json").lstat()
    return f"{status.st_ino} {status.st_mtime_ns}"


@contextlib.contextmanager
def refusing(call: str) -> Iterator[None]:
    """Raise EngineRefused for what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise EngineRefused(call, 500, str(error)) from error


def text_of(file: Path, owners: Collection[int] = ()) -> str:
    """The file's text; '' where there is none. Raises other OSErrors. `owners`: see bytes_of."""
    try:
        return bytes_of(file, owners).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def bytes_of(file: Path, owners: Collection[int] = ()) -> bytes:
    """What the regular file has; where anybody may own it, MAX_FOREIGN_BYTES at its beginning.

    A job that runs as the owner of its directory can put there a link to what only pman may read, or a pipe
    that never ends. `owners`: the users of whom it must be. Raises FileNotFoundError for all others, too.
    """
    with open_regular(file, os.O_NOFOLLOW) as opened:
        if owners and os.fstat(opened.fileno()).st_uid not in owners:
            raise FileNotFoundError(str(file))
        return opened.read() if owners else opened.read(MAX_FOREIGN_BYTES)
