"""Which fields of a document are in the object that the API server made of it, and which are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def has(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; the API server adds defaults of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(has(found.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(has, found, wanted))
    return bool(found == wanted)


def dropped(sent: Any, found: Any, at: str = "") -> Iterator[str]:
    """The fields that are not in what was made of it, but for those that say nothing."""
    if isinstance(sent, Mapping) and isinstance(found, Mapping):
        for key, value in sent.items():
            where = f"{at}.{key}" if at else str(key)
            if key in found:
                yield from dropped(value, found[key], where)
            elif value:
                yield where
    elif isinstance(sent, list) and isinstance(found, list):
        for index, (one, other) in enumerate(zip(sent, found, strict=False)):
            yield from dropped(one, other, f"{at}[{index}]")
