"""Who did what: a line of the logger `pman.audit` for each submission, deletion and refusal.

A line is one JSON object, so that nothing in a request can look like another line or another field. It
holds no value of env: of a request's body, only jid and auid.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("pman.audit")

REQUEST_ID = "X-Request-ID"
"""The header in which a caller may name its request, and in which each answer has the name."""

LONGEST = 256
"""Characters of a value of a request; the rest is cut off."""

_HARMLESS = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_REFUSALS = (401, 403, 429)
_CONTROL = re.compile("[\x7f]")  # the one that JSON leaves as it is


@dataclass(slots=True)
class Call:
    """One request, as far as it is told of; filled in by who answers it."""

    request_id: str
    address: str
    """Of the client, or of a proxy that is not in TRUSTED_PROXIES; '' by a unix socket."""

    who: str = ""
    """The setting that holds the token which was brought; '' for none."""

    action: str = ""
    """`submission`, `deletion`, or '' for what is audited only where it is refused."""

    subject: dict[str, str] = field(default_factory=dict)
    """jid and auid."""

    def names(self, **values: object) -> None:
        """Keep what the request says its job and user are."""
        self.subject |= {name: value[:LONGEST] for name, value in values.items() if isinstance(value, str)}


def call_of(scope: Any) -> Call:
    """The call that an ASGI scope is, the same one each time."""
    if "pman.call" not in scope:
        client = scope.get("client")
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        name = given.decode() if _HARMLESS.fullmatch(given) else secrets.token_hex(8)
        scope["pman.call"] = Call(name, str(client[0] or "")[:LONGEST] if client else "")
    call: Call = scope["pman.call"]
    return call


def record(call: Call, method: str, path: str, status: int) -> None:
    """Write the line of a call that has been answered, where it is due."""
    if not call.action and status not in _REFUSALS:
        return
    refused = status in _REFUSALS
    line: Mapping[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request": call.request_id,
        "action": "refusal" if refused or (call.action == "submission" and status == 400) else call.action,
        "method": method,
        "path": path[:LONGEST],
        "who": call.who or "none",
        "address": call.address,
        "jid": call.subject.get("jid"),
        "auid": call.subject.get("auid"),
        "outcome": status,
    }
    log.info("%s", _CONTROL.sub("\\\\u007f", json.dumps(line)))
