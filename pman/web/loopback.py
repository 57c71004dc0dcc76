"""Tells the addresses of this machine from all others."""

from __future__ import annotations

import ipaddress
import re


def is_loopback(host: str) -> bool:
    """Says whether an address or a name is this machine's own, in brackets or not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_of_loopback(header: str) -> bool:
    """Says it of a Host header (RFC 9110, 7.2): a name or an address, with a port or without."""
    match = _HOST.fullmatch(header)
    return bool(match and is_loopback(match[1]))


_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::[0-9]*)?")
