"""Jobs as processes of this machine, for a first try and for plugin development. Isolates nothing.

executor.py     the protocol: a job is a directory, and a supervisor that outlives pman
supervisor.py   the program that runs one job, watches over its limits and keeps its log and its state
mounts.py       /share/incoming and /share/outgoing for one job, where the machine allows it
directory.py    a job's directory seen from outside: its state, its log, its end
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pman.executors.local.executor import LocalExecutor


def connect(settings: Mapping[str, Any]) -> LocalExecutor:
    """Jobs are kept in LOCAL_STATE, else in XDG_STATE_HOME/pman, else in ~/.local/state/pman."""
    from pman.executors.local.executor import LocalExecutor  # noqa: PLC0415  (every supervisor is spared it)

    return LocalExecutor(settings)
