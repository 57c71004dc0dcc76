"""An engine that pman does not ship: a package with an entry point, and a folder of templates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.a_job import a_request
from tests.live import DEADLINE, Server, until

MODULE = '''
"""Keeps what it is given, and calls every job done."""
from pman.errors import NameTaken, UnknownJob


def connect(settings):
    return Shelf()


class Shelf:
    def __init__(self):
        self.jobs = {}

    async def facts(self):
        return {"storebase": "/shelf", "native": {}}

    async def apply(self, jid, documents):
        if jid in self.jobs:
            raise NameTaken(jid)
        self.jobs[jid] = documents[0].content
        return self.jobs[jid]

    async def inspect(self, jid, *, fresh=False):
        if jid not in self.jobs:
            raise UnknownJob(jid)
        return self.jobs[jid]

    async def active(self):
        return []

    async def end(self, jid, reason): ...

    async def logs(self, jid, tail, *, follow=False):
        yield b"kept\\n"

    async def remove(self, jid):
        if not self.jobs.pop(jid, None):
            raise UnknownJob(jid)

    async def list(self):
        return list(self.jobs)

    async def ping(self):
        return "Shelf 1"
'''

TEMPLATE = """
image: {{ job.image }}
argv: {{ job.argv }}
env: {{ job.env }}
labels: {{ job.labels }}
workers: {{ job.number_of_workers }}
dirs: [{{ site.storebase ~ "/" ~ job.input_dir }}, {{ job.output_dir }}]
"""

STATE = """
fields:
  image: native.image
  argv: native.argv
  digest: native.labels['org.chrisproject.pman.digest']
rules:
  - status: finishedSuccessfully
    message: kept for {{ native.workers }} workers
"""


@pytest.fixture
def shelf(tmp_path: Path) -> dict[str, str]:
    """The environment of a pman with that package installed."""
    info = tmp_path / "site-packages/shelf-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pman.executors]\nshelf = shelf:connect\n")
    (info.parent / "shelf.py").write_text(MODULE)
    folder = tmp_path / "templates/shelf"
    folder.mkdir(parents=True)
    (folder / "job.yaml.j2").write_text(TEMPLATE)
    (folder / "state.yaml").write_text(STATE)
    return {
        "CONTAINER_ENV": "shelf",
        "STORAGE_TYPE": "host",
        "STOREBASE": "/elsewhere",
        "PMAN_TEMPLATES": str(tmp_path / "templates"),
        "PYTHONPATH": str(info.parent),
    }


def test_an_engine_of_another_package_is_a_module_and_a_folder(shelf: dict[str, str]) -> None:
    request = a_request(jid="on-the-shelf", number_of_workers=3, cpu_limit=0, memory_limit=0, env=["A=b"])
    server = Server(shelf)
    try:
        until(lambda: requests.get(f"{server.root}/readyz", timeout=60).ok)

        answer = requests.post(server.url, json=request, timeout=60)
        assert answer.status_code == 201, answer.text
        assert answer.json()["status"] == "finishedSuccessfully"
        assert answer.json()["message"] == "kept for 3 workers"
        assert answer.json()["cmd"] == "simpledsapp --prefix le /share/incoming /share/outgoing"
        assert requests.get(f"{server.url}on-the-shelf/", timeout=60).json()["logs"] == "kept\n"

        limited = requests.post(server.url, json={**request, "memory_limit": 5}, timeout=60)
        assert limited.status_code == 400
        assert limited.json()["errors"][0]["path"] == "$.memory_limit"

        assert requests.delete(f"{server.url}on-the-shelf/", timeout=60).status_code == 204
        assert requests.delete(f"{server.url}on-the-shelf/", timeout=60).status_code == 404
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("method", "another", "named"),
    [
        ("async def ping(self)", "async def pong(self)", "no ping"),
        ("async def end(self", "async def _end(self", "no end"),
        ("async def ping(self)", "async def resume(self)", "no discard, ping, unfinished"),
    ],
)
def test_an_engine_that_lacks_a_method_is_refused_at_the_start_and_by_a_check(
    shelf: dict[str, str], method: str, another: str, named: str
) -> None:
    (Path(shelf["PYTHONPATH"]) / "shelf.py").write_text(MODULE.replace(method, another))
    refused = f"the engine shelf cannot be used: its executor has {named}"

    server, check = (
        subprocess.run(
            [sys.executable, "-m", "pman", command],
            env={"PATH": os.environ["PATH"], "PORT": "0", **shelf},
            cwd=shelf["PYTHONPATH"],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        for command in ("serve", "check")
    )

    assert (server.returncode, check.returncode) == (2, 1)
    assert refused in server.stderr
    assert refused in " ".join(check.stdout.split())


def test_a_package_that_is_broken_stops_only_a_pman_that_has_chosen_its_engine(tmp_path: Path) -> None:
    entries = "[pman.executors]\nbroken = broken.engine:connect\nbare = bare:connect\n"
    unusable = (
        '{"$id": "urn:pman:engines:bare", "$defs": {"settings": {"properties": {"A_B": {"x-engines": []}}}}}'
    )
    files = {
        "shelf-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shelf\nVersion: 1\n",
        "shelf-1.dist-info/entry_points.txt": entries,
        "broken/__init__.py": "raise RuntimeError('another release of a library')",
        "bare/__init__.py": "",
        "bare/schema/unrelated.json": "{}",
        "bare/schema/engines/bare.json": unusable,
        "bare/schema/engines/worse.json": "{",
        "bare/schema/engines/list.json": "[]",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    script = """
from pman import executors, settings
from pman.errors import ConfigError

for engine in ("docker", "bare", "worse", "list", "broken"):
    try:
        chosen = settings.load({"CONTAINER_ENV": engine}, [engine])
        if engine == "broken":
            executors.connect(engine, chosen)
        print(engine, "is fine")
    except ConfigError as error:
        print(error, error.hint)
"""

    command = [sys.executable, "-c", script]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=DEADLINE, check=False)

    docker, bare, worse, a_list, broken = run.stdout.splitlines() or [run.stderr]
    refused = f"cannot be used: {tmp_path}/bare/schema/engines"
    assert docker == "docker is fine"
    assert bare.strip() == f"the engine bare {refused}/bare.json: the setting A_B has no type"
    assert worse.startswith(f"the engine worse {refused}/worse.json: Expecting property name")
    assert a_list.startswith(f"the engine list {refused}/list.json: ")
    assert broken.startswith(
        "the engine broken cannot be used: broken.engine cannot be imported RuntimeError: another"
    )
