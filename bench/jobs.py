"""The jobs that are measured: real ones, submitted through pman; and the floor's containers.

All of them carry a label with this run's token, by which they are found and removed at the end,
however the run ends. Nothing else on the engine is touched.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from bench.wire import Connection, WrongAnswer

LABEL = "org.chrisproject.pman-bench"
AT_ONCE = 8
"""Jobs that are made, or removed, side by side."""

FEW_LINES = "for i in 1 2 3 4 5; do echo line $i of five; done"
MANY_LINES = (
    "i=0; while [ $i -lt 1000 ]; do echo line $i of a thousand, as long as most are; i=$((i+1)); done"
)
GO_ON = "; exec sleep 3600"


class Jobs:
    """The jobs of one run, on one engine."""

    def __init__(self, engine: str, image: str) -> None:
        self.engine = engine
        self.token = f"bench-{uuid.uuid4().hex[:8]}"
        self.image = image
        self._numbers = iter(range(10**9))

    @property
    def environment(self) -> Mapping[str, str]:
        """What pman is to be told of the engine."""
        return {"CONTAINER_ENV": "docker", "DOCKER_HOST": self.engine}

    @property
    def labels(self) -> Mapping[str, str]:
        return {LABEL: self.token}

    def names(self, count: int) -> list[str]:
        """New ones, never used twice."""
        return [f"{self.token}-{next(self._numbers)}" for _ in range(count)]

    def document(self, pman: Connection, script: str) -> Callable[[str], bytes]:
        """What pman would send to the engine for a job of a given name: the floor sends the same."""
        (name,) = self.names(1)
        answer = pman.expect(200, "POST", "/api/v1/?dry_run=true", request(name, script, self.image))
        text = json.dumps(answer["documents"][0]["content"])
        return lambda jid: text.replace(name, jid).encode()

    def submit(self, pman: str, count: int, script: str) -> list[str]:
        """New jobs, through pman; returns when the engine has started all of them."""
        names = self.names(count)

        def one(connection: Connection, jid: str) -> None:
            connection.expect(201, "POST", "/api/v1/", request(jid, script, self.image))

        side_by_side(lambda: Connection(pman), one, names)
        return names

    def wait_for_the_end(self, names: Iterable[str]) -> None:
        """Asks the engine, so that pman has not yet seen the end of any of them."""

        def one(connection: Connection, jid: str) -> None:
            connection.expect(200, "POST", f"/containers/{jid}/wait")

        side_by_side(lambda: Connection(self.engine), one, list(names))

    def remove(self, names: Iterable[str]) -> None:
        def one(connection: Connection, jid: str) -> None:
            status, answer = connection.request("DELETE", f"/containers/{jid}?force=1&v=1")
            if status not in (204, 404, 409):  # 404: gone; 409: being removed
                raise WrongAnswer(f"DELETE {jid}: {status}: {answer.decode()}")

        side_by_side(lambda: Connection(self.engine), one, list(names))

    def remove_all(self) -> None:
        """Everything that carries this run's label, and nothing else."""
        while self._remove_listed():
            time.sleep(0.5)  # what was being created when the run was interrupted

    def _remove_listed(self) -> bool:
        names = [item["Id"] for item in self._listed()]
        self.remove(names)
        return bool(names)

    def others(self) -> int:
        """Containers on the engine that are not of this run."""
        with Connection(self.engine) as engine:
            total = len(engine.expect(200, "GET", "/containers/json?all=1"))
        return total - len(self._listed())

    def engine_version(self) -> str:
        """Raises WrongAnswer when the engine has no such image."""
        with Connection(self.engine) as engine:
            engine.expect(200, "GET", f"/images/{quote(self.image)}/json")
            version = engine.expect(200, "GET", "/version")
        return f"Docker {version['Version']} (API {version['ApiVersion']})"

    def _listed(self) -> list[dict[str, Any]]:
        """The containers of this run, as the engine lists them."""
        filters = quote(json.dumps({"label": [f"{LABEL}={self.token}"]}))
        path = f"/containers/json?all=1&filters={filters}"
        with Connection(self.engine) as engine:
            found: list[dict[str, Any]] = engine.expect(200, "GET", path)
        return found


def request(jid: str, script: str, image: str, **limits: int) -> bytes:
    """The body of a POST, such as pfcon sends."""
    job = {
        "jid": jid,
        "type": "ds",
        "image": image,
        "entrypoint": ["sh"],
        "args": ["-c", script],
        "args_path_flags": [],
        "auid": "bench",
        "env": [],
        "number_of_workers": 1,
        "cpu_limit": 1000,
        "memory_limit": 200,
        "gpu_limit": 0,
        "input_dir": "incoming",
        "output_dir": "outgoing",
    }
    return json.dumps({**job, **limits}).encode()


def side_by_side(
    connect: Callable[[], Connection], work: Callable[[Connection, str], None], names: Sequence[str]
) -> None:
    """`work` on each name, over a few connections. Raises the first error, the rest is given up."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        todo.put(name)
    stop = threading.Event()

    def worker() -> None:
        try:
            with connect() as connection:
                while not stop.is_set() and not todo.empty():
                    try:
                        name = todo.get_nowait()
                    except queue.Empty:
                        return
                    work(connection, name)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(AT_ONCE) as pool:
        workers = [pool.submit(worker) for _ in range(min(AT_ONCE, len(names)))]
        try:
            for done in workers:
                done.result()
        finally:
            stop.set()
