"""The options of sbatch for the fields of a submission, so that one document serves both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pman.errors import ConfigError

Option = Callable[[Any], str]


def _text(name: str, unit: str = "") -> Option:
    return lambda value: f"--{name}={value}{unit}"


def _flag(yes: str, no: str = "") -> Option:
    return lambda value: f"--{yes}" if value else f"--{no}" if no else ""


def _nodes(value: Any) -> str:
    return f"--nodes={'-'.join(map(str, value)) if isinstance(value, list) else value}"


OPTIONS: Mapping[str, Option] = {
    "account": _text("account"),
    "begin_time": _text("begin"),
    "burst_buffer": _text("bb"),
    "comment": _text("comment"),
    "constraints": _text("constraint"),
    "container": _text("container"),
    "cpus_per_task": _text("cpus-per-task"),
    "current_working_directory": _text("chdir"),
    "deadline": _text("deadline"),
    "dependency": _text("dependency"),
    "distribution": _text("distribution"),
    "exclusive": _text("exclusive"),
    "gpus": _text("gpus"),
    "gpus_per_node": _text("gpus-per-node"),
    "gpus_per_task": _text("gpus-per-task"),
    "gres": _text("gres"),
    "gres_flags": _text("gres-flags"),
    "hold": _flag("hold"),
    "licenses": _text("licenses"),
    "mail_type": _text("mail-type"),
    "mail_user": _text("mail-user"),
    "mcs_label": _text("mcs-label"),
    "memory_per_cpu": _text("mem-per-cpu", "M"),
    "memory_per_gpu": _text("mem-per-gpu", "M"),
    "memory_per_node": _text("mem", "M"),
    "name": _text("job-name"),
    "nice": _text("nice"),
    "no_kill": _flag("no-kill"),
    "nodes": _nodes,
    "open_mode": _text("open-mode"),
    "partition": _text("partition"),
    "prefer": _text("prefer"),
    "priority": _text("priority"),
    "qos": _text("qos"),
    "requeue": _flag("requeue", "no-requeue"),
    "reservation": _text("reservation"),
    "signal": _text("signal"),
    "standard_error": _text("error"),
    "standard_input": _text("input"),
    "standard_output": _text("output"),
    "tasks": _text("ntasks"),
    "tasks_per_node": _text("ntasks-per-node"),
    "threads_per_core": _text("threads-per-core"),
    "time_limit": _text("time"),
    "time_minimum": _text("time-min"),
    "wckey": _text("wckey"),
}
"""The options, by the field of slurmrestd 0.0.38. The environment is that of sbatch itself; see cli.py."""

_ENVIRONMENT = "environment"
FIELDS = (*OPTIONS, _ENVIRONMENT)


def options(job: Mapping[str, Any]) -> list[str]:
    """Each one word, in which nothing of a value can become another option.

    Raises ConfigError, naming the fields that sbatch has no option for.
    """
    check(job)
    words = [OPTIONS[name](value) for name, value in job.items() if name != _ENVIRONMENT]
    names = ",".join(job.get(_ENVIRONMENT) or ()) or "NIL"  # nothing else of pman's environment
    return [*filter(None, words), f"--export={names}"]


def check(job: Mapping[str, Any]) -> None:
    """Raises ConfigError, naming the fields that sbatch has no option for."""
    if unknown := sorted(set(job) - set(FIELDS)):
        raise ConfigError(
            "templates/slurm/job.json.j2: with SLURM_MODE=cli, sbatch has no option for "
            f"{', '.join(unknown)}; use {', '.join(OPTIONS)}"
        )
