"""One job: all that is known of it, and its end."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from quart import Blueprint, Response, redirect, request

from pman.engine.engine import Engine
from pman.engine.feed import Feed
from pman.errors import Conflict, Forbidden, PmanError, TooManyWrong, Unauthorised, UnknownJob
from pman.job import JobDetails
from pman.web.api.params import valid_jid
from pman.web.api.sse import streamed_events
from pman.web.page.code import rows
from pman.web.page.jobs import limits, news
from pman.web.page.session import Session
from pman.web.page.view import NotThere, View

PARTS = {
    "rule": "which rule decided the status, and which were tried before it",
    "request": "as far as the engine holds it",
    "document": "as it was applied",
    "native": "what the engine says of the job now",
}
"""Parts of a job's page, each with what it shows, fetched when somebody opens it."""


def routes(page: Blueprint, engine: Engine, feed: Feed, view: View, session: Session) -> None:
    @page.get("/jobs/<jid>")
    async def job(jid: str) -> Response:
        try:
            details = await engine.details(valid_jid(jid))
            _, body = await engine.status(jid)
        except UnknownJob:
            if "HX-Request" not in request.headers:
                raise
            return view.answer("gone.html", jid=jid)  # it is looked at, and what is seen of it may stay
        return view.answer(
            "job.html",
            section="Jobs",
            job=details.info,
            details=details,
            limits=limits(details.request),
            log=json.loads(body)["logs"],
            parts=PARTS,
            error=None,
        )

    @page.get("/jobs/<jid>/<part>")
    async def job_part(jid: str, part: str) -> Response:
        if part not in PARTS:
            raise NotThere(f"a job has {', '.join(PARTS)}, and no {part!r}")
        details = await engine.details(valid_jid(jid))
        contents = await _part(engine, details, part)
        return view.answer(
            "job_part.html", section="Jobs", job=details.info, part=part, about=PARTS[part], **contents
        )

    @page.get("/jobs/<jid>/events")
    async def job_events(jid: str) -> Response:
        return streamed_events(feed, None, written=partial(news, jid=valid_jid(jid)))

    @page.get("/jobs/<jid>/cancel")
    async def confirm(jid: str) -> Response:
        _removable()
        return await _confirm(jid)

    @page.post("/jobs/<jid>/cancel")
    async def cancel(jid: str) -> Response:
        given = (await request.form).get("token", "")
        try:
            await session.admit(given)
        except (Unauthorised, Forbidden, TooManyWrong) as error:
            if not session.begun:
                raise  # nothing of the job is shown to who has brought no token
            return await _confirm(jid, error)
        _removable()
        await engine.remove(valid_jid(jid))
        answer = cast(Response, redirect(f"/?{urlencode({'removed': jid})}", 303))
        if given:
            session.begin(answer)
        return answer

    async def _confirm(jid: str, error: PmanError | None = None) -> Response:
        info = await engine.info(valid_jid(jid))
        status = error.status if error else 200
        return view.answer("cancel.html", status=status, section="Jobs", job=info, error=error)

    def _removable() -> None:
        """Raises Conflict where DELETE leaves jobs as they are: a person is not told otherwise."""
        if not engine.settings["REMOVE_JOBS"]:
            raise Conflict("the job stays on the engine, as it is", "REMOVE_JOBS of this pman is no")


async def _part(engine: Engine, details: JobDetails, part: str) -> dict[str, Any]:
    jid = details.info.jid
    if part == "rule":
        return {"explanation": await engine.explain(jid), "texts": []}
    if part == "document":
        documents = await engine.applied(jid)
        return {"texts": [(document.name, rows(document.text, document.name)) for document in documents]}
    if part == "native":
        return {"texts": [("native.json", rows(_json(await engine.native(jid)), "native.json"))]}
    held = {name: value for name, value in details.request.items() if value is not None}
    return {"texts": [("request.json", rows(_json({**held, "env": list(details.env)}), "request.json"))]}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
