"""pman before SLURM: many jobs submitted at once, all polled every second, and what slurmctld is asked.

The jobs run no container (SLURM_RUNTIME=none): measured is the way there. The floor of a submission is
`sbatch` in a loop, for a script that does as little.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.counting import Access, Counted, counting
from bench.server import Server, environment, serving
from bench.statistics import quantile
from bench.wire import Connection

JOBS, CLIENTS, LOOP = 500, 16, 100
PATIENCE = 600
"""Seconds for all jobs."""

POLLS = "GET jobs"

REQUEST = {
    "image": "localhost/bench:1", "entrypoint": ["true"], "args": [], "args_path_flags": [], "auid": "bench",
    "number_of_workers": 1, "cpu_limit": 100, "memory_limit": 20, "gpu_limit": 0, "type": "ds", "env": [],
    "input_dir": "incoming", "output_dir": "outgoing",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    jobs: int
    clients: int
    submits_per_second: float
    submit_p50: float
    submit_p95: float
    """ms."""

    sbatch_per_second: float | None
    polls: int
    poll_p50: float
    poll_p95: float
    """ms."""

    seconds: float
    """From the first submission until the last job was seen finished."""

    polling_queries_per_second: float
    """Listings of jobs, over all that time."""

    most_in_a_second: int
    """Listings of jobs in any second."""

    calls_of_submissions: int
    failed: int


def measure(tell: Callable[[str], None]) -> Figures:
    """By SLURMRESTD_URL and SLURM_JWT. Raises OSError, WrongAnswer."""
    headers = {"X-SLURM-USER-NAME": os.environ.get("SLURM_USER", "root"),
               "X-SLURM-USER-TOKEN": os.environ["SLURM_JWT"]}  # fmt: skip
    to = Access(os.environ["SLURMRESTD_URL"], "", headers, None)
    with tempfile.TemporaryDirectory(prefix="pman-bench-") as directory, counting(to, _kind) as counted:
        place = Path(directory)
        place.chmod(0o755)
        for name in ("incoming", "outgoing"):
            (place / "storebase" / name).mkdir(parents=True)
        engine = {
            "CONTAINER_ENV": "slurm",
            "SLURMRESTD_URL": f"http://127.0.0.1:{counted.port}",
            "SLURM_JWT": os.environ["SLURM_JWT"],
            "SLURM_RUNTIME": "none",
        }
        with serving(environment(engine, place, {}), place) as server, removed(server) as names:
            tell(f"{JOBS} jobs by {CLIENTS} clients, all polled every second")
            found = Run(server.address, counted, names).all()
        tell(f"sbatch, {LOOP} times in a loop")
        return Figures(**found, sbatch_per_second=_sbatch(place))


def _kind(method: str, path: str) -> str:
    words = [word for word in urlsplit(path).path.split("/")[3:] if not word.isdigit()]
    return f"{method} {'/'.join(words)}"


@contextmanager
def removed(server: Server) -> Iterator[list[str]]:
    names: list[str] = []
    try:
        yield names
    finally:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(
                pool.map(lambda name: Connection(server.address).request("DELETE", f"/api/v1/{name}/"), names)
            )


class Run:
    def __init__(self, address: str, counted: Counted, names: list[str]) -> None:
        self._address, self._counted, self._names = address, counted, names
        self._lock = threading.Lock()
        self._submits: list[float] = []
        self._polls: list[float] = []
        self._ended: dict[str, str] = {}
        self._listings: list[tuple[float, int]] = []

    def all(self) -> dict[str, Any]:
        token = uuid.uuid4().hex[:8]
        waiting = [f"bench-{token}-{number}" for number in range(JOBS)]
        began = time.monotonic()
        poller = threading.Thread(target=self._poll, daemon=True)
        sampler = threading.Thread(target=self._sample, daemon=True)
        poller.start()
        sampler.start()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._submit, [waiting[client::CLIENTS] for client in range(CLIENTS)]))
        submitted = time.monotonic() - began
        poller.join(PATIENCE)
        seconds = time.monotonic() - began
        polls, submits = sorted(self._polls), sorted(self._submits)
        asked = dict(self._counted.asked)
        return {
            "jobs": JOBS,
            "clients": CLIENTS,
            "submits_per_second": JOBS / submitted,
            "submit_p50": quantile(submits, 0.5) * 1e3,
            "submit_p95": quantile(submits, 0.95) * 1e3,
            "polls": len(polls),
            "poll_p50": quantile(polls, 0.5) * 1e3,
            "poll_p95": quantile(polls, 0.95) * 1e3,
            "seconds": seconds,
            "polling_queries_per_second": asked.get(POLLS, 0) / seconds,
            "most_in_a_second": self._most(),
            "calls_of_submissions": sum(number for kind, number in asked.items() if kind.startswith("POST")),
            "failed": sum(status != "finishedSuccessfully" for status in self._ended.values())
            + JOBS - len(self._ended),
        }  # fmt: skip

    def _submit(self, names: Sequence[str]) -> None:
        connection = Connection(self._address)
        for name in names:
            body = {**REQUEST, "jid": name}
            began = time.perf_counter()
            connection.expect(201, "POST", "/api/v1/", json.dumps(body).encode())
            with self._lock:
                self._submits.append(time.perf_counter() - began)
                self._names.append(name)

    def _poll(self) -> None:
        """Every second, each job that has not ended, over a few connections."""
        deadline = time.monotonic() + PATIENCE
        connections = [Connection(self._address) for _ in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            while len(self._ended) < JOBS and time.monotonic() < deadline:
                began = time.monotonic()
                with self._lock:
                    going = [name for name in self._names if name not in self._ended]
                shares = [going[client::CLIENTS] for client in range(CLIENTS)]
                list(pool.map(self._poll_share, connections, shares))
                time.sleep(max(0, began + 1 - time.monotonic()))

    def _poll_share(self, connection: Connection, names: Sequence[str]) -> None:
        for name in names:
            began = time.perf_counter()
            answer = connection.expect(200, "GET", f"/api/v1/{name}/")
            with self._lock:
                self._polls.append(time.perf_counter() - began)
                if answer["status"].startswith("finished"):
                    self._ended[name] = answer["status"]

    def _sample(self) -> None:
        while True:
            self._listings.append((time.monotonic(), self._counted.asked[POLLS]))
            time.sleep(0.05)

    def _most(self) -> int:
        """Of any window of a second."""
        most, first = 0, 0
        for moment, number in self._listings:
            while self._listings[first][0] < moment - 1:
                first += 1
            most = max(most, number - self._listings[first][1])
        return most


def _sbatch(place: Path) -> float | None:
    """A second; None where there is no sbatch."""
    if not shutil.which("sbatch"):
        return None
    script = "#!/bin/bash\nexit 0\n"
    words = ["sbatch", "--parsable", "--mem=20M", f"--output={place}/log", "--export=NIL"]
    given = {name: text for name, text in os.environ.items() if name != "SLURM_JWT"}
    began = time.monotonic()
    for _ in range(LOOP):
        subprocess.run(words, input=script, text=True, env=given, check=True, capture_output=True)
    return LOOP / (time.monotonic() - began)


def markdown(found: Figures) -> str:
    sbatch = f"{found.sbatch_per_second:.1f}" if found.sbatch_per_second else "no sbatch here"
    return f"""| {found.jobs} jobs, {found.clients} clients | |
|---|---|
| submissions a second, through pman | {found.submits_per_second:.1f} |
| `sbatch` in a loop, a second | {sbatch} |
| a submission, p50 / p95 | {found.submit_p50:.0f} / {found.submit_p95:.0f} ms |
| polls, p50 / p95 | {found.polls:,}, {found.poll_p50:.0f} / {found.poll_p95:.0f} ms |
| seconds until all were seen finished | {found.seconds:.0f} |
| queries a second for all polls (aim: at most 2) | {found.polling_queries_per_second:.2f} |
| the most in any second | {found.most_in_a_second} |
| calls for the submissions | {found.calls_of_submissions:,} |
| jobs that did not finish successfully | {found.failed} |"""
