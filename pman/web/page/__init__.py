"""The page: jobs, previews and templates, for people. Server-rendered; the little JavaScript is an addition.

It shows what the API answers and what templates make of a request, and owns none of it; PMAN_PAGE=no
turns it off. Only app.py imports it; it imports `engine/`, `translation/` and, for filters and guards,
`web/api/`. Begin with `add` below and jobs.py; HTML is in html/, everything else that a browser asks for
in static/.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import quote

from quart import Blueprint, Quart, Response, request, send_from_directory
from werkzeug.exceptions import NotFound, RequestEntityTooLarge

from pman.engine.engine import Engine
from pman.engine.feed import Feed
from pman.engine.previews import PreviewQueue
from pman.errors import Busy, PmanError, TooLarge, Unauthorised
from pman.web.access import Access
from pman.web.page import job, jobs, login, render, templates
from pman.web.page.session import Session
from pman.web.page.view import STATIC, View

log = logging.getLogger(__name__)

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
"""Everything comes from this server and nothing stands inline, so a log or a request can run nothing."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with no-referrer, a form would not say that it is ours
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

FOR_EVER = "public, max-age=31536000, immutable"
"""How long a static file is good, since its address carries its digest."""

_HEADINGS = {403: "Not allowed", 404: "Nothing is here", 503: "The engine does not answer"}

LIVE = ("job", "jobs")
"""Parts that are fetched anew while somebody looks: what was shown stays, with what is wrong above it."""


def _instead(target: str) -> Mapping[str, str]:
    """Where htmx, which asked for a part of a page, shows an error: beside the part or inside of it,
    and never in its place, where the next one would not find it."""
    if not target:
        return {}
    beside = {"HX-Retarget": f"#{target}-trouble"} if target in LIVE else {}
    return {"HX-Reselect": ".told", "HX-Reswap": "innerHTML", **beside}


def add(app: Quart, engine: Engine, access: Access, feed: Feed, queue: PreviewQueue) -> None:
    """Serves the page at the root of the app."""
    page = Blueprint("page", __name__)
    assets = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    session = Session(access)
    view = View(engine.settings, session)
    jobs.routes(page, feed, view)
    job.routes(page, engine, feed, view, session)
    render.routes(page, engine, view, queue)
    templates.routes(page, engine, view, queue)
    login.routes(page, view, session)

    @page.get("/static/<path:name>")
    async def static(name: str) -> Response:
        if name not in assets:  # before a file system is asked, which some names are too long for
            raise NotFound
        return await send_from_directory(STATIC, name)

    @page.errorhandler(PmanError)
    async def failed(error: PmanError) -> Response:
        if isinstance(error, Unauthorised):
            return login.asked(view, login.here(), error)
        if error.status >= 500:
            log.warning("%s %s: %s", request.method, quote(request.path), error)
        usual = "Try again" if isinstance(error, Busy) else _HEADINGS.get(error.status)
        heading = usual or "That did not work"
        answer = view.answer("error.html", status=error.status, section="", heading=heading, error=error)
        answer.headers.update(_instead(request.headers.get("HX-Target", "")))
        return answer

    @page.errorhandler(RequestEntityTooLarge)
    async def too_large(_: RequestEntityTooLarge) -> Response:
        return await failed(TooLarge("this is larger than what pman takes by a form; try pman render"))

    @page.after_request
    async def guarded(response: Response) -> Response:
        response.headers.update(HEADERS)
        dated = request.endpoint == "page.static" and "v" in request.args and response.status_code == 200
        response.headers["Cache-Control"] = FOR_EVER if dated else "no-store"
        return response

    app.register_blueprint(page)
