"""Tells the addresses of this machine, and the names of the site, from all others."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set

from pman.settings import engine_schema, properties

LOGIN = (
    "AUTH_TOKEN=$(openssl rand -hex 32)",
    "COMPUTE_SERVICE_URL=http://pman:$AUTH_TOKEN@pman:5010/api/v1/",
)
"""The two lines that give a pman its login: its own setting, and pfcon's."""


def is_loopback(host: str) -> bool:
    """Says whether an address or a name is this machine's own, in brackets or not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_among(hosts: Set[str], header: str) -> bool:
    """Says whether a Host header (RFC 9110, 7.2) is this machine's own, or one of `hosts`, on any port.

    `hosts`: names and addresses in lower case, without brackets.
    """
    match = _HOST.fullmatch(header)
    return bool(match and (is_loopback(match[1]) or match[1].strip("[]").lower() in hosts))


_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::[0-9]*)?")


def loopback_only(engine: str) -> bool:
    """Says whether schema/engines keeps an engine from listening beyond this machine: it isolates nothing."""
    return "loopback" in properties(engine_schema(engine, "server"))
