"""API v2, for people and their tools: jobs with all that the engine holds of them, templates, dry runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quart import Quart, Response, request

from pman import schema
from pman.engine.engine import Engine
from pman.engine.feed import Feed
from pman.engine.previews import PreviewQueue, check_size, installed
from pman.errors import BadRequest, EngineUnreachable, NotJson
from pman.suggest import one_of
from pman.translation import diff
from pman.translation.honoured import Matrix, Row, working
from pman.translation.inventory import inventory
from pman.translation.inventory.answer import answer
from pman.translation.preview import Preview
from pman.web.api.answers import streamed_log
from pman.web.api.listing import paging
from pman.web.api.params import only, valid_jid
from pman.web.api.sse import streamed_events
from pman.web.api.v1 import answering, of_job

RENDER = schema.validator({"$ref": "urn:pman:api#/$defs/RenderRequest"})


def add_v2(app: Quart, engine: Engine, feed: Feed, queue: PreviewQueue) -> None:
    _jobs(app, engine, feed)
    _job(app, engine)
    _workshop(app, engine, queue)


def _jobs(app: Quart, engine: Engine, feed: Feed) -> None:
    @app.get("/api/v2/jobs")
    async def jobs() -> Mapping[str, Any]:
        page_of, now = paging(request.args), datetime.now(UTC)
        page, following = page_of(await feed.jobs(), now)
        return {"jobs": [details.answer(now) for details in page], "next": following}

    @app.get("/api/v2/jobs/<jid>")
    async def job(jid: str) -> Mapping[str, Any]:
        only()
        return (await engine.details(valid_jid(jid))).answer(datetime.now(UTC))

    @app.delete("/api/v2/jobs/<jid>")
    async def delete_job(jid: str) -> tuple[str, int]:
        only()
        await engine.remove(valid_jid(jid))
        return "", 204

    @app.get("/api/v2/events")
    async def events() -> Response:
        only()
        return streamed_events(feed, request.headers.get("Last-Event-ID"))

    @app.get("/api/v2/jobs/<jid>/events")
    async def job_events(jid: str) -> Response:
        only()
        await engine.details(valid_jid(jid))
        return streamed_events(feed, request.headers.get("Last-Event-ID"), jid)


def _job(app: Quart, engine: Engine) -> None:
    @app.get("/api/v2/jobs/<jid>/logs")
    async def job_logs(jid: str) -> Response:
        return await streamed_log(engine, jid)

    @app.get("/api/v2/jobs/<jid>/document")
    async def job_document(jid: str) -> Mapping[str, Any]:
        only()
        documents = await engine.applied(valid_jid(jid))
        return of_job(engine, jid, documents=[document.answer() for document in documents])

    @app.get("/api/v2/jobs/<jid>/native")
    async def job_native(jid: str) -> Mapping[str, Any]:
        only()
        return of_job(engine, jid, native=await engine.native(valid_jid(jid)))

    @app.get("/api/v2/jobs/<jid>/explain")
    async def job_explain(jid: str) -> Mapping[str, Any]:
        only()
        explanation = await engine.explain(valid_jid(jid))
        return of_job(
            engine,
            jid,
            status=explanation.info.status if explanation.info else None,
            message=explanation.message,
            hint=explanation.hint,
            tried=[dataclasses.asdict(rule) for rule in explanation.tried],
            values=explanation.values,
        )


def _workshop(app: Quart, engine: Engine, queue: PreviewQueue) -> None:
    site = engine.settings["PMAN_TEMPLATES"]

    def honoured() -> Matrix:
        return working(site, installed())

    def all_engines() -> Sequence[inventory.EngineTemplates]:
        return inventory.engines([Path(directory) for directory in site])

    @app.post("/api/v2/render")
    async def render() -> Response:
        only()
        wanted = await _rendering()
        name, templates = wanted.get("engine", engine.settings.engine), wanted.get("templates", "site")
        if name not in installed():
            raise BadRequest(f"engine={name!r}: {one_of(name, installed())}")
        given = wanted["request"]
        body = given if isinstance(given, str) else json.dumps(given)
        facts, unasked = None, f"no {name} was asked"
        if name == engine.settings.engine:
            try:
                facts = await engine.facts()
            except EngineUnreachable as error:
                unasked = str(error)

        def rendered() -> bytes:
            options: dict[str, Any] = {"engine": name, "facts": facts, "unasked": unasked}
            shown = shipped = queue.previews.preview(body, templates=templates, **options)
            if site and templates != "builtin":
                shipped = queue.previews.preview(body, templates="builtin", **options)
            return json.dumps(_rendered(shown, shipped, templates)).encode() + b"\n"

        return Response(await queue.run(rendered), mimetype="application/json")

    @app.get("/api/v2/engines")
    async def engines() -> Mapping[str, Any]:
        only()
        matrix = await queue.cached(honoured)
        answers = await answering(engine)
        return {"engines": [_engine(name, engine, matrix, answers) for name in installed()]}

    @app.get("/api/v2/templates")
    async def templates() -> Mapping[str, Any]:
        only("engine")
        wanted = request.args.get("engine")
        inventories = await queue.cached(all_engines)
        names = [each.engine for each in inventories]
        if wanted is not None and wanted not in names:
            raise BadRequest(f"engine={wanted!r}: {one_of(wanted, names)}")
        return answer(each for each in inventories if wanted in (None, each.engine))


async def _rendering() -> Mapping[str, Any]:
    """The body of a dry run. Raises NotJson, TooLarge, BadRequest."""
    if not request.is_json:
        raise NotJson("the body must be JSON, with Content-Type: application/json")
    check_size(request.content_length or 0)
    body = await request.get_data(cache=False)
    check_size(len(body))
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if faults := schema.faults(RENDER, wanted):
        raise BadRequest.of(faults)
    return dict(wanted)


def _rendered(shown: Preview, shipped: Preview, templates: str) -> Mapping[str, Any]:
    """With what the shown templates change; nothing where either side makes no document."""
    old, new = (shipped.documents, shown.documents) if shown.documents and shipped.documents else ((), ())
    return {
        "engine": shown.engine,
        "templates": templates,
        "documents": [document.answer() for document in shown.documents],
        "faults": [fault.answer() for fault in shown.faults],
        "hint": shown.hint,
        "notes": list(shown.notes),
        "diff": {
            "changes": [dataclasses.asdict(change) for change in diff.changes(old, new)],
            "unified": diff.unified(old, new),
        },
    }


def _engine(name: str, engine: Engine, matrix: Matrix, answers: Mapping[str, Any]) -> Mapping[str, Any]:
    configured = name == engine.settings.engine

    def of(row: Row) -> Mapping[str, Any]:
        entry = {"honoured": row.honoured[name], "limits": row.limits.get(name, ""), "meaning": row.meaning}
        if row.part != "settings" or not configured:
            return entry
        settings = engine.settings
        return {**entry, "value": settings.shown(row.option), "source": settings.sources.get(row.option, "")}

    return {
        "name": name,
        "configured": configured,
        "answers": answers if configured else None,
        "faults": [fault.answer() for fault in matrix.faults.get(name, ())],
        **{
            part: {row.option: of(row) for row in matrix.rows if row.part == part and name in row.honoured}
            for part in ("request", "settings")
        },
    }
