"""Job + settings + facts -> the variables of the templates, and whether the templates honour what is set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pman.errors import Fault
from pman.job import AUID_LABEL, DIGEST_LABEL, JID_LABEL, Job
from pman.settings import DECLARED, Settings
from pman.translation.request import PROPERTIES


def job_variables(job: Job, settings: Settings) -> dict[str, Any]:
    """`job` in every template: the request, and what the site sets for every job."""
    limited = not settings["IGNORE_LIMITS"]
    uid, _, gid = (settings["CONTAINER_USER"] or "").partition(":")
    return {
        "jid": job.jid,
        "image": job.image,
        "entrypoint": list(job.entrypoint),
        "args": list(job.args),
        "argv": [*job.entrypoint, *job.args],
        "env": (env := _env(job.env, home=settings["ENABLE_HOME_WORKAROUND"])),
        "env_names": [item.partition("=")[0] for item in env],
        "cpu_limit": job.cpu_limit if limited else 0,
        "memory_limit": job.memory_limit if limited else 0,
        "gpu_limit": job.gpu_limit,
        "number_of_workers": job.number_of_workers,
        "input_dir": job.input_dir,
        "output_dir": job.output_dir,
        "directories": {"input_dir": job.input_dir, "output_dir": job.output_dir},
        "uid": _picked(uid, f"uid {job.jid}"),
        "gid": _picked(gid, f"gid {job.jid}"),
        "labels": {
            **settings["JOB_LABELS"],
            AUID_LABEL: job.auid,
            DIGEST_LABEL: job.digest,
            JID_LABEL: job.jid,
        },
    }


def site_variables(settings: Settings, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`site` in every template: the settings in lower case, and what the engine told at start."""
    values = {name.lower(): value for name, value in settings.values.items()}
    others = ("native", "seen", "documents", "warnings")
    facts = {name: fact for name, fact in facts.items() if name not in others}
    storebase = facts["storebase"].rstrip("/")  # templates write a slash after it
    return {**values, **facts, "storebase": storebase}


def _env(env: Sequence[str], *, home: bool) -> list[str]:
    if not home:
        return list(env)
    return [*(item for item in env if not item.startswith("HOME=")), "HOME=/tmp"]


def _picked(text: str, seed: str) -> int | None:
    """Picks a number of a range by the job's name, so that a retry renders the same; None for no range."""
    if not text:
        return None
    low, _, high = text.partition("-")
    size = int(high or low) - int(low) + 1
    return int(low) + int.from_bytes(hashlib.sha256(seed.encode()).digest()) % size


def unread_fields(job: Mapping[str, Any], read: frozenset[str]) -> list[Fault]:
    """The fields of a request that are set and that the templates did not use."""
    return [
        Fault(f"$.{name}", f"{_value(job, name)}the templates of this engine do not honour it")
        for name, declared in PROPERTIES.items()
        if job.get(name, True) not in (declared.get("x-unset"), [], None)
        and read.isdisjoint(declared["x-reaches"])
    ]


def _value(job: Mapping[str, Any], name: str) -> str:
    return f"{job[name]}: " if isinstance(job.get(name), int) else ""


def honours(engine: str, declared: Mapping[str, Any], read: frozenset[str]) -> bool:
    """Says whether a field or setting reaches the jobs of an engine whose templates read these variables."""
    if any(variable.startswith(("job.", "site.")) for variable in declared["x-reaches"]):
        return not read.isdisjoint(declared["x-reaches"])
    return "*" in declared["x-engines"] or engine in declared["x-engines"]


def unread_settings(settings: Settings, read: frozenset[str]) -> list[Fault]:
    """The settings that ask for something that this engine does not do."""
    return [
        Fault(
            name,
            f"{name}={settings.shown(name)!r}: CONTAINER_ENV={settings.engine} does not honour it; unset it",
        )
        for name, declared in DECLARED.items()
        if settings.is_set(name)
        and not declared.get("x-address")
        and not honours(settings.engine, declared, read)
    ]
