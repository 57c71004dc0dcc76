"""Tells what is wrong with a directory of the storebase that a job is to be given, where pman sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

IS_LINK = "{!r} is, or lies behind, a symbolic link"
IS_MISSING = "{!r} is no directory in the storebase"


def is_visible(storebase: str) -> bool:
    return os.path.isdir(storebase)  # noqa: PTH112  (False where pman may not look, unlike Path.is_dir)


def fault(storebase: str, directory: str) -> str:
    """Say what is wrong with it, a relative path; '' where nothing is. Links are none, wherever they lead."""
    root = os.path.realpath(storebase)
    path = os.path.join(root, directory)  # noqa: PTH118  (beside realpath)
    try:
        real = os.path.realpath(path)
    except OSError:  # what was a link, and is none any more when it is read
        return IS_LINK.format(directory)
    if os.path.commonpath([root, real]) != root or real == root:
        return f"{directory!r} leads out of the storebase"
    if real != path:
        return IS_LINK.format(directory)
    return "" if os.path.isdir(real) else IS_MISSING.format(directory)  # noqa: PTH112  (as above)


def ways(directories: Sequence[str]) -> Iterator[str]:
    """Give each directory and those on the way to it, from the top, each once."""
    for directory in directories:
        way = PurePosixPath(directory)
        yield from map(str, [*reversed(way.parents), way][1:])
