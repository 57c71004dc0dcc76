"""What is measured, in the order in which it is measured; each figure of pman beside its floor."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import load
from bench.jobs import FEW_LINES, GO_ON, MANY_LINES, Jobs, request
from bench.results import Loaded, Results
from bench.server import Server, environment, serving
from bench.statistics import paired, spread
from bench.wire import Connection, WrongAnswer, open_socket

CLIENTS = (1, 8, 32, 128)

SETTLED = 2
"""Seconds after jobs were made, in which the engine clears up behind them."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of it."""

    starts: int
    """Cold starts."""

    submits: int
    """Pairs of a submit and its floor, for each kind of job."""

    polls: int
    """Pairs of a poll and its floor, for each kind of job."""

    seconds: float
    """For which each load lasts."""

    finished: Sequence[int]
    """Numbers of finished jobs to be present."""


FULL = Extent(starts=5, submits=60, polls=500, seconds=4, finished=(10, 100, 1000))
QUICK = Extent(starts=2, submits=8, polls=150, seconds=1, finished=(10, 100))

ENGINES = ("dockerd", "podman")
"""Names of the engines' processes."""


def run(engine: str, image: str, extent: Extent, results: Results, tell: Callable[[str], None]) -> None:
    """On a Docker Engine. Removes what it made, also when it is interrupted or fails."""
    jobs = Jobs(engine, image)
    results.conditions["engine"] = jobs.engine_version()
    results.conditions["other containers on the engine"] = jobs.others()
    with (
        tempfile.TemporaryDirectory(prefix="pman-bench-") as directory,
        removed_at_the_end(jobs.remove_all, tell),
    ):
        place = Path(directory)
        for name in ("incoming", "outgoing"):
            (place / "storebase" / name).mkdir(parents=True)
        tell(f"{extent.starts} cold starts")
        cold = [start_and_end(jobs, place) for _ in range(extent.starts)]
        results.starts = {
            "GET /healthz": spread([start.cold.healthz for start in cold]),
            "GET /api/v1/": spread([start.cold.api for start in cold]),
        }
        with serving(environment(jobs.environment, place, jobs.labels), place) as server:
            results.memory["after the start"] = server.memory()
            Measurement(jobs, server, extent, results, tell).all()


def start_and_end(jobs: Jobs, place: Path) -> Server:
    with serving(environment(jobs.environment, place, jobs.labels), place) as server:
        return server


