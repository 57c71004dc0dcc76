"""A server of the demo's own: a process on a free port, ended with the demo whatever happens."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pman.cli.client import Client, ServerUnreachable
from pman.cli.demo.engines import Unsuitable

START_TIMEOUT_SECONDS = 20.0
END_TIMEOUT_SECONDS = 10.0


@contextmanager
def serving(environ: Mapping[str, str], directory: Path) -> Iterator[Client]:
    """A client of it. Its log is `server.log` in `directory`, which has no .env. Raises Unsuitable."""
    port = _free_port()
    log = directory / "server.log"
    command = [sys.executable, "-m", "pman", "serve", "--port", str(port)]
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C reaches the demo, which still needs the server to clean up.
        process = subprocess.Popen(  # noqa: S603  (our own program)
            command,
            env=dict(environ),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        client = Client(f"http://127.0.0.1:{port}/api/v1/")
        _wait(client, process, log)
        yield client
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            about = client.about()
        except ServerUnreachable:
            time.sleep(0.05)
            continue
        if about["engine"]["reachable"]:
            return
        raise Unsuitable(about["engine"]["message"])
    raise Unsuitable(f"pman does not start: {_last_words(log)}")


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    messages = [line.removeprefix("pman: ") for line in lines if line.startswith("pman: ")]
    return "; ".join(messages or lines[-3:]) or "it says nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
