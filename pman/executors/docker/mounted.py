"""Tells what a container that runs was given, where pman sees the processes of the engine's host as root.

For engines that mount by path: between the last look at a directory and its mount, somebody may exchange it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Identities = tuple[tuple[int, int], ...]
"""Device and inode of each directory."""


def identities(paths: Sequence[str]) -> Identities:
    """Raises OSError where one is not there."""
    states = [os.stat(path, follow_symlinks=False) for path in paths]  # noqa: PTH116  (as text, as they are sent)
    return tuple((state.st_dev, state.st_ino) for state in states)


def mounted(container: Mapping[str, Any], sources: Sequence[str]) -> Identities | None:
    """The directories that it has for these sources; None where that is not to be seen from here."""
    process = Path(f"/proc/{container['State']['Pid']}")
    targets = {mount["Source"]: mount["Destination"] for mount in container["Mounts"]}
    try:
        if container["Id"] not in (process / "cgroup").read_text():
            return None  # a process of this machine, and the engine is on another one
        return identities([f"{process}/root{targets[source]}" for source in sources])
    except (OSError, KeyError):
        return None
