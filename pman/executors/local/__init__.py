"""Jobs as processes of this machine, for a first try and for plugin development. Isolates nothing.

Reached by the entry point `local` alone; of pman it imports executors/shared, jobs and errors.
Begin with executor.py, the protocol;
supervisor.py is a program of its own, which runs one job and outlives pman.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pman.executors.local.executor import LocalExecutor


def connect(settings: Mapping[str, Any]) -> LocalExecutor:
    """Jobs are stored in LOCAL_STATE, else in XDG_STATE_HOME/pman, else in ~/.local/state/pman."""
    from pman.executors.local.executor import LocalExecutor  # noqa: PLC0415  (every supervisor is spared it)

    return LocalExecutor(settings)
