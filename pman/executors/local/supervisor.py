"""The supervisor of one job, which outlives pman: `python -m pman.executors.local.supervisor run DIR`.

A program of its own. In the job's directory it reads `job.json` (what templates/local/job.yaml.j2 says)
and `documents/*.sh`, holds `lock` as long as it lives, and writes `log` and `state.json`. It returns
once the job runs, and goes on in the background.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from pman.executors.local.mounts import call, enter, probe
from pman.job import utc

MEMORY_CHECK_SECONDS = 0.05
"""Between two measurements of the memory of the job's processes."""

_LINUX = sys.platform == "linux"
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


def main(directory: str) -> None:
    """Run the job, unless another supervisor has it, has had it, or the job was removed."""
    os.umask(0o022)  # the job's; the directory itself is closed to others
    os.chdir(directory)
    lock = os.open("lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    os.ftruncate(lock, 0)
    if os.fstat(lock).st_nlink == 0 or Path("state.json").exists():
        return
    reader, writer = os.pipe()
    if os.fork():  # the lock is the child's, too
        os.close(writer)
        os.read(reader, 1)  # ends when the child has closed its end: the job runs, or cannot
        os._exit(0)
    os.close(reader)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    _supervise(json.loads(Path("job.json").read_bytes()), writer)


def _supervise(job: Mapping[str, Any], started: int) -> None:
    state: dict[str, Any] = {"status": "starting", "started_at": utc(datetime.now(UTC))}
    _write(state)  # before the job: whatever happens now, nobody starts it a second time
    log = os.open("log", os.O_WRONLY | os.O_APPEND)
    output, output_end = os.pipe()
    wake = _wake_on(signal.SIGCHLD, signal.SIGTERM)
    try:
        if cores := job.get("cores"):
            free = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, random.sample(free, min(cores, len(free))))
        if _LINUX:
            call("prctl", _SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        script = os.open(next(Path("documents").glob("*.sh")), os.O_RDONLY)
        if job.get("mounts"):
            enter(job["mounts"], Path("root").absolute())
        process = _start(job, script, output_end)
    except (OSError, subprocess.SubprocessError) as error:
        words = str(error).partition("] ")[2] or str(error)  # without Python's [Errno 2]
        _forget_script()
        _write({**state, "status": "failed", "error": words, "finished_at": utc(datetime.now(UTC))})
        return
    os.close(output_end)
    created = psutil.Process(process.pid).create_time()
    state |= {"status": "running", "pid": process.pid, "pid_created": created}
    _write(state)
    os.close(started)
    process.returncode, reason = _watch(process.pid, job, (output, log, wake))
    _forget_script()
    ended = {
        "status": "exited",
        "exit_code": process.returncode,
        "reason": reason,
        "finished_at": utc(datetime.now(UTC)),
    }
    _write({**state, **ended})


def _forget_script() -> None:
    """Delete the script of a job that has ended: it holds the environment, with a user's token."""
    for script in Path("documents").glob("*.sh"):
        script.unlink(missing_ok=True)


def _start(job: Mapping[str, Any], script: int, output: int) -> subprocess.Popen[bytes]:
    """Start the script in a session of its own, with PATH and locale of pman's environment, no more."""
    user, group = job.get("user"), job.get("group")
    if user is not None and group is None:
        try:
            group = pwd.getpwuid(user).pw_gid
        except KeyError:
            group = user
    if user is not None or group is not None:
        # Opened again by name (/dev/stdin, /dev/stderr), a file asks for its owner.
        for name in (script, output, "work"):
            os.chown(name, -1 if user is None else user, -1 if group is None else group)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LANG", "LANGUAGE") or name.startswith("LC_")
    }
    return subprocess.Popen(
        ["/bin/sh", "/dev/stdin"],  # by name, the job's user might not reach it
        stdin=script,
        stdout=output,
        stderr=output,
        cwd="work",
        env={"PATH": os.defpath, **environment},
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        start_new_session=True,
        preexec_fn=_die_with_supervisor if _LINUX else None,  # noqa: PLW1509  (there are no threads)
    )


def _die_with_supervisor() -> None:
    call("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch(pid: int, job: Mapping[str, Any], files: tuple[int, int, int]) -> tuple[int, str]:
    """Watch over the job; its exit code (128 + the signal, as a shell has it), and why it was ended or ''."""
    output, log, wake = files
    deadline = time.monotonic() + (job.get("time_limit") or float("inf"))
    memory, code, reason, checked_at = job.get("memory"), None, "", 0.0
    reading = [output, wake]
    while code is None:
        rest = max(0, deadline - time.monotonic())
        ready, _, _ = select.select(reading, [], [], MEMORY_CHECK_SECONDS if memory else min(rest, 3600))
        if output in ready and not _copy(output, log):
            reading.remove(output)
        if wake in ready and signal.SIGTERM in os.read(wake, 4096):
            reason = reason or "stopped"
        if time.monotonic() >= deadline:
            reason = reason or "time"
        if memory and time.monotonic() >= checked_at + MEMORY_CHECK_SECONDS:
            checked_at = time.monotonic()
            reason = reason or ("memory" if _exceeds(memory, _processes(pid)) else "")
        if reason:
            _kill(_processes(pid))
        code = _reap(pid)
    while left := _processes(pid):  # a container ends with its first process
        _kill(left)
        time.sleep(0.005)
        _reap(pid)
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        while _copy(output, log):
            pass
    return code, reason


def _processes(pid: int) -> list[psutil.Process]:
    """The job's processes: its session, and whatever else descends from here, as orphans do on Linux."""
    processes = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for other in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if other not in processes and os.getsid(other) == pid:
                processes[other] = psutil.Process(other)
    return [process for process in processes.values() if _alive(process)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _exceeds(limit: int, processes: Sequence[psutil.Process]) -> bool:
    """Tell whether they have more bytes in memory; what they share counts once where the machine knows it."""
    if sum(_bytes(process, "rss") for process in processes) <= limit:
        return False
    return sum(_bytes(process, "pss") for process in processes) > limit


def _bytes(process: psutil.Process, kind: str) -> int:
    try:
        if kind == "pss":
            with contextlib.suppress(psutil.AccessDenied, AttributeError):
                return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _reap(pid: int) -> int | None:
    """Reap all that have ended; the exit code of the process `pid` if it has."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                code = os.waitstatus_to_exitcode(ended[1])
    return code if code is None or code >= 0 else 128 - code


def _copy(output: int, log: int) -> bool:
    """Copy a chunk; False at the end. A full disk costs the log, not the job."""
    chunk = os.read(output, 2**16)
    with contextlib.suppress(OSError):
        os.write(log, chunk)
    return bool(chunk)


def _wake_on(*signals: signal.Signals) -> int:
    """A descriptor to read, which gets a byte for each of these signals that comes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def _write(state: Mapping[str, Any]) -> None:
    """Write state.json, whole or not at all."""
    with open("state.new", "w") as file:  # noqa: PTH123  (relative: the directory may be renamed)
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace("state.new", "state.json")  # noqa: PTH105  (atomic, as its name says)


if __name__ == "__main__":
    {"run": main, "probe": probe}[sys.argv[1]](sys.argv[2])
