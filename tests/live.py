"""A real pman, in a process of its own, on a real engine; and a client as pfcon is one."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from click.testing import CliRunner

from pman.cli.main import main
from pman.translation.assumed import STAND_INS
from tests.engines import Engine

T = TypeVar("T")

DEADLINE = 180.0
"""Seconds for what takes one; a slow machine must not fail a test."""


def until(probe: Callable[[], T | None], deadline: float = DEADLINE) -> T:
    """The first answer of `probe` that counts as true."""
    end, pause = time.monotonic() + deadline, 0.02
    while time.monotonic() < end:
        if found := probe():
            return found
        time.sleep(pause)
        pause = min(pause * 1.1, 0.25)  # who waits for a minute need not ask 3000 times
    raise AssertionError(f"nothing came of {probe} within {deadline} s")


def inherited(*, measured: bool = True) -> dict[str, str]:
    """The part of this process's environment that every pman of a test has.

    `measured`: its lines count as covered, which makes it half as slow again.
    """
    names = ("COVERAGE", "PATH", "HOME") if measured else ("PATH", "HOME")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


def unmeasured() -> dict[str, str]:
    """This process's environment for programs that are not pman: coverage has nothing to count in them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def ended(answer: Mapping[str, Any]) -> bool:
    return str(answer["status"]).startswith("finished")


class Server:
    """`pman serve` as a site runs it, with this environment and no other."""

    def __init__(
        self,
        environment: Mapping[str, str],
        port: int = 0,
        *options: str,
        measured: bool = True,
        hidden: Path | None = None,
    ) -> None:
        """`options`: of the command. `hidden`: what this pman does not see, which takes root's rights."""
        hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hidden)]
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115  (as long as the server)
        self.process = subprocess.Popen(
            [*(hide if hidden else ()), sys.executable, "-m", "pman", "serve", *options],
            env={**inherited(measured=measured), "PORT": str(port), **environment},
            stdin=subprocess.DEVNULL,
            stderr=self.log,
            cwd=tempfile.gettempdir(),
        )
        try:
            self.address = until(self._address)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        token = environment.get("AUTH_TOKEN")
        self.root = self.address.replace("//", f"//pfcon:{quote(token, safe='')}@") if token else self.address
        """With the token as pfcon has it, where there is one: `requests` sends it as HTTP Basic."""
        self.url = f"{self.root}/api/v1/"

    def _address(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"pman ended with {self.process.returncode}: {self.output()}")
        found = re.search(r"running on (\w+://\S+)/api/v1/", self.output())
        return found[1] if found else None

    def output(self) -> str:
        return Path(self.log.name).read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the process and closes its log, even where the process does not listen to `how`."""
        try:
            self.process.send_signal(how)
            self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


class Live:
    """One engine with a pman before it and a storebase behind it."""

    def __init__(
        self, engine: Engine, storebase: Path, settings: Mapping[str, str], *, hidden: bool = False
    ) -> None:
        """`hidden`: the engine sees the storebase, and pman does not."""
        self.engine = engine
        self.storebase = storebase
        self.settings = settings
        self.hidden = storebase.parent if hidden else None
        self.server = self._serve()
        self.submitted: list[str] = []

    def _serve(self) -> Server:
        """Measured, but for local: tests/executors/test_local.py and tests/web measure what it runs."""
        return Server(self.environment(), measured=self.engine.name != "local", hidden=self.hidden)

    def environment(self) -> dict[str, str]:
        return {
            "CONTAINER_ENV": self.engine.name,
            "STORAGE_TYPE": "host",
            "STOREBASE": str(self.storebase),
            "LOCAL_STATE": str(self.storebase.parent / "state"),
            **self.engine.environment,
            **self.settings,
        }

    def request(self, **changes: Any) -> dict[str, Any]:
        """A realistic request with directories of its own, in which `in.txt` says hello."""
        jid = changes.pop("jid", None) or f"pman-test-{uuid.uuid4().hex[:12]}"
        incoming, outgoing = f"key-{jid}/incoming", f"key-{jid}/outgoing"
        for directory in (incoming, outgoing):
            (self.storebase / directory).mkdir(parents=True, exist_ok=True)
            (self.storebase / directory).chmod(0o777)
        (self.storebase / incoming / "in.txt").write_text("hello\n")
        return {
            "jid": jid,
            "args": [],
            "args_path_flags": [],
            "auid": "cube",
            "number_of_workers": "1",
            "cpu_limit": "200",  # on a cluster, jobs wait until a node has as much to give
            "memory_limit": "200",
            "gpu_limit": 0,
            "image": self.engine.image,
            "entrypoint": ["true"],
            "type": "ds",
            "env": [],
            "input_dir": incoming,
            "output_dir": outgoing,
            **changes,
        }

    def script(self, text: str, **changes: Any) -> dict[str, Any]:
        """A request that runs a shell script; $in and $out are its directories."""
        prelude = "for d; do in=$out; out=$d; done; "  # the last two arguments
        return self.request(entrypoint=["sh", "-c", prelude + text, "sh"], **changes)

    def post(self, request: Mapping[str, Any], **query: str) -> requests.Response:
        if isinstance(request.get("jid"), str):
            self.submitted.append(request["jid"])
        return requests.post(self.server.url, json=request, params=query, timeout=100)

    def get(self, jid: str) -> requests.Response:
        return requests.get(f"{self.server.url}{jid}/", timeout=100)

    def delete(self, jid: str) -> requests.Response:
        return requests.delete(f"{self.server.url}{jid}/", timeout=100)

    def submit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a POST that must be taken."""
        response = self.post(request)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def status(self, jid: str) -> dict[str, Any]:
        response = self.get(jid)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def finished(self, jid: str, deadline: float = DEADLINE) -> dict[str, Any]:
        """The answer once the job has ended, whatever the end."""

        def probe() -> dict[str, Any] | None:
            answer = self.status(jid)
            return answer if ended(answer) else None

        return until(probe, deadline)

    def restart(self) -> None:
        """A pman that is killed, and another in its place."""
        self.server.stop(signal.SIGKILL)
        self.server = self._serve()

    def started(self, jid: str) -> dict[str, Any]:
        def running() -> dict[str, Any] | None:
            answer = self.status(jid)
            assert not ended(answer), answer
            return answer if answer["status"] == "started" else None

        return until(running)

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Submitted and ended."""
        self.submit(request)
        return self.finished(request["jid"])

    def output(self, request: Mapping[str, Any], name: str) -> Path:
        return self.storebase / str(request["output_dir"]) / name

    def document(self, request: Mapping[str, Any]) -> Any:
        """The first document of a dry run."""
        response = self.post(request, dry_run="true")
        assert response.status_code == 200, response.text
        return response.json()["documents"][0]["content"]

    def close(self) -> None:
        try:
            with ThreadPoolExecutor(16) as pool:  # on Kubernetes, a running job takes some seconds to go
                list(pool.map(self.delete, dict.fromkeys(self.submitted)))
        finally:
            self.server.stop()


@contextmanager
def live(engine: Engine, storebase: Path, **settings: str) -> Iterator[Live]:
    """A pman of its own for what the shared one cannot show; ended with all its jobs."""
    running = Live(engine, storebase, settings)
    try:
        yield running
    finally:
        running.close()


class TimeLimited:
    """By engine: a pman with a time limit of a minute, and a job that would run longer."""

    def __init__(self, storebase: Path) -> None:
        self._storebase = storebase
        self._pool = ThreadPoolExecutor()
        self._begun: dict[int, Future[tuple[Live, str]]] = {}

    def begin(self, engine: Engine) -> None:
        """In the background, once."""
        if id(engine) not in self._begun:
            self._begun[id(engine)] = self._pool.submit(self._submit, engine)

    def job(self, engine: Engine) -> tuple[Live, str]:
        """The pman, and the job's name."""
        self.begin(engine)
        return self._begun[id(engine)].result()

    def _submit(self, engine: Engine) -> tuple[Live, str]:
        running = Live(engine, self._storebase, {"TIMELIMIT_MINUTES": "1"})
        request = running.script("while true; do date +%s >> $out/alive; sleep 1; done")
        running.submit(request)
        return running, request["jid"]

    def close(self) -> None:
        for future in self._begun.values():
            if not future.exception():
                future.result()[0].close()
        self._pool.shutdown()