@contextlib.contextmanager
def removed_at_the_end(remove: Callable[[], None], tell: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    finally:
        for interrupt in (signal.SIGINT, signal.SIGTERM):
            signal.signal(interrupt, signal.SIG_IGN)
        tell("removing what was made; wait for the end of it")
        remove()


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one running server."""

    jobs: Jobs
    server: Server
    extent: Extent
    results: Results
    tell: Callable[[str], None]

    def all(self) -> None:
        self.tell(
            f"{self.extent.submits} pairs of submits of a job that ends at once, and of one that goes on"
        )
        self.submit("job that ends at once", FEW_LINES)
        self.submit("job that goes on", FEW_LINES + GO_ON)
        self.running_and_long()
        present: list[str] = []
        for count in self.extent.finished:
            self.finished(count, present)
        self.results.memory["after the load"] = self.server.memory()

    def submit(self, kind: str, script: str) -> None:
        """Latency of POST /api/v1/; floor: the same document through create and start.

        The container's end, and its removal, are awaited before the next one, outside the clock.
        """
        with Connection(self.server.address) as pman, Connection(self.jobs.engine) as engine:
            document = self.jobs.document(pman, script)

            def through_pman(_: int) -> float:
                (jid,) = self.jobs.names(1)
                body = request(jid, script, self.jobs.image)
                began = time.perf_counter()
                pman.expect(201, "POST", "/api/v1/", body)
                took = time.perf_counter() - began
                self._settle(engine, jid, ends=GO_ON not in script)
                return took

            def directly(_: int) -> float:
                (jid,) = self.jobs.names(1)
                body = document(jid)
                began = time.perf_counter()
                created = engine.expect(201, "POST", f"/containers/create?name={jid}", body)
                engine.expect(204, "POST", f"/containers/{created['Id']}/start")
                took = time.perf_counter() - began
                self._settle(engine, jid, ends=GO_ON not in script)
                return took

            through_pman(0)
            directly(0)
            self.results.submits[kind] = paired(self.extent.submits, through_pman, directly)

    @staticmethod
    def _settle(engine: Connection, jid: str, *, ends: bool) -> None:
        if ends:
            engine.expect(200, "POST", f"/containers/{jid}/wait")
        engine.expect(204, "DELETE", f"/containers/{jid}?force=1&v=1")
        time.sleep(0.05)

    def running_and_long(self) -> None:
        """Polls of jobs that still run, and of jobs with a log of 1,000 lines; then these jobs go."""
        self.tell("polls of running jobs and of long logs")
        address = self.server.address
        running = self.jobs.submit(address, 10, FEW_LINES + GO_ON)
        long = self.jobs.submit(address, 1, MANY_LINES)
        long_running = self.jobs.submit(address, 1, MANY_LINES + GO_ON)
        self.jobs.wait_for_the_end(long)
        time.sleep(SETTLED)
        few = max(10, self.extent.polls // 5)
        self.poll("running, log of 5 lines", running, self.extent.polls)
        self.poll("running, log of 1,000 lines", long_running, few)
        self.poll("finished, log of 1,000 lines, first poll", long, 1)
        self.poll("finished, log of 1,000 lines", long, few)
        self.load("10 running", 32, running)
        self.load("1 running, log of 1,000 lines", 32, long_running)
        self.jobs.remove([*running, *long, *long_running])

    def finished(self, count: int, present: list[str]) -> None:
        """Latency and throughput of polls with so many finished jobs present, all polled in turn."""
        self.tell(f"making {count - len(present):,} more jobs, {count:,} in all")
        new = self.jobs.submit(self.server.address, count - len(present), FEW_LINES)
        self.jobs.wait_for_the_end(new)
        time.sleep(SETTLED)
        present += new
        self.tell(f"polls of {count:,} finished jobs")
        self.poll(f"{count:,} finished, first poll of each", new, len(new))
        self.poll(f"{count:,} finished", present, self.extent.polls)
        for clients in CLIENTS:
            self.load(f"{count:,} finished", clients, present)

    def poll(self, kind: str, names: Sequence[str], count: int) -> None:
        """Latency of GET /api/v1/<jid>/ for one client; floor: inspection and log, one after the other."""
        with Connection(self.server.address) as pman, Connection(self.jobs.engine) as engine:

            def asked(connection: Connection, paths: Sequence[str]) -> float:
                began = time.perf_counter()
                answers = [connection.request("GET", path) for path in paths]
                took = time.perf_counter() - began
                if wrong := [answer for answer in answers if answer[0] != 200]:
                    raise WrongAnswer(f"{paths}: {wrong}")
                return took

            def through_pman(index: int) -> float:
                return asked(pman, poll_of(names[index % len(names)]))

            def directly(index: int) -> float:
                return asked(engine, floor_of(names[index % len(names)]))

            self.results.polls[kind] = paired(count, through_pman, directly)

    def load(self, kind: str, clients: int, names: Sequence[str]) -> None:
        """Throughput: the same number of kept-alive connections to pman, and to the engine's socket."""
        engine, seconds = process_behind(self.jobs.engine), self.extent.seconds
        before = cpu(engine)
        below = load.run(load.Load(self.jobs.engine, [floor_of(jid) for jid in names], clients, seconds))
        floor = per_thousand(before, cpu(engine), below)
        before, own = cpu(engine), self.server.cpu()
        above = load.run(load.Load(self.server.address, [poll_of(jid) for jid in names], clients, seconds))
        spent = per_thousand(own, self.server.cpu(), above) or 0
        below_pman = per_thousand(before, cpu(engine), above)
        self.results.loads.append(Loaded(kind, clients, above, below, spent, below_pman, floor))


def process_behind(engine: str) -> psutil.Process | None:
    """Who listens on the engine's socket; None where that is not to be seen from here."""
    if not engine.startswith("unix://"):
        return None
    with open_socket(engine) as connection:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", packed)
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return process if process.name() in ENGINES else None  # not systemd, which listens for it
    return None


def cpu(process: psutil.Process | None) -> float | None:
    """Seconds spent so far."""
    if process is None:
        return None
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def per_thousand(before: float | None, after: float | None, cell: load.Cell) -> float | None:
    """Seconds for 1,000 of all polls."""
    return None if before is None or after is None else (after - before) / max(1, cell.all_polls) * 1e3


def poll_of(jid: str) -> list[str]:
    return [f"/api/v1/{jid}/"]


def floor_of(jid: str) -> list[str]:
    """What has to be asked of the engine for the answer to a poll."""
    return [f"/containers/{jid}/json", f"/containers/{jid}/logs?stdout=1&stderr=1&tail=1000"]
