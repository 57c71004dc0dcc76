"""Brings jobs of SLURM into each state that there is, and writes what the executor says of them.

    python -m tests.states.record_slurm

Finds SLURM by SLURMRESTD_URL and SLURM_JWT, and needs `scontrol` to hold and suspend. What cannot be brought
about is derived, and says from what: the words are those of slurm.schedmd.com/job_state_codes.html and
job_reason_codes.html.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
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

STOREBASE = Path("/tmp/pman-states-slurm")

Native = dict[str, Any]


@dataclass(frozen=True)
class Case:
    script: str
    states: tuple[str, ...]
    """Any of them, when it is recorded."""

    job: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    change: Callable[[Any], None] = lambda _: None
    """Of the submission."""

    do: str = ""
    """A program of SLURM's, with the job's id at the end, once it runs."""

    reason: str = ""
    """For which pman ends it, once it runs."""

    link: str = ""
    """A link in the storebase, to a directory beside it."""


def _set(**words: Any) -> Callable[[Any], None]:
    return lambda job: job.update(words)


CASES = {
    "completed": Case("exit 0", ("COMPLETED",)),
    "failed-3": Case("exit 3", ("FAILED",)),
    "failed-125": Case("exit 125", ("FAILED",)),
    "failed-126": Case("exit 126", ("FAILED",)),
    "failed-127": Case("no-such-program", ("FAILED",)),
    "failed-137": Case("exit 137", ("FAILED",)),
    "failed-139": Case("exit 139", ("FAILED",)),
    "killed": Case("kill -9 $PPID; sleep 5", ("FAILED",)),
    "out-of-memory": Case("a=x; while true; do a=$a$a; done", ("OUT_OF_MEMORY",), {"memory_limit": 30}),
    "running": Case("sleep 60", ("RUNNING",)),
    "cancelled": Case("sleep 60", ("CANCELLED",), do="scancel"),
    "ended-by-pman": Case("sleep 60", ("CANCELLED",), reason="above the site's limit"),
    "timeout": Case("sleep 600", ("TIMEOUT",), settings={"TIMELIMIT_MINUTES": "1"}),
    "completing": Case("trap '' TERM; sleep 20 & sleep 20", ("COMPLETING",), do="scancel"),
    "pending-cpu": Case("true", ("PENDING",), change=_set(cpus_per_task=4000)),
    "pending-begin": Case("true", ("PENDING",), change=_set(begin_time="now+15minutes")),
    "held": Case("true", ("PENDING",), change=_set(begin_time="now+16minutes"), do="scontrol hold"),
    "linked": Case("exit 0", ("FAILED",), {"input_dir": "linked/link"}, link="linked/link"),
    "without-a-log": Case("true", ("FAILED",), change=_set(standard_output="/no/such/directory/log")),
}


def _to(*states: str, **words: Any) -> Callable[[Native], None]:
    def change(native: Native) -> None:
        native["job"].update(states=list(states), **words)

    return change


def _source(source: str, **words: Any) -> Callable[[Native], None]:
    def change(native: Native) -> None:
        native.update(source=source)
        native["job"].update(words)

    return change


PENDING = (
    "Resources", "Priority", "Dependency", "DependencyNeverSatisfied", "JobHeldAdmin", "PartitionTimeLimit",
    "BadConstraints", "InvalidAccount", "AssocGrpCpuLimit", "QOSMaxJobsPerUserLimit", "QOSMaxCpuPerJobLimit",
    "PartitionDown", "ReqNodeNotAvail",
)  # fmt: skip

DERIVED: dict[str, tuple[str, Callable[[Native], None]]] = {
    **{f"pending-{reason}": ("pending-cpu", _to("PENDING", reason=reason)) for reason in PENDING},
    **{
        f"{state.lower()}".replace("_", "-"): ("running", _to(state))
        for state in ("CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING", "STOPPED")
    },
    **{
        f"{state.lower()}".replace("_", "-"): ("pending-cpu", _to(state, reason="None"))
        for state in ("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
    },
    **{
        f"{state.lower()}".replace("_", "-"): ("cancelled", _to(state, reason="None"))
        for state in ("NODE_FAIL", "BOOT_FAIL", "DEADLINE", "PREEMPTED")
    },
    "power-up-node": ("running", _to("RUNNING", "POWER_UP_NODE")),
    "completed-completing": ("completed", _to("COMPLETED", "COMPLETING")),
    "launch-failed": ("failed-3", _to("FAILED", "LAUNCH_FAILED", exit_code=0)),
    "bad-constraints": ("failed-3", _to("FAILED", exit_code=0, reason="BadConstraints")),
    "begun-anew": ("failed-3", _to("FAILED", exit_code=75, restarts=1)),
    "failed-without-a-code": ("failed-3", _to("FAILED", exit_code=None)),
    "revoked": ("completed", _to("REVOKED")),
    "unheard-of": ("running", _to("DREAMING")),
    "unsubmitted": ("pending-cpu", _source("unsubmitted", states=["PENDING"])),
    "lost": ("completed", _source("lost", states=[], exit_code=None, start="", end="")),
    "by-its-script": ("failed-3", _source("files", exit_code=143)),
    "timeout-of-the-partition": ("timeout", lambda native: native["notes"].update(minutes=None)),
    "image-of-apptainer": ("failed-3", _to("FAILED", exit_code=255)),
    "killed-without-limit": ("failed-137", lambda native: native["notes"].update(memory=0)),
}
"""By the name of a state: from which other one, and what is changed."""


async def main() -> None:
    address = {name: os.environ[name] for name in ("SLURMRESTD_URL", "SLURM_JWT")}
    states: dict[str, Native] = {}
    version = ""

    async def one(name: str, case: Case) -> None:
        nonlocal version
        given = {"STOREBASE": str(STOREBASE), "SLURM_RUNTIME": "none", **address, **case.settings}
        settings = settings_of("slurm", **given)
        executor = executors.connect("slurm", settings.values)
        await executor.facts()
        version = await executor.ping()
        states[name] = await _brought_into(name, case, Translation(settings), executor)
        await executors.close(executor)

    await asyncio.gather(*(one(name, case) for name, case in CASES.items()))
    for name in CASES:
        _write(name, {"recorded_from": version}, states[name])
    for name, (source, change) in DERIVED.items():
        derived = deepcopy(states[source])
        change(derived)
        _write(name.lower(), {"recorded_from": version, "derived_from": source}, derived)


async def _brought_into(name: str, case: Case, translation: Translation, executor: Executor) -> Native:
    jid = f"pman-state-{name}"
    directories = {"input_dir": f"{name}/incoming", "output_dir": f"{name}/outgoing"}
    for directory in directories.values():
        (STOREBASE / directory).mkdir(parents=True, exist_ok=True)
    if case.link and not (STOREBASE / case.link).is_symlink():
        (STOREBASE / case.link).symlink_to("/srv")
    job = a_job(
        jid=jid,
        entrypoint=("bash",),
        args=("-c", case.script),
        **{"cpu_limit": 100, **directories, **case.job},
    )
    with contextlib.suppress(UnknownJob):
        await executor.remove(jid)
    content, script = translation.render(job, {"storebase": str(STOREBASE)})
    assert isinstance(content.content, Mapping)
    submitted = deepcopy(dict(content.content))
    case.change(submitted["job"])
    if "runtime" in submitted["notes"] and name in ("failed-125",):
        submitted["notes"]["runtime"] = "podman"
    await executor.apply(jid, [Document(content.name, content.text, submitted), script])
    try:
        if case.do:
            states = ("PENDING",) if "hold" in case.do else ("RUNNING",)
            found = await _until(executor, jid, states)
            words = [*case.do.split(), str(found["job"]["id"])]
            await asyncio.to_thread(subprocess.run, words, check=True)
        if case.reason:
            await _until(executor, jid, ("RUNNING",))
            await executor.end(jid, case.reason)
        await asyncio.sleep(1 if "PENDING" in case.states else 0)
        return dict(await _until(executor, jid, case.states))
    finally:
        await executor.remove(jid)


async def _until(executor: Executor, jid: str, states: tuple[str, ...]) -> Mapping[str, Any]:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        found = await executor.inspect(jid, fresh=True)
        if found["job"] and found["job"]["states"][0] in states and found["source"] != "unsubmitted":
            return found
        await asyncio.sleep(0.05)
    raise SystemExit(f"{jid} does not become {states}: {found}")


def _write(name: str, source: Mapping[str, str], native: Native) -> None:
    directory = HERE / "slurm"
    directory.mkdir(exist_ok=True)
    data = {**source, "date": datetime.now(UTC).date().isoformat(), "native": native}
    (directory / f"{name}.json").write_text(json.dumps(data, indent=1, sort_keys=False) + "\n", "utf-8")


if __name__ == "__main__":
    STOREBASE.mkdir(exist_ok=True)
    STOREBASE.chmod(0o755)
    asyncio.run(main())
