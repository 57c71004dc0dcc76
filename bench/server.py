"""pman as a site runs it: the command `pman serve` in a process of its own, with nothing but its settings."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.wire import Connection

PATIENCE = 30
"""Seconds until a server that does not answer counts as broken."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds from the start of the process to the first answers."""

    healthz: float
    """GET /healthz, the process."""

    api: float
    """GET /api/v1/, which asks the engine."""


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    process: psutil.Process
    cold: ColdStart

    def cpu(self) -> float:
        """Seconds spent so far."""
        spent = self.process.cpu_times()
        return float(spent.user + spent.system)

    def memory(self) -> float:
        """MiB of RSS, any children included."""
        family = [self.process, *self.process.children(recursive=True)]
        return float(sum(one.memory_info().rss for one in family) / 2**20)


def environment(engine: Mapping[str, str], directory: Path, labels: Mapping[str, str]) -> Mapping[str, str]:
    """`engine`: which and where. Nothing is inherited but what a program needs to run."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        **engine,
        "STORAGE_TYPE": "host",
        "STOREBASE": str(directory / "storebase"),
        "JOB_LABELS": ",".join(f"{key}={value}" for key, value in labels.items()),
        "PORT": str(_free_port()),
    }


@contextlib.contextmanager
def serving(settings: Mapping[str, str], directory: Path) -> Iterator[Server]:
    """From the first answer on; ended at the end. Its output is in `directory`/pman.log."""
    address = f"tcp://127.0.0.1:{settings['PORT']}"
    command = [str(Path(sys.executable).parent / "pman"), "serve"]
    with (directory / "pman.log").open("ab") as log:
        began = time.perf_counter()
        # A session of its own: an interrupt from the terminal is for the bench, which then ends it.
        process = subprocess.Popen(
            command, env=settings, cwd=directory, stdout=log, stderr=log, start_new_session=True
        )
    try:
        with _first_answer(process, address, directory) as connection:
            healthz = time.perf_counter() - began
            connection.expect(200, "GET", "/api/v1/")
            api = time.perf_counter() - began
        yield Server(address, psutil.Process(process.pid), ColdStart(healthz, api))
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def _first_answer(process: subprocess.Popen[bytes], address: str, directory: Path) -> Connection:
    """A connection over which /healthz was answered."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = Connection(address)
        except OSError:
            time.sleep(0.002)
            continue
        connection.expect(200, "GET", "/healthz")
        return connection
    raise RuntimeError(f"pman serve does not answer:\n{(directory / 'pman.log').read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
