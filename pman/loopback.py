"""Engines that isolate nothing serve this machine only."""

from __future__ import annotations

import ipaddress

from pman.settings import engine_schema, properties


def loopback_only(engine: str) -> bool:
    """Whether schema/engines keeps an engine from listening beyond this machine."""
    return "loopback" in properties(engine_schema(engine, "server"))


def is_loopback(host: str) -> bool:
    """Of an address or a name, in brackets or not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
