"""Jobs, requests and settings for tests: what a test is not about is filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pman import settings
from pman.job import Job, JobDetails, JobInfo
from pman.settings import Settings
from pman.translation.render import Rendering, Templates, loader
from pman.translation.rules import Rules
from pman.translation.translation import Translation

ENGINES = ["cromwell", "docker", "kubernetes", "local", "podman", "slurm", "swarm"]

REQUEST: Mapping[str, Any] = {
    "jid": "chris-jid-42",
    "image": "docker.io/fnndsc/pl-simpledsapp:2.1.0",
    "entrypoint": ["simpledsapp"],
    "args": ["--prefix", "le"],
    "args_path_flags": [],
    "auid": "rudolph",
    "number_of_workers": 1,
    "cpu_limit": 1000,
    "memory_limit": 200,
    "gpu_limit": 0,
    "type": "ds",
    "env": [],
    "input_dir": "key-chris-jid-42/incoming",
    "output_dir": "key-chris-jid-42/outgoing",
}


def a_request(**changes: Any) -> dict[str, Any]:
    return {**REQUEST, **changes}


def a_body(**changes: Any) -> bytes:
    return json.dumps(a_request(**changes)).encode()


def a_job(**changes: Any) -> Job:
    given: dict[str, Any] = {
        "jid": "chris-jid-42",
        "image": "docker.io/fnndsc/pl-simpledsapp:2.1.0",
        "entrypoint": ("simpledsapp",),
        "args": ("--prefix", "le", "/share/incoming", "/share/outgoing"),
        "env": (),
        "auid": "rudolph",
        "number_of_workers": 1,
        "cpu_limit": 1000,
        "memory_limit": 200,
        "gpu_limit": 0,
        "input_dir": "key-chris-jid-42/incoming",
        "output_dir": "key-chris-jid-42/outgoing",
    }
    return Job(**{**given, **changes})


def a_job_info(**changes: Any) -> JobInfo:
    given: dict[str, Any] = {
        "jid": "chris-jid-42",
        "image": "docker.io/fnndsc/pl-simpledsapp:2.1.0",
        "cmd": "simpledsapp --prefix le /share/incoming /share/outgoing",
        "status": "started",
        "message": "running",
        "hint": "",
        "timestamp": "2026-11-25T10:00:00Z",
        "exit_code": None,
        "digest": "",
    }
    return JobInfo(**{**given, **changes})


def a_job_details(**changes: Any) -> JobDetails:
    """`changes`: of the details, or of the info in them."""
    own = {name: changes.pop(name) for name in list(changes) if name in JobDetails.__dataclass_fields__}
    given: dict[str, Any] = {
        "info": a_job_info(**changes),
        "created": datetime(2026, 11, 25, 10, 0, tzinfo=UTC),
        "started": None,
        "finished": None,
        "labels": {},
        "env": (),
        "request": dict.fromkeys(("cpu_limit", "memory_limit", "gpu_limit", "number_of_workers")),
    }
    return JobDetails(**{**given, **own})


def settings_of(engine: str = "docker", **environ: str) -> Settings:
    """On a storebase of the host, unless told otherwise."""
    return settings.load(
        {"CONTAINER_ENV": engine, "STORAGE_TYPE": "host", "STOREBASE": "/srv/storebase", **environ}, ENGINES
    )


@cache
def a_translation(engine: str = "docker", **environ: str) -> Translation:
    """Compiled once for the same settings, which takes some time."""
    return Translation(settings_of(engine, **environ))


@cache
def shipped_rules(engine: str) -> Rules:
    """Compiled when a test needs them: each worker of a run reads every module, and runs few."""
    return Rules(engine, loader())


FACTS: Mapping[str, Any] = {"storebase": "/srv/storebase"}


def content(translation: Translation, job: Job) -> Any:
    """The one document of a job, as the engine reads it."""
    (document,) = translation.render(job, FACTS)
    return document.content


def site_templates(directory: Path, files: Mapping[str, str]) -> Path:
    """A site's directory of templates."""
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return directory


def rendering(directory: Path, files: Mapping[str, str], **job: object) -> Rendering:
    """What the templates of an engine `site`, and nothing else, make of the variables of a job."""
    return Templates("site", loader(site_templates(directory, files), shipped=())).render(job, {})
