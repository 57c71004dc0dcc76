"""PATH_MAP: pman sees under another path what the machines see that run the jobs."""

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
