"""Tables of a bounded size, in entries or in bytes, so that no number of jobs fills the memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(LRUCache[K, V]):
    """A dictionary that drops what was read or written longest ago once it is larger than `maxsize`.

    `getsizeof` tells the size of a value; without it each counts as 1. `in` is no read. A value that is
    larger than the whole table is not taken, which no caller has to look out for. It is for one thread: a
    table that several use needs a lock, for reads too.
    """

    def __setitem__(self, key: K, value: V) -> None:
        if self.getsizeof(value) > self.maxsize:
            self.pop(key, None)
        else:
            super().__setitem__(key, value)
