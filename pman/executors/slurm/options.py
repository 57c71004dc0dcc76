"""The options of sbatch for the fields of a submission, so that one document serves both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pman.errors import ConfigError

Option = Callable[[Any], str]

_SAME_NAMES = (
    "account", "comment", "container", "cpus_per_task", "deadline", "dependency", "distribution", "exclusive",
    "gpus", "gpus_per_node", "gpus_per_task", "gres", "gres_flags", "licenses", "mail_type", "mail_user",
    "mcs_label", "nice", "open_mode", "partition", "prefer", "priority", "qos", "reservation", "signal",
    "threads_per_core", "wckey",
)  # fmt: skip
_OTHER_NAMES = {
    "begin_time": "begin", "burst_buffer": "bb", "constraints": "constraint", "name": "job-name",
    "current_working_directory": "chdir", "standard_error": "error", "standard_input": "input",
    "standard_output": "output", "tasks": "ntasks", "tasks_per_node": "ntasks-per-node",
    "time_limit": "time", "time_minimum": "time-min",
}  # fmt: skip
_MEBIBYTES = {"memory_per_cpu": "mem-per-cpu", "memory_per_gpu": "mem-per-gpu", "memory_per_node": "mem"}


def _text(name: str, unit: str = "") -> Option:
    return lambda value: f"--{name}={value}{unit}"


def _flag(yes: str, no: str = "") -> Option:
    return lambda value: f"--{yes}" if value else f"--{no}" if no else ""


def _nodes(value: Any) -> str:
    return f"--nodes={'-'.join(map(str, value)) if isinstance(value, list) else value}"


_OPTIONS: Mapping[str, Option] = {
    **{field: _text(field.replace("_", "-")) for field in _SAME_NAMES},
    **{field: _text(name) for field, name in _OTHER_NAMES.items()},
    **{field: _text(name, "M") for field, name in _MEBIBYTES.items()},
    "hold": _flag("hold"),
    "no_kill": _flag("no-kill"),
    "nodes": _nodes,
    "requeue": _flag("requeue", "no-requeue"),
}
OPTIONS = dict(sorted(_OPTIONS.items()))
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
