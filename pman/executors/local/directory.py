"""The directory of one job of the local engine, seen from outside: its state, its log, its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from pman.executors.shared.jobdir import incarnation_of
from pman.job import utc

ALIVE = ("starting", "running")
"""The states in which a supervisor holds the lock; without one, the job is lost."""


def native_state(directory: Path) -> Mapping[str, Any]:
    """See templates/local/state.yaml. Raises FileNotFoundError."""
    incarnation = incarnation_of(directory)
    job = json.loads((directory / "job.json").read_bytes())
    written = (directory / "job.json").stat().st_mtime
    state = state_of(directory)
    if state["status"] in ALIVE:
        with (directory / "lock").open("rb") as lock:
            held = not _lock(lock, fcntl.LOCK_SH)
        if not held and (state := state_of(directory))["status"] in ALIVE:  # it may have ended just now
            state = {**state, "status": "lost", "error": last_line(directory / "errors")}
    if state.get("reason") == "stopped" and (asked := directory / "asked").exists():
        state = {**state, "reason": "asked", "asked": asked.read_text("utf-8")}
    if incarnation_of(directory) != incarnation:  # deleted while it was read, it would seem not to have begun
        return native_state(directory)
    return {"job": job, "state": state, "created": utc(datetime.fromtimestamp(written, UTC))}


def documents(directory: Path) -> Mapping[str, str]:
    """The texts, by name; empty for a job that was deleted."""
    with contextlib.suppress(FileNotFoundError):
        return {file.name: file.read_bytes().decode() for file in sorted((directory / "documents").iterdir())}
    return {}


def state_of(directory: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((directory / "state.json").read_bytes())
    except FileNotFoundError:
        return {"status": "created"}
    return state


def _lock(file: BinaryIO, kind: int) -> bool:
    """False while the supervisor lives."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_line(errors: Path) -> str:
    lines = errors.read_text("utf-8", "replace").splitlines() if errors.exists() else []
    return lines[-1] if lines else ""


def end(directory: Path, reason: str, timeout: float) -> None:
    """Write the reason and end the job; returns when it has ended, or never will begin.

    `timeout`: seconds until it is killed. Raises FileNotFoundError.
    """
    if state_of(directory)["status"] not in ("created", *ALIVE):
        return
    with (directory / "lock").open("rb") as lock:
        (directory / "asked").write_text(reason, "utf-8")
        _end(directory, lock, time.monotonic() + timeout)
        if state_of(directory)["status"] == "created":
            ended = {"exit_code": None, "reason": "stopped", "finished_at": utc(datetime.now(UTC))}
            (directory / "state.new").write_text(json.dumps({"status": "exited", **ended}), "utf-8")
            (directory / "state.new").replace(directory / "state.json")
            for script in directory.glob("documents/*.sh"):  # a user's token is of no more use
                script.unlink()


def delete(directory: Path, timeout: float) -> None:
    """End the job and delete the directory; returns when nothing is left of it.

    A supervisor that has not ended it within `timeout` seconds is killed, too.
    """
    with contextlib.suppress(FileNotFoundError), (directory / "lock").open("rb") as lock:  # or half written
        _end(directory, lock, time.monotonic() + timeout)
        (directory / "lock").unlink()  # a supervisor that comes late finds none, or one without a name
    with contextlib.suppress(FileNotFoundError):
        _delete(directory)


def _end(directory: Path, lock: BinaryIO, deadline: float) -> None:
    """Returns when nothing of it runs; holds the lock then, so that nothing begins."""
    terminated = 0
    while not _lock(lock, fcntl.LOCK_EX):
        lock.seek(0)
        pid = int(lock.read() or 0)
        with contextlib.suppress(psutil.NoSuchProcess):
            if pid and time.monotonic() > deadline:
                supervisor = psutil.Process(pid)
                for process in [*supervisor.children(recursive=True), supervisor]:
                    process.kill()
            elif pid != terminated:
                psutil.Process(pid).terminate()
                terminated = pid
        time.sleep(0.01)
    _end_session(state_of(directory))


def _end_session(state: Mapping[str, Any]) -> None:
    """Kill what is left of a job whose supervisor was killed; not a stranger with a number used again."""
    if state["status"] not in ALIVE or psutil.boot_time() > state.get("pid_created", 0):
        return
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            leader = process.pid == state["pid"]
            age = process.create_time() - state["pid_created"]
            if os.getsid(process.pid) == state["pid"] and (abs(age) < 1 if leader else age > -1):
                process.kill()


def _delete(directory: Path) -> None:
    for base, names, _ in os.walk(directory):
        for name in names:  # a job may leave directories that even their owner cannot change
            if not (path := Path(base, name)).is_symlink():
                path.chmod(0o700)
    shutil.rmtree(directory)
