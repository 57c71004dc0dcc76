"""The load generator: a process of its own, so that it takes no time from what it measures.

`python -m bench.load` reads a Load as JSON and prints a Cell. Each client is one kept-alive
connection that polls as fast as it is answered, one poll after the other. A poll is a sequence of
GETs: one for pman, an inspection and a log for the floor.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.statistics import quantile
from bench.wire import request_bytes

WARM_UP = 0.5
"""Seconds before the ones that count."""


@dataclass(frozen=True, slots=True)
class Load:
    address: str
    polls: Sequence[Sequence[str]]
    """The paths of each poll; the polls are taken in turn, for ever."""

    clients: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cell:
    """What one load met; latencies in ms."""

    polls: int
    """Answered in the seconds that count."""

    all_polls: int
    """With those of the warm-up."""

    per_second: float
    median: float
    p95: float
    errors: int
    """Answers other than 200, and connections lost."""

    generator: float
    """The generator's own share of one processor; near 1 it would be what is measured."""


def run(load: Load) -> Cell:
    """In a process of its own."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr}")
    return Cell(**json.loads(done.stdout))


class Tally:
    """What all clients together met."""

    def __init__(self, seconds: float) -> None:
        self.counting_from = time.perf_counter() + WARM_UP
        self.until = self.counting_from + seconds
        self.latencies: list[float] = []
        self.polls = 0
        self.errors = 0

    def add(self, began: float, ended: float) -> None:
        self.polls += 1
        if began >= self.counting_from and ended <= self.until:
            self.latencies.append(ended - began)


class Client(asyncio.Protocol):
    """Sends the next request in the callback that completes the last one: no tasks, no futures."""

    def __init__(self, polls: Iterator[Sequence[bytes]], tally: Tally) -> None:
        self._polls = polls
        self._tally = tally
        self._parser = httptools.HttpResponseParser(self)
        self._steps: Iterator[bytes] = iter(())
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._tally.errors += 1
        if step := next(self._steps, None):
            self._transport.write(step)
            return
        now = time.perf_counter()
        self._tally.add(self._began, now)
        if now < self._tally.until:
            self._poll()
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if time.perf_counter() < self._tally.until:
            self._tally.errors += 1
        self.done.set_result(None)

    def _poll(self) -> None:
        self._steps = iter(next(self._polls))
        self._began = time.perf_counter()
        self._transport.write(next(self._steps))


async def generate(load: Load) -> Cell:
    """All clients share one sequence of polls, so that each job is polled as often as any other."""
    polls = itertools.cycle([[request_bytes("GET", path) for path in paths] for paths in load.polls])
    loop = asyncio.get_running_loop()
    tally = Tally(load.seconds)
    parts = urlsplit(load.address)
    clients = []
    for _ in range(load.clients):
        if parts.scheme == "unix":
            _, client = await loop.create_unix_connection(lambda: Client(polls, tally), parts.path)
        else:
            host, port = str(parts.hostname), parts.port or 80
            _, client = await loop.create_connection(lambda: Client(polls, tally), host, port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    counted = sorted(tally.latencies)
    return Cell(
        polls=len(counted),
        all_polls=tally.polls,
        per_second=len(counted) / load.seconds,
        median=quantile(counted, 0.5) * 1e3,
        p95=quantile(counted, 0.95) * 1e3,
        errors=tally.errors,
        generator=(spent.ru_utime + spent.ru_stime) / (load.seconds + WARM_UP),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(generate(Load(**json.load(sys.stdin)))))))
