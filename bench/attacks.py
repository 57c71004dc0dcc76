"""`python -m bench.attacks`: what attacks on a running pman cost, in memory and in time for /healthz.

On the local engine, each against a pman of its own; prints a table. `--fuzz N` sends N random requests to
all routes instead, and counts the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.server import Server, environment, serving

MIB = 2**20
START = b"POST /api/v1/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Cost:
    growth: float
    """MiB of RSS at the most, beyond what was there before."""

    slowest: float
    """Seconds of the slowest answer to GET /healthz; it is asked each 50 ms."""

    lost: int
    """Questions to /healthz without an answer of 200 within 30 s."""


class Target:
    """One pman under attack, and connections to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        parts = urlsplit(server.address)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def pour(self, begin: bytes, chunk: bytes, most: int) -> None:
        """Send until so many bytes are sent, or pman takes no more; wait for the end, or some seconds."""
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await self.connect()
            writer.write(begin)
            for _ in range(most // len(chunk)):
                writer.write(chunk)
                await asyncio.wait_for(writer.drain(), 5)
            await asyncio.wait_for(reader.read(), 5)
            writer.close()

    async def ask(self, text: bytes) -> tuple[int, bytes]:
        """One request over a connection of its own: its status, 0 where there is no answer, and all of it."""
        try:
            reader, writer = await self.connect()
            try:
                writer.write(text)
                answer = await asyncio.wait_for(reader.read(), 60)
            finally:
                writer.close()
        except (OSError, TimeoutError):
            return 0, b""
        return int(answer[9:12] or 0), answer


def request(method: str, path: str, body: bytes = b"", *fields: str) -> bytes:
    length = [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *length, *fields, "", ""]
    return "\r\n".join(lines).encode() + body


async def silent(target: Target, begin: bytes, count: int, seconds: float = 5) -> None:
    """So many connections that say the beginning of a request, and no more."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            with contextlib.suppress(OSError):
                _, writer = await target.connect()
                stack.callback(writer.close)
                writer.write(begin)
        await asyncio.sleep(seconds)


def job(target_storebase: Path, jid: str, **changes: object) -> bytes:
    for name in ("in", "out"):
        (target_storebase / name).mkdir(exist_ok=True)
    fields = {
        "jid": jid, "args": [], "auid": "bench", "number_of_workers": 1, "cpu_limit": 0, "memory_limit": 0,
        "gpu_limit": 0, "image": "x", "entrypoint": ["true"], "type": "fs", "env": [],
        "input_dir": "in", "output_dir": "out", **changes,
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":")).encode()


Attack = Callable[[Target, Path], Awaitable[None]]


def attacks() -> Mapping[str, Attack]:
    async def fields(target: Target, _: Path) -> None:
        field = b"".join(b"A%05d: a\r\n" % number for number in range(8000))
        await asyncio.gather(*(target.pour(START, field, 30 * MIB) for _ in range(10)))

    async def field(target: Target, _: Path) -> None:
        await target.pour(START + b"A: ", b"a" * 65536, 300 * MIB)

    async def address(target: Target, _: Path) -> None:
        await target.pour(b"GET /", b"a" * 65536, 300 * MIB)

    async def half(target: Target, _: Path) -> None:
        await silent(target, START + b"A: " + b"a" * 30_000, 1300)

    async def idle(target: Target, _: Path) -> None:
        await silent(target, b"", 1300)

    async def bodies(target: Target, _: Path) -> None:
        await silent(target, CHUNKED + b"700000\r\n" + b" " * 7_000_000, 60)

    async def many(target: Target, storebase: Path) -> None:
        await target.ask(request("POST", "/api/v1/", job(storebase, "many", args=["a"] * 2_000_000)))

    async def masked(target: Target, storebase: Path) -> None:
        args = [f"--option-{number}=of-{number:06d}" for number in range(12_000)]
        env = [f"VARIABLE_{number}=value-of-{number:06d}" for number in range(12_000)]
        await target.ask(request("POST", "/api/v1/", job(storebase, "masked", args=args, env=env)))
        began = time.monotonic()
        status, _ = await target.ask(request("GET", "/api/v2/jobs/masked/native"))
        print(f"    GET native: {status} after {time.monotonic() - began:.2f} s")

    async def line(target: Target, storebase: Path) -> None:
        script = ["sh", "-c", f"head -c {2**30} /dev/zero | tr '\\0' x; sleep 20"]
        await target.ask(request("POST", "/api/v1/", job(storebase, "line", entrypoint=script)))
        await asyncio.sleep(8)
        before = target.server.cpu()
        for _ in range(3):
            await target.ask(request("GET", "/api/v1/line/"))
            await asyncio.sleep(1.1)
        print(f"    a poll: {(target.server.cpu() - before) / 3:.2f} s of CPU")

    async def followers(target: Target, storebase: Path) -> None:
        script = ["sh", "-c", "while sleep 0.2; do echo x; done"]
        for number in range(20):
            await target.ask(request("POST", "/api/v1/", job(storebase, f"f{number}", entrypoint=script)))
        events, logs = request("GET", "/api/v2/events"), request("GET", "/api/v1/f1/logs/?follow=true")
        await asyncio.gather(silent(target, events, 250, 10), silent(target, logs, 250, 10))

    return {
        "300 MiB of header fields, 10 connections": fields,
        "a field of 300 MiB": field,
        "an address of 300 MiB": address,
        "1,300 half headers of 30 kB": half,
        "1,300 silent connections": idle,
        "60 unfinished bodies of 7 MB": bodies,
        "a body of 2,000,000 arguments": many,
        "a job of 12,000 variables and arguments": masked,
        "a log that is one line of 1 GiB": line,
        "250 followers of events and of a log, none of whom reads": followers,
    }


@contextlib.contextmanager
def target() -> Iterator[tuple[Target, Path]]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "storebase").mkdir()
        engine = {"CONTAINER_ENV": "local", "LOCAL_STATE": str(directory / "state")}
        with serving(environment(engine, directory, {}), directory) as server:
            yield Target(server), directory / "storebase"


def probe(host: str, port: int, pid: int, results: Connection) -> None:
    """Ask /healthz again and again beside the attack, over a new connection each time.

    In a process of its own: beside the attack it would wait for the attack's turns, too.
    """
    text, process = request("GET", "/healthz"), psutil.Process(pid)
    most, slowest, lost = 0, 0.0, 0
    results.send("ready")
    while not results.poll(0.05):
        began, answer = time.monotonic(), b""
        with contextlib.suppress(OSError), socket.create_connection((host, port), 30) as connection:
            connection.sendall(text)
            answer = connection.recv(4096)
        slowest = max(slowest, time.monotonic() - began)
        lost += b" 200 " not in answer[:16]
        most = max(most, process.memory_info().rss)
    results.send((most, slowest, lost))


async def cost(target: Target, attack: Awaitable[None]) -> Cost:
    await target.ask(request("GET", "/api/v2/jobs"))
    process = target.server.process
    before = process.memory_info().rss
    ours, theirs = multiprocessing.Pipe()
    arguments = (target.host, target.port, process.pid, theirs)
    beside = multiprocessing.get_context("spawn").Process(target=probe, args=arguments)
    beside.start()
    await asyncio.to_thread(ours.recv)
    await attack
    ours.send("over")
    most, slowest, lost = await asyncio.to_thread(ours.recv)
    beside.join()
    return Cost((most - before) / MIB, slowest, lost)


METHODS = ("GET", "GET", "GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "PATCH", "BREW")
PATHS = (
    "/", "/healthz", "/readyz", "/api/v1/", "/api/v1/{}/", "/api/v1/{}/logs/",
    "/api/v2/jobs", "/api/v2/jobs/{}", "/api/v2/jobs/{}/logs", "/api/v2/jobs/{}/document",
    "/api/v2/jobs/{}/native", "/api/v2/jobs/{}/explain", "/api/v2/render", "/api/v2/engines",
    "/api/v2/templates", "/openapi.json", "/docs", "/render", "/templates", "/templates/{}",
    "/static/{}", "/jobs/{}", "/jobs/{}/cancel", "/forget", "/{}", "//{}",
)  # fmt: skip
WORDS = (
    "job-1", "docker/container.yaml.j2", "builtin/local/state.yaml", "page.css", "a" * 300, "%00", "..",
    "%ff%fe", "%2e%2e%2fetc", "\u00e4", "' or 1=1", "<script>", "{{7*7}}", "-1", "1e999", "\U0001f600", "",
)  # fmt: skip
NAMES = (
    "status",
    "label",
    "q",
    "limit",
    "cursor",
    "tail",
    "dry_run",
    "engine",
    "newer",
    "older",
    "page",
    "example",
)
VALUES: tuple[object, ...] = (
    "",
    "a",
    None,
    True,
    -1,
    2**70,
    1.5,
    [],
    {},
    ["a", 1],
    {"a": []},
    "\ud800",
    "../x",
    "a" * 2000,
)


def fuzzed(chance: random.Random, valid: bytes) -> bytes:
    """A request, valid or not, to one of the routes."""

    def quoted(word: str) -> str:
        return "".join(
            c if c.isascii() and c not in " <>'{}" else "%" + c.encode("utf-8", "replace").hex() for c in word
        )

    path = chance.choice(PATHS).format(quoted(chance.choice(WORDS)))
    if chance.random() < 0.3:
        path += "?" + "&".join(
            f"{chance.choice(NAMES)}={quoted(chance.choice(WORDS))}" for _ in range(chance.randint(1, 3))
        )
    body = b""
    if chance.random() < 0.4:
        data = json.loads(valid)
        for _ in range(chance.randint(0, 3)):
            data[chance.choice(list(data))] = chance.choice(VALUES)
        data = {"request": data} if chance.random() < 0.3 else data
        body = json.dumps(data).encode()
        if chance.random() < 0.2:
            place = chance.randrange(len(body))
            body = body[:place] + bytes(chance.randrange(256) for _ in range(3)) + body[place + 1 :]
    fields = [f"X-{number}: {'a' * chance.randint(0, 300)}" for number in range(chance.randint(0, 3))]
    kinds = [
        "Accept: text/html",
        "HX-Request: true",
        "Cookie: a=b",
        "Range: bytes=0-",
        "If-None-Match: *",
        "Origin: null",
    ]
    return request(chance.choice(METHODS), path, body, *fields, *chance.sample(kinds, chance.randint(0, 2)))


async def fuzz(target: Target, storebase: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  (no secret)
    valid = job(storebase, "job-1")
    answers: Counter[int] = Counter()
    left = iter(range(count))

    async def client() -> None:
        for number in left:
            text = fuzzed(chance, valid)
            status, answer = await target.ask(text)
            answers[status] += 1
            if status in (0, 500) or (status > 500 and status != 503):
                print(status, text[:300], answer[:300])
            if number % 1000 == 0:
                print(f"{number}: {target.server.memory():.0f} MiB, {sorted(answers.items())}", flush=True)

    await asyncio.gather(*(client() for _ in range(8)))
    print(f"{count}: {target.server.memory():.0f} MiB, {sorted(answers.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.attacks", description=__doc__)
    parser.add_argument("--fuzz", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.fuzz:
        with target() as (one, storebase):
            asyncio.run(fuzz(one, storebase, options.fuzz, options.seed))
        return
    for name, attack in attacks().items():
        with target() as (one, storebase):
            measured = asyncio.run(cost(one, attack(one, storebase)))
        print(
            f"{name}: {measured.growth:.1f} MiB, /healthz within {measured.slowest:.2f} s,"
            f" {measured.lost} lost",
            flush=True,
        )


if __name__ == "__main__":
    main()
