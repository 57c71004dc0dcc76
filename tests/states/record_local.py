"""Brings processes of this machine into each state of the local engine, and writes what the executor says.

    python -m tests.states.record_local

What cannot be brought about at will is derived, and says from what.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pman import __version__, executors
from pman.executors import Executor
from pman.job import Document
from pman.translation.translation import Translation
from tests.a_job import a_job, settings_of
from tests.states.record import write

Native = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A job, and what happens to it."""

    argv: tuple[str, ...]
    ended: bool = True
    changes: Mapping[str, Any] | None = None
    """Of the document."""

    signal: signal.Signals | None = None
    """Sent to the supervisor once the job runs."""

    asked: str = ""
    """Why pman ends it then."""


SLEEPS = ("sleep", "1000")
CASES: Mapping[str, Case] = {
    "running": Case(SLEEPS, ended=False),
    "exited-0": Case(("true",)),
    "exited-3": Case(("sh", "-c", "exit 3")),
    "exited-126": Case(("/etc/passwd",)),
    "exited-127": Case(("no-such-program",)),
    "exited-137": Case(("sh", "-c", "kill -KILL $$")),
    "failed": Case(("true",), changes={"mounts": [{"source": "/no/such/directory", "target": "/share"}]}),
    "lost": Case(SLEEPS, signal=signal.SIGKILL),
    "stopped": Case(SLEEPS, signal=signal.SIGTERM),
    "out-of-memory": Case(("dd", "if=/dev/zero", "of=/dev/null", "bs=900M", "count=100")),
    "time-limit": Case(SLEEPS, changes={"time_limit": 1}),
    "ended-by-pman": Case(SLEEPS, asked="ended at its time limit of 1 minutes"),
}

DERIVED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "created": ("running", {"status": "created", "started_at": ""}),
    "starting": ("running", {"status": "starting"}),
    "unheard-of": ("running", {"status": "hibernating"}),
}
"""From which state, and what differs in its `state`."""


async def main() -> None:
    with tempfile.TemporaryDirectory() as base:
        for directory in ("incoming", "outgoing"):
            (Path(base) / directory).mkdir()
        state = Path(base) / "state"
        translation = Translation(settings_of("local", STOREBASE=base, LOCAL_STATE=str(state)))
        executor = executors.connect("local", translation.settings.values)
        facts = await executor.facts()
        found = {
            name: await _brought_into(name, case, translation, executor, facts, state)
            for name, case in CASES.items()
        }
        await executors.close(executor)
    version = f"pman {__version__} on {platform.system()}"
    for name, native in found.items():
        write("local", name, {"recorded_from": version}, native)
    for name, (source, changes) in DERIVED.items():
        derived = deepcopy(dict(found[source]))
        derived["state"] = {**derived["state"], **changes}
        about = {"recorded_from": version, "derived_from": source, "changed": changes}
        write("local", name, about, derived)


async def _brought_into(
    name: str, case: Case, translation: Translation, executor: Executor, facts: Native, state: Path
) -> Native:
    jid = f"pman-state-{name}"
    job = a_job(
        jid=jid,
        entrypoint=case.argv[:1],
        args=case.argv[1:],
        memory_limit=200,
        input_dir="incoming",
        output_dir="outgoing",
    )
    documents = [
        Document(document.name, document.text, {**document.content, **(case.changes or {})})
        if isinstance(document.content, dict)
        else document
        for document in translation.render(job, facts)
    ]
    await executor.apply(jid, documents)
    if case.signal or case.asked or not case.ended:
        await _until(lambda: executor.inspect(jid), "running")
    if case.signal:
        os.kill(int((state / "jobs" / jid / "lock").read_text()), case.signal)
    if case.asked:
        await executor.end(jid, case.asked)
    native = (
        await _until(lambda: executor.inspect(jid), "exited", "failed", "lost")
        if case.ended
        else (await executor.inspect(jid))
    )
    print(f"{name}: {native['state']}")
    await executor.remove(jid)
    return native


async def _until(ask: Callable[[], Awaitable[Native]], *statuses: str) -> Native:
    while (native := await ask())["state"]["status"] not in statuses:  # noqa: ASYNC110  (of files)
        await asyncio.sleep(0.05)
    return native


if __name__ == "__main__":
    asyncio.run(main())
