"""API v1, as the platform has always known it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from quart import Quart, Response, request

from pman import __version__
from pman.engine.engine import LARGE, Engine
from pman.errors import BadRequest, EngineUnreachable, NotJson
from pman.translation.request import PROPERTIES
from pman.web.api.answers import streamed_log
from pman.web.api.params import flag, only, valid_jid
from pman.web.audit import call_of


def add_v1(app: Quart, engine: Engine) -> None:
    @app.get("/api/v1/")
    async def about() -> Mapping[str, Any]:
        return {
            "server_version": __version__,
            "container_env": engine.settings.engine,
            "storage_type": engine.settings["STORAGE_TYPE"],
            "engine": await answering(engine),
        }

    @app.post("/api/v1/")
    async def submit() -> tuple[Mapping[str, Any], int]:
        only("dry_run", *PROPERTIES)  # fields of a request were taken from here once; they are missed below
        if not request.is_json:
            raise NotJson("the body must be JSON, with Content-Type: application/json")
        call, dry_run, body = call_of(request.scope), flag("dry_run"), await request.get_data(cache=False)
        if dry_run:
            call.action = ""
        try:
            job = await engine.parse(body)
        except BadRequest:
            call.names(**_names(body))
            raise
        call.names(jid=job.jid, auid=job.auid)
        if dry_run:
            documents = [document.answer() for document in await engine.show(job)]
            return of_job(engine, job.jid, documents=documents), 200
        info = await engine.submit(job)
        return info.answer(""), 201

    @app.get("/api/v1/<jid>/")
    async def status(jid: str) -> Response:
        if request.method == "HEAD":
            body = (await engine.info(valid_jid(jid))).json("")
        else:
            _, body = await engine.status(valid_jid(jid))
        return Response(body, mimetype="application/json")

    @app.delete("/api/v1/<jid>/")
    async def delete(jid: str) -> tuple[str, int]:
        await engine.remove(valid_jid(jid))
        return "", 204

    @app.get("/api/v1/<jid>/logs/")
    async def logs(jid: str) -> Response:
        return await streamed_log(engine, jid)


def _names(body: bytes | str) -> Mapping[str, object]:
    """What a request that is wrong says of its job and user, for the audit."""
    try:
        request = json.loads(body) if len(body) < LARGE else {}
    except (ValueError, RecursionError):
        return {}
    return {name: request.get(name) for name in ("jid", "auid")} if isinstance(request, dict) else {}


async def answering(engine: Engine) -> Mapping[str, Any]:
    """Say whether the engine answers: with its version, or why not."""
    try:
        return {"reachable": True, "version": await engine.ping()}
    except EngineUnreachable as error:
        return {"reachable": False, "message": str(error)}


def of_job(engine: Engine, jid: str, **fields: object) -> Mapping[str, Any]:
    return {"jid": jid, "engine": engine.settings.engine, **fields}
