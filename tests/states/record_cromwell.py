"""Brings workflows of a Cromwell into each state that there is, and writes what the executor says of them.

    CROMWELL_URL=http://127.0.0.1:8000 python -m tests.states.record_cromwell [NAME...]

Needs a server with deploy/cromwell/slurm-docker.conf whose root is visible here, and the image
localhost/pman-test:1. What cannot be brought about is derived, and says from what. The answers of
another server, recorded elsewhere, stand beside and are left alone: those named `real-...`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
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

STOREBASE = Path("/tmp/pman-states")

Native = dict[str, Any]


@dataclass(frozen=True)
class Case:
    command: list[str]
    until: str = "Failed"
    """The status of the workflow, or of its call, when it is recorded."""

    job: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    change: Callable[[str], str] = lambda text: text
    """Of the WDL."""

    reason: str = ""
    """For which it is ended, once it runs."""

    cancelled: bool = False
    """By scancel, once it runs."""


def _no_wdl(text: str) -> str:
    return text.replace("call plugin_instance", "call no_such_task")


def _as_nobody(text: str) -> str:
    return text.replace("cpu: 1", 'docker_user: "nobody-of-that-name"\n    cpu: 1')


SLEEP = ["sleep", "1000"]

LINK = "linked-elsewhere"
"""In the storebase, to a directory beside it."""

CASES: Mapping[str, Case] = {
    "running": Case(SLEEP, "Running"),
    "succeeded": Case(["true"], "Succeeded"),
    "workers-succeeded": Case(["true"], "Succeeded", {"number_of_workers": 2}),
    "failed-3": Case(["sh", "-c", "exit 3"]),
    "failed-126": Case(["/etc/passwd"]),
    "failed-127": Case(["no-such-program"]),
    "failed-139": Case(["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"]),
    "killed": Case(["sh", "-c", "exit 137"]),
    "out-of-memory": Case(["dd", "if=/dev/zero", "of=/dev/null", "bs=300M"], job={"memory_limit": 16}),
    "linked": Case(["true"], job={"input_dir": LINK}),
    "no-such-image": Case(["true"], job={"image": "localhost:1/pman/no-such-image:1"}),
    "no-such-user-of-docker": Case(["true"], change=_as_nobody),
    "no-gpu-for-a-container": Case(["true"], job={"gpu_limit": 1}),
    "no-gpu-in-slurm": Case(["true"], job={"gpu_limit": 1000}),
    "no-such-partition": Case(["true"], settings={"NODE_SELECTOR": "partition=no-such"}),
    "no-such-constraint": Case(["true"], settings={"NODE_SELECTOR": "constraint=no-such"}),
    "too-much-for-slurm": Case(["true"], job={"memory_limit": 100_000_000}),
    "no-wdl": Case(["true"], change=_no_wdl),
    "time-limit": Case(SLEEP, settings={"TIMELIMIT_MINUTES": "1"}),
    "ended-for-a-reason": Case(SLEEP, "Aborted", reason="a reason of the site's"),
    "cancelled-in-slurm": Case(SLEEP, cancelled=True),
}


def _status(word: str) -> Callable[[Native], None]:
    def change(native: Native) -> None:
        native["metadata"]["status"] = word

    return change


def _executed(word: str, **more: object) -> Callable[[Native], None]:
    def change(native: Native) -> None:
        native["metadata"]["calls"]["ChRISJob.plugin_instance"][0].update(executionStatus=word, **more)

    return change


def _without_call(status: str) -> Callable[[Native], None]:
    def change(native: Native) -> None:
        native["metadata"].update(status=status, calls={})

    return change


def _told(slurm: str, code: int) -> Callable[[Native], None]:
    def change(native: Native) -> None:
        native["files"].update(slurm=slurm, rc=code)
        native["metadata"]["calls"]["ChRISJob.plugin_instance"][0].pop("returnCode", None)

    return change


def _blind(native: Native) -> None:
    native["files"] = {"directory": native["files"]["directory"]}
    native["metadata"]["calls"]["ChRISJob.plugin_instance"][0].pop("returnCode", None)


def _not_known(native: Native) -> None:
    native["known"] = False
    native["metadata"] = {
        name: native["metadata"][name] for name in ("id", "labels", "submittedFiles")
    } | {"status": "Submitted"}  # fmt: skip


def _without_words(native: Native) -> None:
    native["metadata"].update(failures=None)
    native["causes"] = []
    native["files"] = {"directory": "/x"}
    native["metadata"]["calls"]["ChRISJob.plugin_instance"][0].pop("returnCode", None)


ENDED = "slurmstepd: error: *** JOB 7 ON a CANCELLED AT 2026-01-01T00:00:00 DUE TO "
OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the tasks were OOM Killed."

DERIVED: Mapping[str, tuple[str, Callable[[Native], None], str]] = {
    "not-told-of": ("running", _not_known, "as apply() tells it"),
    "submitted": ("running", _without_call("Submitted"), "not picked up"),
    "on-hold": ("running", _without_call("On Hold"), "workflowOnHold"),
    "aborting": ("running", _status("Aborting"), "an abort"),
    "aborted": ("running", _status("Aborted"), "by somebody else"),
    "aborted-before-it-began": ("running", _without_call("Aborted"), "and no call"),
    "no-call": ("running", _without_call("Running"), "just picked up"),
    "queued": ("running", _executed("QueuedInCromwell"), "waits for a token"),
    "waiting-for-space": ("running", _executed("WaitingForQueueSpace"), "a hog limit"),
    "starting": ("running", _executed("Starting"), "as documented"),
    "retryable": ("running", _executed("RetryableFailure"), "maxRetries of a site"),
    "done-but-running": ("running", _executed("Done"), "not summarized"),
    "no-return-code-yet": (
        "running",
        _executed("Running", backendStatus="WaitingForReturnCode"),
        "exit-code-timeout-seconds",
    ),
    "unheard-of": ("running", _status("Hibernating"), "no such word"),
    "preempted": ("killed", _told(ENDED + "PREEMPTION ***", 143), "SLURM's words"),
    "node-failed": (
        "killed",
        _told(ENDED + "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***", 143),
        "SLURM's words",
    ),
    "out-of-memory-in-slurm": ("killed", _told(OOM, 137), "SLURM's words"),
    "time-limit-of-the-partition": ("killed", _told(ENDED + "TIME LIMIT ***", 143), "SLURM's words"),
    "killed-in-podman": (
        "killed",
        _told("killed, for its memory or not: Podman does not tell", 137),
        "slurm-docker.conf's words",
    ),
    "no-return-code": ("killed", _told("", 79), "exit-code-timeout-seconds"),
    "killed-out-of-sight": ("killed", _blind, "the directory is not visible"),
    "failed-without-a-word": ("killed", _without_words, "no failures"),
}


async def main(wanted: list[str]) -> None:
    names = [name for name in CASES if not wanted or name in wanted]
    natives = dict(zip(names, await asyncio.gather(*(_record(name) for name in names)), strict=True))
    for name, (source, change, words) in DERIVED.items():
        if source in natives and (not wanted or name in wanted):
            derived = deepcopy(natives[source])
            change(derived["native"])
            about = {"recorded_from": derived["recorded_from"], "derived_from": source, "changed": words}
            _write(name, about, derived["native"])


async def _record(name: str) -> Native:
    case = CASES[name]
    storage = {
        "STOREBASE": str(STOREBASE),
        "CROMWELL_LAG_SECONDS": os.environ.get("CROMWELL_LAG_SECONDS", "10"),
    }
    settings = settings_of("cromwell", CROMWELL_URL=os.environ["CROMWELL_URL"], **storage, **case.settings)
    jid = f"pman-state-{name}-{uuid.uuid4().hex[:6]}"
    for directory in ("incoming", "outgoing"):
        (STOREBASE / f"key-{jid}" / directory).mkdir(parents=True)
    if not (STOREBASE / LINK).is_symlink():
        (STOREBASE / LINK).symlink_to("/srv")
    own = {"input_dir": f"key-{jid}/incoming", "output_dir": f"key-{jid}/outgoing"}
    job = a_job(
        jid=jid, entrypoint=tuple(case.command[:1]), args=tuple(case.command[1:]),
        **{"image": "localhost/pman-test:1", "cpu_limit": 100, **own, **case.job},
    )  # fmt: skip
    executor = executors.connect("cromwell", settings.values)
    try:
        facts = await executor.facts()
        documents = [
            Document("workflow.wdl", case.change(given.text), None) if given.name == "workflow.wdl" else given
            for given in Translation(settings).render(job, facts)
        ]
        await executor.apply(jid, documents)
        native = await _reached(executor, jid, case)
        _write(name, {"recorded_from": await executor.ping()}, native)
        return {"recorded_from": await executor.ping(), "native": native}
    finally:
        with contextlib.suppress(UnknownJob):
            await executor.remove(jid)
        await executors.close(executor)


async def _reached(executor: Executor, jid: str, case: Case) -> Native:
    acted = False
    end = time.monotonic() + 300
    while time.monotonic() < end:
        native = dict(await executor.inspect(jid, fresh=True))
        words = [native["metadata"]["status"]] if case.until != "Running" else []
        calls = [call for found in (native["metadata"].get("calls") or {}).values() for call in found]
        runs = bool(calls) and calls[0].get("executionStatus") == "Running" and "jobId" in calls[0]
        if case.until in words or (case.until == "Running" and runs):
            return native
        if runs and case.reason and not acted:
            acted = True
            await executor.end(jid, case.reason)
        if runs and case.cancelled and not acted:
            acted = True
            await asyncio.sleep(3)  # its container has begun
            await asyncio.to_thread(subprocess.run, ["scancel", calls[0]["jobId"]], check=True)
        await asyncio.sleep(0.2)
    raise TimeoutError(f"{jid} is not {case.until}: {native}")


def _write(name: str, about: Mapping[str, str], native: Native) -> None:
    found = {**about, "date": datetime.now(UTC).date().isoformat(), "native": native}
    text = re.sub(
        r"/[^\s\"']*/cromwell-executions", "/shared/cromwell-executions", json.dumps(found, indent=1)
    )
    (HERE / "cromwell" / f"{name}.json").write_text(text + "\n", "utf-8")
    print(name)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
