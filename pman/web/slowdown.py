"""Answers wrong tokens ever more slowly, by the address that they come from.

The right token is never slowed, not even that of a slowed address: behind a proxy or a NAT that is the
address of many, and one of them must not lock out pfcon. A token that pman takes cannot be guessed in any
time (settings.py refuses those that can), so this is for the machine and its log.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter

from cachetools import TTLCache

from pman.errors import TooManyWrong

ALLOWED = 5
"""Wrong tokens of an address that are answered at once: somebody has mistyped."""

LONGEST_SECONDS = 8.0
MEMORY_SECONDS = 600.0
"""Seconds after the last wrong token of an address, after which it begins anew."""

MOST_ADDRESSES = 4096
MOST_WAITING, MOST_WAITING_OF_ONE = 64, 4
"""Answers that wait at a time, of all addresses and of one; one more is refused at once."""


class SlowDown:
    def __init__(self, first: float = 0.25) -> None:
        """`first`: seconds by which the first answer is late that is; each one after it, twice as much."""
        self._first = first
        self._wrong: TTLCache[str, int] = TTLCache(MOST_ADDRESSES, MEMORY_SECONDS)
        self._waiting: Counter[str] = Counter()

    async def wrong(self, address: str) -> None:
        """Return when a wrong token of this address may be answered. Raises TooManyWrong."""
        place = _place(address)
        count = self._wrong[place] = self._wrong.get(place, 0) + 1
        if count <= ALLOWED:
            return
        if self._waiting[place] >= MOST_WAITING_OF_ONE:
            raise TooManyWrong("too many wrong tokens come from this address; wait a minute")
        if self._waiting.total() >= MOST_WAITING:
            raise TooManyWrong("too many wrong tokens come from all addresses together; wait a minute")
        self._waiting[place] += 1
        try:
            await asyncio.sleep(min(LONGEST_SECONDS, self._first * 2 ** min(count - ALLOWED - 1, 16)))
        finally:
            self._waiting[place] -= 1
            self._waiting += Counter()  # without those that are 0


def _place(address: str) -> str:
    """An address of IPv4, or the network of one of IPv6, of which a machine has as many as it likes."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip.packed[:8] + bytes(8), 64)))
    return str(ip)
