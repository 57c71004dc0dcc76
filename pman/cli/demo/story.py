"""`pman demo`: request -> document -> status -> log -> files, on a real engine, through the HTTP API."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from pman.cli.client import Answer, Client, has_ended
from pman.cli.demo import engines as demo_engines
from pman.cli.demo import input as demo_input
from pman.cli.demo.engines import Stage, Unsuitable
from pman.cli.demo.screen import Screen
from pman.cli.demo.server import serving
from pman.cli.group import command
from pman.cli.run import INTERRUPTED
from pman.errors import PmanError

JOB_TIMEOUT_SECONDS = 120.0
LOOK_INTERVAL_SECONDS = 0.05
"""Seconds between two looks at the job; a platform looks each 5 s."""


@command("pman demo", "pman demo --engine local --keep")
@click.option("--engine", help="This engine and no other; default: the first that answers and can.")
@click.option("--image", help="Another build of pl-simpledsapp; its program: `simpledsapp`.")
@click.option("--keep", is_flag=True, help="Leave the job's files where they are, and say where.")
def demo(engine: str | None, image: str | None, keep: bool) -> None:
    """Watch a real job, from its request to its files.

    Takes Docker, else Podman, else this machine's own processes, starts a server of its own on a
    free port, and leaves nothing behind.
    """
    screen = Screen()
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        for name in demo_engines.names(engine):
            try:
                stage = demo_engines.stage(name, os.environ, image, partial(screen.pulling, name))
                _play(stage, screen, image, keep=keep)
            except (Unsuitable, PmanError) as reason:
                screen.unsuitable(name, reason)
            else:
                return
    except KeyboardInterrupt:
        screen.interrupted()
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)
    screen.failed()
    sys.exit(1)


def _terminated(*_: object) -> NoReturn:
    """So that the server and the files go, too."""
    sys.exit(128 + signal.SIGTERM)


def _play(stage: Stage, screen: Screen, image: str | None, *, keep: bool) -> None:
    """One job from its input to its deletion. Raises Unsuitable for what another engine may do better."""
    jid = f"demo-{secrets.token_hex(3)}"
    began = time.monotonic()
    with _directory(keep=keep) as directory:
        incoming, outgoing = _filled(directory / "storebase", jid)
        environ = {
            **stage.environ,
            "CONTAINER_ENV": stage.engine,
            "STORAGE_TYPE": "host",
            "STOREBASE": str(directory / "storebase"),
            "LOCAL_STATE": str(directory / "local"),
        }
        with serving(environ, directory) as client:
            request = _request(stage, jid)
            documents = client.dry_run(json.dumps(request).encode())
            screen.engine(client.about()["engine"]["version"], _note(stage, image))
            screen.request(request, client.url)
            screen.documents(documents)
            with _submitted(client, request) as job:
                screen.begin()
                ended = _watched(client, job, screen)
                screen.log("".join(client.logs(jid)))
            _expect_files(ended, outgoing)
            screen.files(incoming, outgoing)
        screen.done(time.monotonic() - began, directory if keep else None)


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    # What engines in a virtual machine see of a Mac is its home directory.
    parent = Path.home() if sys.platform == "darwin" else None
    directory = Path(tempfile.mkdtemp(prefix="pman-demo-", dir=parent)).resolve()
    try:
        yield directory
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _filled(storebase: Path, jid: str) -> tuple[Path, Path]:
    """The two directories of a job, as pfcon makes them, the input in its own."""
    incoming, outgoing = storebase / f"key-{jid}/incoming", storebase / f"key-{jid}/outgoing"
    incoming.mkdir(parents=True)
    outgoing.mkdir()
    # An engine may map users to others, for which the directories above, ours alone, are no obstacle.
    incoming.chmod(0o755)
    outgoing.chmod(0o777)
    demo_input.write(incoming)
    return incoming, outgoing


def _request(stage: Stage, jid: str) -> dict[str, Any]:
    return {
        "jid": jid,
        **stage.plugin,
        "type": "ds",
        "env": ["CHRIS_USER_TOKEN=rudolphs-secret"],
        "auid": "rudolph",
        "number_of_workers": 1,
        "cpu_limit": 1000,
        "memory_limit": 300,
        "gpu_limit": 0,
        "input_dir": f"key-{jid}/incoming",
        "output_dir": f"key-{jid}/outgoing",
    }


def _note(stage: Stage, image: str | None) -> str:
    if image and stage.engine == demo_engines.OWN_ENGINE:
        return f"; it uses no images, so not {image}"
    return "; it cannot limit jobs, so IGNORE_LIMITS=yes" if "IGNORE_LIMITS" in stage.environ else ""


@contextmanager
def _submitted(client: Client, request: Mapping[str, Any]) -> Iterator[Answer]:
    """The job, which is gone afterwards, whatever happens."""
    try:
        yield client.submit(json.dumps(request).encode())
    except BaseException:
        with suppress(PmanError):  # what happened first is what is told
            client.remove(request["jid"])
        raise
    client.remove(request["jid"])


def _watched(client: Client, job: Answer, screen: Screen) -> Answer:
    """The job as it ended; each new status is shown."""
    deadline = time.monotonic() + JOB_TIMEOUT_SECONDS
    shown = None
    while True:
        if (news := (job["status"], job["message"])) != shown:
            screen.status(job)
            shown = news
        if has_ended(job):
            return job
        if time.monotonic() > deadline:
            raise Unsuitable(f"the job is still {job['status']} after {JOB_TIMEOUT_SECONDS:.0f} s")
        time.sleep(LOOK_INTERVAL_SECONDS)
        job = client.status(job["jid"])


def _expect_files(job: Answer, outgoing: Path) -> None:
    if job["status"] != "finishedSuccessfully":
        raise Unsuitable(f"its job ended as {job['status']}: {job['message']}")
    if not any(outgoing.iterdir()):
        raise Unsuitable(f"its job wrote nothing that is seen here; does it see {outgoing.parent}?")
