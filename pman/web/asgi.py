"""Stands before the app: names and logs each request, answers polls of jobs that have ended.

The platform polls a job for as long as it likes. Beside Quart, an answer that is there already takes a
fifth of the time (bench/README.md), and a line in the log a tenth of what it takes by Quart's hooks.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from pman.engine.engine import Engine
from pman.translation.request import JID
from pman.web.access import Access
from pman.web.api.answers import USUAL_HEADERS
from pman.web.app import access_to, create_app
from pman.web.audit import REQUEST_ID, call_of, record

log = logging.getLogger(__name__)

ASGI = Callable[[Any, Any, Any], Awaitable[None]]

_JOB = re.compile(f"/api/v1/({JID.pattern.removeprefix('^')})/?")


def served(engine: Engine) -> ASGI:
    """The whole of pman's HTTP."""
    access = access_to(engine)
    return _merged(_logged(_polled(_released(create_app(engine, access)), engine, access)))


def _merged(app: ASGI) -> ASGI:
    """Takes several slashes as one; the redirect by which v6 did would name a host that a client made up."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if "//" in scope["path"]:
            scope = {**scope, "path": re.sub("//+", "/", scope["path"])}
        await app(scope, receive, send)

    return serve


def _polled(app: ASGI, engine: Engine, access: Access) -> ASGI:
    """Answers what needs nothing but the cache of jobs that have ended; the rest is the app's."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        job = _JOB.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if (
            job is None
            or scope["query_string"]
            or (cached := engine.cached_status(job[1])) is None
            or not access.may_poll(scope)
        ):
            await app(scope, receive, send)
            return
        body = cached[1]
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *((name.lower().encode(), value.encode()) for name, value in USUAL_HEADERS.items()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve


def _released(app: ASGI) -> ASGI:
    """Takes each piece of a body away once it was read: Quart keeps the last one until another comes,
    a quarter of a MiB for each request that is not complete."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        last: dict[str, Any] = {}

        async def received() -> Any:
            nonlocal last
            last.pop("body", None)
            last = await receive()
            return last

        await app(scope, received, send)

    return serve


def _logged(app: ASGI) -> ASGI:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, status, complete = time.monotonic(), 0, False
        call = call_of(scope)
        name = (REQUEST_ID.lower().encode(), call.request_id.encode())

        async def noting(message: Any) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], name]}
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await app(scope, receive, noting)
            if status and not complete:  # a stream whose session was ended
                await send({"type": "http.response.body", "body": b""})
        finally:
            record(call, scope["method"], quote(scope["path"]), status)
            level = logging.DEBUG if scope["method"] in ("GET", "HEAD") and status < 500 else logging.INFO
            if log.isEnabledFor(level):
                took = (time.monotonic() - began) * 1e3
                log.log(
                    level,
                    "%s %s %d %.1f ms %s",
                    scope["method"],
                    quote(scope["path"]),
                    status,
                    took,
                    call.request_id,
                )

    return serve