@contextmanager
def program(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program as a shell starts it in the foreground; killed at the end where it still runs.

    Whoever runs the tests in the background may have SIGINT ignored, and programs inherit that: not this one.
    """
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen([*words], text=True, **options)
    finally:
        signal.signal(signal.SIGINT, handler)
    with process:
        try:
            yield process
        finally:
            process.kill()


def refused_start(environment: Mapping[str, str], *options: str) -> str:
    """What `pman serve` says when it does not start, in this process; `refused_process` has one of its own.

    A start that goes through fails the test at the port, which is taken.
    """
    others = dict.fromkeys(os.environ.keys() - inherited().keys())
    with socket.create_server(("127.0.0.1", 0)) as taken, chdir(tempfile.gettempdir()):
        port = f"--port={taken.getsockname()[1]}"
        done = CliRunner().invoke(main, ["serve", port, *options], env={**others, **environment})
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    assert "cannot listen there" not in done.stderr, done.stderr
    return done.stderr


def unreached(engine: str, storebase: Path) -> dict[str, str]:
    """An engine's environment for starts that are refused before the engine is asked: it may be nowhere."""
    addresses = {name: STAND_INS[name] for name in ("CROMWELL_URL", "SLURMRESTD_URL")}
    return {"CONTAINER_ENV": engine, "STORAGE_TYPE": "host", "STOREBASE": str(storebase), **addresses}


def refused_process(environment: Mapping[str, str], *options: str) -> str:
    """The same of a real process: a traceback, or a start, fails the test."""
    done = subprocess.run(
        [sys.executable, "-m", "pman", "serve", "--port", "0", *options],
        env={**inherited(), **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        cwd=tempfile.gettempdir(),
    )
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


def as_json(response: requests.Response) -> Any:
    """Every answer of pman's is JSON."""
    return json.loads(response.text)
