"""Compare a document with the object that the API server made of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger(__name__)


class IgnoredFields:
    """Warns once of each field that the API server ignores: of a later version, or of a disabled feature."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def report(self, sent: Any, created: Any) -> None:
        if new := set(dropped(sent, created)) - self._reported:
            log.warning("this API server does not know, and ignores, of the Job: %s", ", ".join(sorted(new)))
            self._reported |= new


def has(existing: Any, wanted: Any) -> bool:
    """Tell whether the object has all wanted fields; the API server adds defaults of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(existing, Mapping) and all(has(existing.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(existing, list) and len(existing) == len(wanted) and all(map(has, existing, wanted))
    return bool(existing == wanted)


def dropped(sent: Any, created: Any, at: str = "") -> Iterator[str]:
    """The paths of the fields that were sent and are not in the object, but for empty ones."""
    if isinstance(sent, Mapping) and isinstance(created, Mapping):
        for key, value in sent.items():
            where = f"{at}.{key}" if at else str(key)
            if key in created:
                yield from dropped(value, created[key], where)
            elif value:
                yield where
    elif isinstance(sent, list) and isinstance(created, list):
        for index, (one, other) in enumerate(zip(sent, created, strict=False)):
            yield from dropped(one, other, f"{at}[{index}]")
