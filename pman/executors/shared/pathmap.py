"""Where pman sees what the machines that run the jobs see under another path: PATH_MAP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath


def seen(path: str, prefixes: Mapping[str, str]) -> Path:
    """The same file for pman, by the longest prefix that holds; the path itself where none does."""
    whole = PurePosixPath(path)
    for theirs in sorted(prefixes, key=len, reverse=True):
        if whole.is_relative_to(theirs):
            return Path(prefixes[theirs], whole.relative_to(theirs))
    return Path(path)
