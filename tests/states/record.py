"""Brings containers into each state that an engine can be brought into, and writes what it says of them.

    python -m tests.states.record docker unix:///var/run/docker.sock
    python -m tests.states.record podman unix:///run/podman/podman.sock

Needs the image localhost/pman-test:1. What cannot be brought about is derived, and says from what.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from pman import executors
from pman.errors import EngineRefused, UnknownJob
from pman.executors import Executor
from pman.job import Document
from pman.translation.translation import Translation
from tests.a_job import a_job, settings_of
from tests.states import HERE

STOREBASE = Path("/tmp/pman-states")

COMMANDS: Mapping[str, list[str]] = {
    "created": ["true"],
    "running": ["sleep", "1000"],
    "paused": ["sleep", "1000"],
    "restarting": ["sh", "-c", "exit 3"],
    "exited-0": ["true"],
    "exited-3": ["sh", "-c", "exit 3"],
    "exited-126": ["sh", "-c", "/etc/passwd"],
    "exited-127": ["sh", "-c", "no-such-program"],
    "exited-137": ["sleep", "1000"],
    "exited-139": ["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"],
    "exited-143": ["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"],
    "exited-255": ["sh", "-c", "exit 255"],
    "out-of-memory": ["dd", "if=/dev/zero", "of=/dev/null", "bs=300M"],
    "out-of-memory-exit-0": ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=300M; true"],
    "start-failed-not-found": ["no-such-program"],
    "start-failed-not-executable": ["/etc/passwd"],
    "start-failed-no-such-user": ["true"],
}
"""Process 1 of a container ignores the signals that it sends itself, hence a shell in a shell."""

TOO_LONG = "failed to create shim task: exec /bin/true: argument list too long: unknown"

VOLUME = "/var/lib/docker/volumes/pman-storebase-33f0a4c1e6b5/_data"

ESCAPES = f"path concatenation escapes the base directory, base: {VOLUME}, subpath: key-1/outgoing/link"
"""By Docker 28.5.2, of a link that leads out of the volume."""

CRUN = (
    "crun: executable file `no-such-program` not found in $PATH: No such file or directory: "
    "OCI runtime attempted to invoke a command that was not found"
)
"""Podman 5.4.2 and 5.8.6 with crun, of a program that is not in the image."""

LINKED_OUT = "securejoin.OpenInRoot link: openat2 /srv/storebase/link: no such file or directory"
"""Podman 5.8.6, of a directory that is a link out of the storebase, or is not there."""

DERIVED: Mapping[str, Mapping[str, tuple[str, dict[str, Any]]]] = {
    "docker": {
        "dead": ("exited-3", {"Status": "dead", "Dead": True}),
        "removing": ("running", {"Status": "removing"}),
        "start-failed-too-long": ("start-failed-not-found", {"Error": TOO_LONG, "ExitCode": 1}),
        "start-failed-link": ("start-failed-not-found", {"Error": ESCAPES, "ExitCode": 128}),
        "unheard-of": ("exited-0", {"Status": "hibernating"}),
    },
    "podman": {
        "initialized": ("created", {"Status": "initialized"}),
        "configured": ("created", {"Status": "configured"}),
        "stopping": ("running", {"Status": "stopping"}),
        "stopped-0": ("exited-0", {"Status": "stopped"}),
        "stopped-3": ("exited-3", {"Status": "stopped"}),
        "removing": ("running", {"Status": "removing"}),
        "unknown": ("running", {"Status": "unknown", "Running": False}),
        "unheard-of": ("exited-0", {"Status": "hibernating"}),
        "start-failed-linked-out": ("created", {"Error": LINKED_OUT}),
        "start-failed-crun": ("created", {"Error": CRUN}),
    },
}
"""From which state, and what differs in its State."""


async def main(engine: str, address: str) -> None:
    for directory in ("incoming", "outgoing"):
        (STOREBASE / directory).mkdir(parents=True, exist_ok=True)
    given = {"STOREBASE": str(STOREBASE), "DOCKER_HOST": address, "SHM_SIZE": "64"}
    translation = Translation(settings_of(engine, **given))
    executor = executors.connect(engine, translation.settings.values)
    version = await executor.ping()
    states: dict[str, Mapping[str, Any]] = {}
    for name, command in COMMANDS.items():
        if not (engine == "podman" and name == "restarting"):  # Podman has no such word
            states[name] = await _brought_into(name, command, translation, executor, address)
    await executors.close(executor)
    for name, found in states.items():
        write(engine, name, {"recorded_from": version}, found)
    for name, (source, changes) in DERIVED[engine].items():
        derived = deepcopy(dict(states[source]))
        derived["State"] = {**derived["State"], **changes}
        write(engine, name, {"recorded_from": version, "derived_from": source, "changed": changes}, derived)


async def _brought_into(
    name: str, command: list[str], translation: Translation, executor: Executor, address: str
) -> Mapping[str, Any]:
    engine = translation.settings.engine
    jid = f"pman-state-{name}"
    memory = 16 if name.startswith("out-of-memory") else 200
    job = a_job(
        jid=jid,
        image="localhost/pman-test:1",
        entrypoint=(command[0],),
        args=tuple(command[1:]),
        memory_limit=memory,
        input_dir="incoming",
        output_dir="outgoing",
    )
    (document,) = translation.render(job, {"storebase": str(STOREBASE)})
    body: Any = document.content
    if name == "restarting":
        body["HostConfig"]["RestartPolicy"] = {"Name": "always"}
    if name == "start-failed-no-such-user":
        body["user" if engine == "podman" else "User"] = "nobody-of-that-name"
    with contextlib.suppress(UnknownJob):
        await executor.remove(jid)
    try:
        if name == "created":
            own = "/libpod" if engine == "podman" else ""
            await _post(address, f"{own}/containers/create?name={jid}", body)
        else:
            await executor.apply(jid, [Document(document.name, document.text, body)])
    except EngineRefused as refused:
        print(f"{name}: {refused}")
    if name == "paused":
        await _post(address, f"/containers/{jid}/pause")
    if name == "exited-137":
        await _post(address, f"/containers/{jid}/kill?signal=KILL")
    found = await _settled(name, jid, executor)
    state = found["State"]
    print(f"{name}: {state['Status']} {state['ExitCode']} oom={state['OOMKilled']} {state['Error'][:100]}")
    if name == "paused":
        await _post(address, f"/containers/{jid}/unpause")
    await executor.remove(jid)
    return found


async def _settled(name: str, jid: str, executor: Executor) -> Mapping[str, Any]:
    wanted = {"start-failed": "created", "out-of-memory": "exited"}
    status = next((word for start, word in wanted.items() if name.startswith(start)), name.partition("-")[0])
    end = time.monotonic() + 20
    found = await executor.inspect(jid)
    while found["State"]["Status"] != status and time.monotonic() < end:
        await asyncio.sleep(0.02)
        found = await executor.inspect(jid)
    return found


async def _post(address: str, path: str, body: object = None) -> None:
    connector = aiohttp.UnixConnector(address.removeprefix("unix://"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"http://localhost/v1.41{path}", json=body) as response,
    ):
        response.raise_for_status()


def write(engine: str, name: str, origin: Mapping[str, object], found: Mapping[str, Any]) -> None:
    file = HERE / engine / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    about = {**origin, "date": datetime.now(UTC).date().isoformat()}
    file.write_text(json.dumps({**about, "native": found}, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
