"""The one shape of SLURM's answers, whatever version of its API they are of.

Written down are the versions 0.0.36 to 0.0.43 (SLURM 20.11 to 25.05), as they are documented; 0.0.38 was run.
Until then `job_state` is one word, a number is a number or null, and `exit_code` the status of wait(2); later
states are a list, numbers {"set", "infinite", "number"}, and an exit code has its parts.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pman.job import JID_LABEL

Entry = Mapping[str, Any]
"""A job in the one shape of SLURM's answers; see templates/slurm/state.yaml."""

ENDED = frozenset(["COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL",
                   "DEADLINE", "OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"])  # fmt: skip
_GOES_ON = frozenset(["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SIGNALING", "RESIZING", "STAGE_OUT",
                      "SUSPENDED", "STOPPED", "UPDATE_DB", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
                      "RESV_DEL_HOLD", "SPECIAL_EXIT", "POWER_UP_NODE", "EXPEDITING"])  # fmt: skip

OBJECTS = 39
"""From this version on the environment is a list, and numbers are objects."""

SCRIPT_INSIDE = 41
"""From this version on the script is a part of the job."""


def has_ended(entry: Entry) -> bool:
    """Tell whether nothing of it runs any more, nor will."""
    states = set(entry["states"])
    return bool(states & ENDED) and not states & _GOES_ON


def is_held(entry: Entry) -> bool:
    """Tell whether it was submitted and not released: it may begin only in some years."""
    return bool(entry["eligible"] > time.time() + 10**8) and not has_ended(entry)


def labels(comment: object) -> Mapping[str, str]:
    """The labels in the comment of a job; empty for one that is not pman's."""
    try:
        content = json.loads(str(comment or ""))
    except ValueError:
        return {}
    return content if isinstance(content, Mapping) and JID_LABEL in content else {}


def is_marked(entry: Entry) -> bool:
    return bool(labels(entry["comment"]).get(JID_LABEL) == entry["name"])


def entry(job: Mapping[str, Any]) -> Entry:
    """Read one of `jobs` in an answer of slurmrestd, or of `squeue --json`."""
    times = {name: job.get(f"{name}_time") for name in ("submit", "eligible", "start", "end")}
    comment, states, reason = job.get("comment"), job.get("job_state"), job.get("state_reason")
    return _entry(job, comment=comment, states=states, reason=reason, times=times)


def entries(answer: Mapping[str, Any]) -> list[Entry]:
    """Read a whole answer, which may have thousands of jobs: some 10 us each."""
    return [entry(job) for job in answer.get("jobs") or ()]


def accounted(job: Mapping[str, Any]) -> Entry:
    """Read one of `jobs` in an answer from slurmdbd."""
    comment, state = (job.get("comment") or {}).get("job"), job.get("state") or {}
    reason, times = state.get("reason"), job.get("time") or {}
    times = {**times, "submit": times.get("submission")}
    return _entry(job, comment=comment, states=state.get("current"), reason=reason, times=times)


def _entry(
    job: Mapping[str, Any], *, comment: object, states: object, reason: object, times: Mapping[str, object]
) -> Entry:
    code, signal = _exit(job.get("exit_code"))
    return {
        "id": int(job["job_id"]),
        "name": str(job.get("name") or ""),
        "comment": str((comment.get("string") if isinstance(comment, Mapping) else comment) or ""),
        "states": _states(states),
        "reason": str(reason or ""),
        "exit_code": code,
        "signal": signal,
        "submitted": _number(times.get("submit")) or 0,
        "eligible": _number(times.get("eligible")) or 0,
        "start": _moment(times.get("start")),
        "end": _moment(times.get("end")),
        "nodes": str(job.get("nodes") or ""),
        "restarts": _number(job.get("restart_cnt")) or 0,
    }


def body(job: Mapping[str, Any], script: str, version: int) -> dict[str, Any]:
    """The body of a submission, as a version has it; `job` is in the words and forms of 0.0.38."""
    if version < OBJECTS:
        return {"script": script, "job": job}
    newer = changes({name: value for name, value in job.items() if name != "gres"}, version)
    if "gres" in job:
        newer["tres_per_node"] = f"gres/{job['gres']}"
    if "gpus_per_task" in job:
        newer["tres_per_task"] = f"gres/gpu:{newer.pop('gpus_per_task')}"
    return (
        {"job": {**newer, "script": script}} if version >= SCRIPT_INSIDE else {"script": script, "job": newer}
    )


def changes(job: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Some fields of a job, as a version has them."""
    return {name: _newer(name, value) for name, value in job.items()} if version >= OBJECTS else dict(job)


_NUMBERS = frozenset(["time_limit", "memory_per_node", "memory_per_cpu", "time_minimum", "priority"])


def _newer(name: str, value: object) -> object:
    if name == "environment" and isinstance(value, Mapping):
        return [f"{key}={text}" for key, text in value.items()]
    if name == "open_mode":
        return [str(value).upper()]
    if name in _NUMBERS:
        return _newer_number(value)
    if name == "begin_time" and (later := re.fullmatch(r"now(?:\+([0-9]+)days)?", str(value))):
        return _newer_number(int(time.time()) + 86400 * int(later[1] or 0))
    if name == "nodes" and isinstance(value, list):
        return "-".join(map(str, value))
    return value


def _newer_number(value: object) -> Mapping[str, object]:
    return {"set": True, "infinite": False, "number": value}


def words(answer: object) -> str:
    """The errors of an answer, in one line."""
    errors = answer.get("errors") if isinstance(answer, Mapping) else None
    texts = [str(error.get("description") or error.get("error") or error) for error in errors or () if error]
    whys = [str(error["error"]) for error in errors or () if error.get("error")]
    return "; ".join(
        dict.fromkeys([*texts, *(why for why in whys if not any(why in text for text in texts))])
    )


def error_numbers(answer: Mapping[str, Any]) -> set[int]:
    return {
        int(error.get("error_number", error.get("error_code", 0)) or 0)
        for error in answer.get("errors") or ()
    }


def _states(value: object) -> list[str]:
    given = value if isinstance(value, list) else str(value or "").split(",")
    return [str(state).split()[0].upper() for state in given if str(state).strip()]  # "CANCELLED by 1000"


def _number(value: object) -> int | None:
    if isinstance(value, Mapping):
        return int(value["number"]) if value.get("set") and not value.get("infinite") else None
    return int(value) if isinstance(value, int | float) else None


def _moment(value: object) -> str:
    seconds = _number(value)
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else ""


def _exit(value: object) -> tuple[int | None, int]:
    """Exit code and signal."""
    if isinstance(value, Mapping) and ("return_code" in value or "signal" in value):
        signal = value.get("signal") or {}
        number = _number(signal.get("id", signal.get("signal_id")))
        return _number(value.get("return_code")), number or 0
    status = _number(value)
    return (None, 0) if status is None else (status >> 8 & 255, status & 127)
