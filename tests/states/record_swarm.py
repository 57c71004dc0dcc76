"""Brings services of a swarm into each state that there is, and writes what the executor says of them.

    python -m tests.states.record_swarm unix:///var/run/docker.sock

Needs a manager of a swarm of one node, and the image localhost/pman-test:1. What cannot be brought
about is derived, and says from what.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pman import executors
from pman.errors import UnknownJob
from pman.executors import Executor
from pman.job import Document
from pman.translation.translation import Translation
from tests.a_job import a_job, settings_of
from tests.states import HERE
from tests.states.record import ESCAPES, VOLUME

STOREBASE = Path("/tmp/pman-states")

Native = dict[str, Any]


@dataclass(frozen=True)
class Case:
    command: list[str]
    states: list[str]
    """Of its tasks, when it is recorded."""

    job: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    change: Callable[[Any], None] = lambda _: None
    """Of the document."""

    reason: str = ""
    """For which it is ended, once it is in these states."""


def _second(body: Any) -> None:
    body["TaskTemplate"]["ContainerSpec"]["Healthcheck"]["Interval"] = 10**9


def _without_output(body: Any) -> None:
    body["TaskTemplate"]["ContainerSpec"]["Mounts"][1]["Source"] = "/no/such/directory"


def _as_nobody(body: Any) -> None:
    body["TaskTemplate"]["ContainerSpec"]["User"] = "nobody-of-that-name"


ABSENT_DIRECTORY = f"cannot access path {VOLUME}/key-1: lstat {VOLUME}/key-1: no such file or directory"

SLEEP = ["sleep", "1000"]
BY_SLOT = ["sh", "-c", "mkdir /share/outgoing/first 2>/dev/null && exit $0; sleep 1000"]
"""The first worker that comes ends at once, with exit code $0; the others stay."""

CASES: Mapping[str, Case] = {
    "pending-constraints": Case(SLEEP, ["pending"], settings={"NODE_SELECTOR": "no.such.label=a"}),
    "pending-resources": Case(SLEEP, ["pending"], {"gpu_limit": 1}),
    "running": Case(SLEEP, ["running"]),
    "starting-with-time-limit": Case(SLEEP, ["starting"], settings={"TIMELIMIT_MINUTES": "10000000"}),
    "complete": Case(["true"], ["complete"]),
    "failed-3": Case(["sh", "-c", "exit 3"], ["failed"]),
    "failed-126": Case(["sh", "-c", "/etc/passwd"], ["failed"]),
    "failed-127": Case(["sh", "-c", "no-such-program"], ["failed"]),
    "failed-139": Case(["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"], ["failed"]),
    "killed": Case(["sh", "-c", "exit 137"], ["failed"]),
    "out-of-memory": Case(
        ["dd", "if=/dev/zero", "of=/dev/null", "bs=300M"], ["failed"], {"memory_limit": 16}),
    "start-failed-not-found": Case(["no-such-program"], ["failed"]),
    "start-failed-not-executable": Case(["/etc/passwd"], ["failed"]),
    "start-failed-no-such-user": Case(["true"], ["failed"], change=_as_nobody),
    "rejected-image": Case(["true"], ["rejected"], {"image": "localhost/pman-no-such-image:1"}),
    "rejected-mount": Case(["true"], ["rejected"], change=_without_output),
    "rejected-cpu": Case(["true"], ["rejected"], {"cpu_limit": 10**6}),
    "time-limit": Case(SLEEP, ["failed"], settings={"TIMELIMIT_MINUTES": "1"}, change=_second),
    "workers-running": Case(SLEEP, ["running", "running"], {"number_of_workers": 2}),
    "workers-complete": Case(["true"], ["complete", "complete"], {"number_of_workers": 2}),
    "worker-complete": Case([*BY_SLOT, "0"], ["complete", "running"], {"number_of_workers": 2}),
    "worker-failed": Case([*BY_SLOT, "3"], ["failed", "running"], {"number_of_workers": 2}),
    "workers-failed": Case(["sh", "-c", "exit 3"], ["failed", "failed"], {"number_of_workers": 2}),
    "ended": Case(SLEEP, ["running"], reason="time limit of 1 minutes exceeded"),
}  # fmt: skip


def _status(**changes: Any) -> Callable[[Native], None]:
    """Of the last task."""

    def change(native: Native) -> None:
        native["tasks"][-1]["Status"] |= changes

    return change


def _without_tasks(native: Native) -> None:
    native["tasks"] = []


def _without_containers(native: Native) -> None:
    native["containers"] = {}


def _without_limit(native: Native) -> None:
    native["service"]["Spec"]["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"] = 0


def _closed(native: Native) -> None:
    native["service"]["Spec"]["Mode"] = {"ReplicatedJob": {"MaxConcurrent": 0, "TotalCompletions": 0}}


def _closed_without_tasks(native: Native) -> None:
    _closed(native)
    _without_tasks(native)


def _being_ended(native: Native) -> None:
    _closed(native)
    native["service"]["Spec"]["Labels"]["org.chrisproject.pman.reason"] = "a reason"


def _run_again(native: Native) -> None:
    again = deepcopy(native["tasks"][0])
    again |= {"ID": "again", "CreatedAt": "9999-01-01T00:00:00Z", "DesiredState": "complete"}
    again["Status"] = {**again["Status"], "State": "running", "Err": ""}
    native["tasks"].append(again)


def _abandoned(native: Native) -> None:
    native["tasks"][0]["DesiredState"] = "shutdown"


def _lost(native: Native) -> None:
    _abandoned(native)
    native["lost"] = [native["tasks"][0]["ID"]]


def _ended_too_late(native: Native) -> None:
    _being_ended(native)
    native["tasks"][0]["Status"]["State"] = "complete"


ABSENT = "No such container: pman-state-running.a.b"

DERIVED: Mapping[str, tuple[str, Callable[[Native], None], str]] = {
    "created": ("running", _without_tasks, "no task yet"),
    **{word: ("running", _status(State=word, ContainerStatus=None), f"State {word}")
       for word in ("new", "allocated", "assigned", "accepted", "preparing", "ready", "starting")},
    "pending": ("pending-constraints", _status(Err=""), "no Err yet"),
    "shutdown": ("running", _status(State="shutdown", Err=""), "State shutdown"),
    "remove": ("running", _status(State="remove", Err=""), "State remove"),
    "orphaned": ("running", _status(State="orphaned", Err=""), "State orphaned"),
    "node-restarted": ("running", _status(State="failed", Err=ABSENT), "failed since its container was gone"),
    "failed-without-a-word": ("running", _status(State="failed", Err=""), "State failed"),
    "killed-elsewhere": ("out-of-memory", _without_containers, "on another node"),
    "killed-without-limit": ("killed", _without_limit, "no MemoryBytes"),
    "run-again": ("failed-3", _run_again, "a second task in the slot, as after the start of a manager"),
    "start-failed-too-long": ("start-failed-not-found", _status(
        Err="starting container failed: exec /bin/true: argument list too long: unknown"), "another Err"),
    "rejected-link": ("rejected-mount", _status(Err=ESCAPES), "the Err of Docker 28.5.2, with a sub-path"),
    "rejected-subpath": ("rejected-mount", _status(Err=ABSENT_DIRECTORY), "another Err of the same"),
    "rejected-otherwise": ("rejected-cpu", _status(Err="conflicting options"), "another Err"),
    "relabelled": ("running", _status(
        State="rejected", Err="assigned node no longer meets constraints"), "as its node lost a label"),
    "being-removed": ("running", _closed, "closed"),
    "removed-halfway": ("running", _closed_without_tasks, "closed, its tasks gone"),
    "being-ended": ("running", _being_ended, "closed, for a reason"),
    "ended-too-late": ("running", _ended_too_late, "closed for a reason, State complete"),
    "abandoned": ("running", _abandoned, "DesiredState shutdown"),
    "lost": ("running", _lost, "DesiredState shutdown, and its node down"),
    "unheard-of": ("running", _status(State="hibernating"), "State hibernating"),
}  # fmt: skip
"""From which state, what differs, and in words."""


async def main(address: str) -> None:
    states: dict[str, Native] = {}
    version = ""
    for name, case in CASES.items():
        given = {"STOREBASE": str(STOREBASE), "DOCKER_HOST": address, **case.settings}
        translation = Translation(settings_of("swarm", **given))
        executor = executors.connect("swarm", translation.settings.values)
        version = await executor.ping()
        states[name] = await _brought_into(name, case, translation, executor)
        while name == "out-of-memory" and not _is_told_out_of_memory(states[name]):
            states[name] = await _brought_into(name, case, translation, executor)
        await executors.close(executor)
        _write(name, {"recorded_from": version}, states[name])
    for name, (source, change, words) in DERIVED.items():
        derived = deepcopy(states[source])
        change(derived)
        _write(name, {"recorded_from": version, "derived_from": source, "changed": words}, derived)


async def _brought_into(name: str, case: Case, translation: Translation, executor: Executor) -> Native:
    jid = f"pman-state-{name}"
    directories = {"input_dir": f"{name}/incoming", "output_dir": f"{name}/outgoing"}
    for directory in directories.values():
        (STOREBASE / directory).mkdir(parents=True, exist_ok=True)
    first = STOREBASE / directories["output_dir"] / "first"
    if first.exists():
        first.rmdir()
    given = {"image": "localhost/pman-test:1", "cpu_limit": 100, **directories, **case.job}
    job = a_job(jid=jid, entrypoint=(case.command[0],), args=tuple(case.command[1:]), **given)
    (document,) = translation.render(job, {"storebase": str(STOREBASE)})
    body: Any = document.content
    case.change(body)
    with contextlib.suppress(UnknownJob):
        await executor.remove(jid)
    await executor.apply(jid, [Document(document.name, document.text, body)])
    found = await _until(executor, jid, case.states)
    if case.reason:
        await executor.end(jid, case.reason)
        found = await _until(executor, jid, [])
    print(f"{name}: {[(task['Status']['State'], task['Status'].get('Err')) for task in found['tasks']]}")
    await executor.remove(jid)
    return found


def _is_told_out_of_memory(native: Native) -> bool:
    """Docker 20.10 misses it at times."""
    return all(container["State"]["OOMKilled"] for container in native["containers"].values())


async def _until(executor: Executor, jid: str, states: list[str]) -> Native:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = dict(await executor.inspect(jid))
        tasks = [task["Status"] for task in found["tasks"]]
        # The scheduler tells its reason a moment later.
        unexplained = any(status["State"] == "pending" and not status.get("Err") for status in tasks)
        if sorted(status["State"] for status in tasks) == states and not unexplained:
            return dict(await executor.inspect(jid))
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{jid} never came to be {states}: {found['tasks']}")


def _write(name: str, origin: Mapping[str, object], found: Native) -> None:
    file = HERE / "swarm" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    about = {**origin, "date": datetime.now(UTC).date().isoformat()}
    file.write_text(json.dumps({**about, "native": found}, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
