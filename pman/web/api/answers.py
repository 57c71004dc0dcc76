"""Errors and streams as answers; the one place where an error becomes one."""

from __future__ import annotations

import codecs
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException

from pman.engine.engine import Engine
from pman.errors import Busy, PmanError
from pman.web.api.params import flag, number, only, valid_jid

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
"""Seconds; the platform polls at this pace."""

FOLLOWED_LOGS = 100
"""Logs that are followed at once, each by a question to the engine, or several a second."""

_followed: set[object] = set()

USUAL_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Headers of every answer: a log is text, whatever a browser would take it for, and nobody else's to keep."""

_HEADERS = {
    # Not Basic: a browser would ask by itself, and then send the token with what pages of other sites ask.
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "60"},
    503: {"Retry-After": str(RETRY_AFTER_SECONDS)},
}


def error_headers(status: int) -> Mapping[str, str]:
    return _HEADERS.get(status, {})


def answer_errors(app: Quart, largest_body: int) -> None:
    messages = {
        404: "nothing is here; the API is at /api/v1/",
        413: f"the body is larger than {largest_body} bytes",
    }

    @app.errorhandler(PmanError)
    async def answer(error: PmanError) -> tuple[Mapping[str, Any], int, Mapping[str, str]]:
        body: dict[str, Any] = {"message": str(error)}
        if error.hint:
            body["hint"] = error.hint
        if error.faults:
            body["errors"] = [fault.answer() for fault in error.faults]
        if error.status >= 500:
            log.warning("%s %s: %s", request.method, _path(), error)
        return body, error.status, error_headers(error.status)

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> tuple[Mapping[str, str], int, Mapping[str, str]]:
        headers = dict(error.get_headers())
        headers.pop("Content-Type", None)
        code = error.code or 500
        return {"message": messages.get(code, str(error.description))}, code, headers

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> tuple[Mapping[str, str], int]:
        log.error("%s %s", request.method, _path(), exc_info=error)
        return {"message": "pman failed at this request, which is a bug; its log has the details"}, 500


async def streamed_log(engine: Engine, jid: str) -> Response:
    """A job's log, as this request asks for it by `tail` and `follow`."""
    only("tail", "follow")
    tail, follow = number("tail", engine.settings["JOB_LOGS_TAIL"]), flag("follow")
    if follow and len(_followed) >= FOLLOWED_LOGS:
        raise Busy(f"{FOLLOWED_LOGS} logs are being followed; try again when others have ended")
    chunks = await engine.logs(valid_jid(jid), tail, follow=follow)
    response = Response(_text(chunks, _followed if follow else set()), mimetype="text/plain")
    response.timeout = None  # follows as long as the job runs
    return response


def _path() -> str:
    """The path as it came: decoded, it could hold a line of a log."""
    return quote(request.path)


async def _text(chunks: AsyncIterator[bytes], among: set[object]) -> AsyncIterator[str]:
    """A character may be cut in two by the chunks. `among`: where the stream counts while it lasts."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    among.add(chunks)
    try:
        async for chunk in chunks:
            if text := decoder.decode(chunk):
                yield text
        if rest := decoder.decode(b"", final=True):
            yield rest
    finally:
        among.discard(chunks)
