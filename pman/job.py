"""A job as validated, and what is known of it later. No engine in sight."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

JobStatus = Literal["notstarted", "started", "finishedSuccessfully", "finishedWithError", "undefined"]
"""The words that the platform knows. It cancels a job at once that is `undefined`."""

LABEL_PREFIX = "org.chrisproject.pman."
"""Labels and annotations that begin so are pman's own; schema/settings.json keeps them from JOB_LABELS."""

JID_LABEL = f"{LABEL_PREFIX}jid"
DIGEST_LABEL = f"{LABEL_PREFIX}digest"
AUID_LABEL = f"{LABEL_PREFIX}auid"
REASON_LABEL = f"{LABEL_PREFIX}reason"
"""Says why pman ended the job, or why the engine could not take it."""

INCOMING_LABEL, OUTGOING_LABEL = f"{LABEL_PREFIX}incoming", f"{LABEL_PREFIX}outgoing"
"""Tell a job's directories by their paths on the engine's host, on engines whose lists of jobs do not."""

INCOMING = "/share/incoming"
OUTGOING = "/share/outgoing"

_IN_ARGS = ("type", "args_path_flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one plugin, as validated. Nothing in it belongs to an engine."""

    jid: str
    image: str
    entrypoint: tuple[str, ...]
    args: tuple[str, ...]
    """The words after the entrypoint, the directories included: the command is entrypoint + args."""

    env: tuple[str, ...]
    """NAME=value. Carries a user's API token: never logged, masked where shown."""

    auid: str
    number_of_workers: int
    cpu_limit: int
    """Millicores, a hard limit; 0: none."""

    memory_limit: int
    """MiB, 2**20 bytes, a hard limit: a job above it is killed; 0: none."""

    gpu_limit: int
    input_dir: str
    """Relative to the storebase, normalised; mounted read-only at /share/incoming."""

    output_dir: str
    type: Literal["ds", "fs", "ts"] = "ds"
    args_path_flags: tuple[str, ...] = ()
    """The last two have had their effect on args; a site's policy may ask for them."""

    @property
    def digest(self) -> str:
        """Tell an identical repeat of a request from another of the same name: SHA-256, hexadecimal."""
        fields = {name: value for name, value in asdict(self).items() if name not in _IN_ARGS}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """The answer for a job, but for its logs."""

    jid: str
    image: str = ""
    cmd: str = ""
    """One shell line."""

    status: JobStatus
    message: str
    hint: str
    timestamp: str = ""
    """ISO 8601; '' when none."""

    exit_code: int | None = None
    """The exit code of an ended job, 128 + number for a signal; None where there is none."""

    digest: str = ""
    """The digest of the request that made the job; see Job.digest."""

    overdue: bool = False
    """It runs or waits, and should not any longer."""

    @property
    def ended(self) -> bool:
        return self.status in {"finishedSuccessfully", "finishedWithError"}

    def answer(self, logs: str) -> Mapping[str, str | int | None]:
        """The fields of a job in every answer of API v1; exit_code and hint are new with pman 7."""
        return {
            "jid": self.jid,
            "image": self.image,
            "cmd": self.cmd,
            "status": self.status,
            "message": self.message,
            "timestamp": self.timestamp,
            "logs": logs,
            "exit_code": self.exit_code,
            "hint": self.hint,
        }

    def json(self, logs: str) -> bytes:
        """The body of such an answer."""
        return json.dumps(self.answer(logs)).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """The rest of what API v2 answers, as far as the engine holds it."""

    info: JobInfo
    created: datetime | None = None
    started: datetime | None = None
    """The moment its first process began; None before, and where the engine does not tell."""

    finished: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    """The names alone."""

    request: Mapping[str, Any]
    """Fields of schema/request.json; one that the engine does not hold is None."""

    def answer(self, now: datetime) -> dict[str, Any]:
        """The fields of a job in every answer of API v2; schema/api.json describes them (Job)."""
        answer = dict(self.info.answer(""))
        del answer["logs"]
        end = self.finished or (now if self.info.status == "started" else None)
        return {
            **answer,
            "created": _written(self.created),
            "started": _written(self.started),
            "finished": _written(self.finished),
            "age": _seconds(self.created, now),
            "duration": _seconds(self.started, end),
            "limits": {
                "cpu": self.request["cpu_limit"],
                "memory": self.request["memory_limit"],
                "gpu": self.request["gpu_limit"],
                "workers": self.request["number_of_workers"],
            },
            "labels": dict(self.labels),
            "env": list(self.env),
            "request": dict(self.request),
        }


def utc(moment: datetime) -> str:
    """ISO 8601 to the millisecond, with Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _written(moment: datetime | None) -> str | None:
    return utc(moment) if moment else None


def _seconds(earlier: datetime | None, later: datetime | None) -> float | None:
    """Never below 0: the clocks of an engine and of pman may differ."""
    return max(0.0, round((later - earlier).total_seconds(), 3)) if earlier and later else None


@dataclass(frozen=True, slots=True)
class Document:
    """One rendered document, as it is sent."""

    name: str
    """The name of the template without `.j2`, e.g. `container.yaml`."""

    text: str
    content: object
    """The parsed document; None where the language is no data, such as a shell script."""

    def answer(self) -> Mapping[str, object]:
        """The fields of a document in every answer of the API."""
        return {"name": self.name, "text": self.text, "content": self.content}
