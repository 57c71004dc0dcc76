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
        given = tuple(_identity(process / "root", targets[source]) for source in sources)
        (process / "root").stat()  # raises once the process has ended, and its mounts are gone
    except (OSError, KeyError):
        return None
    return given


def _identity(root: Path, target: str) -> tuple[int, int]:
    """Device and inode; zeros behind a link: it may be the image's, and from here leads to the host."""
    directory = os.open(root, os.O_PATH)
    try:
        for name in target.strip("/").split("/"):
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        state = os.fstat(directory)
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    finally:
        os.close(directory)
    return state.st_dev, state.st_ino
