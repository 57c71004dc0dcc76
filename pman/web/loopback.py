"""Tells the addresses of this machine, and the names of the site, from all others."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence, Set

from pman.settings import Settings, engine_schema, properties

LOGIN = (
    "AUTH_TOKEN=$(openssl rand -hex 32)",
    "COMPUTE_SERVICE_URL=http://pman:$AUTH_TOKEN@pman:5010/api/v1/",
)
"""The two lines that give a pman its login: its own setting, and pfcon's."""


def left_open(settings: Settings) -> tuple[str, Sequence[str]] | None:
    """Say what whoever reaches pman may do, and the lines that mend it; None where all ask who it is."""
    if (settings["AUTH_TOKEN"] and settings["AUTH_V1"]) or settings["TLS_CLIENT_CA"]:
        return None
    if settings["AUTH_TOKEN"]:
        message = "AUTH_V1=no: whoever reaches pman can run, read and delete jobs by API v1"
        return message, ("take it away once pfcon's COMPUTE_SERVICE_URL has the token",)
    return "whoever reaches pman can run, read and delete jobs", (
        "mend it by a login, here and of pfcon:",
        *LOGIN,
    )


def is_loopback(host: str) -> bool:
    """Says whether an address or a name is this machine's own, in brackets or not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_among(hosts: Set[str], header: str) -> bool:
    """Says whether a Host header (RFC 9110, 7.2) is this machine's own, or one of `hosts`, on any port.

    `hosts`: names and addresses, each as `plain` gives it.
    """
    match = _HOST.fullmatch(header)
    return bool(match and (is_loopback(match[1]) or plain(match[1]) in hosts))


def plain(host: str) -> str:
    """A name or an address in one spelling: of `[2001:DB8:0::1]` 2001:db8::1, of `A.example.` a.example."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.lower().removesuffix(".")


_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::[0-9]*)?")


def loopback_only(engine: str) -> bool:
    """Says whether schema/engines keeps an engine from listening beyond this machine: it isolates nothing."""
    return "loopback" in properties(engine_schema(engine, "server"))
