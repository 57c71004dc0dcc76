"""API v1 over HTTP; the one place where an error becomes an answer."""

from __future__ import annotations

import codecs
import difflib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from pman import __version__, page
from pman.engine import Engine
from pman.errors import BadRequest, EngineUnreachable, NotJson, PmanError, TooLarge, UnknownJob
from pman.feed import Feed
from pman.job import Job
from pman.loopback import is_loopback, loopback_only
from pman.request import JID, MAX_BODY, PROPERTIES

log = logging.getLogger(__name__)

RETRY_AFTER = 5
"""Seconds; the platform polls at this pace."""

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER)}}

_YES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def create_app(engine: Engine) -> Quart:
    """Raises nothing; the engine is ready, or on its way back."""
    app = Quart("pman", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    app.url_map.strict_slashes = False
    _errors(app)
    _v1(app, engine)
    _health(app, engine)
    if engine.settings["PMAN_PAGE"]:
        page.add(app, engine, Feed(engine))

    if loopback_only(engine.settings.engine):

        @app.before_request
        async def only_this_machine() -> None:
            if not is_loopback(request.host.rpartition(":")[0] or request.host):
                # A page in a browser of this machine, whose name was made to mean this machine.
                raise BadRequest(
                    f"Host: {request.host!r}: this engine serves this machine only, as localhost"
                )

    return app


def _v1(app: Quart, engine: Engine) -> None:
    @app.get("/api/v1/")
    async def about() -> Mapping[str, Any]:
        try:
            answers = {"reachable": True, "version": await engine.ping()}
        except EngineUnreachable as error:
            answers = {"reachable": False, "message": str(error)}
        return {
            "server_version": __version__,
            "container_env": engine.settings.engine,
            "storage_type": engine.settings["STORAGE_TYPE"],
            "engine": answers,
        }

    @app.post("/api/v1/")
    async def submit() -> tuple[Mapping[str, Any], int]:
        _only("dry_run", *PROPERTIES)  # fields of a request were taken from here once; they are missed below
        if not request.is_json:
            raise NotJson("the body must be JSON, with Content-Type: application/json")
        job = await engine.parse(await request.get_data())
        if _flag("dry_run"):
            return await _dry_run(engine, job), 200
        info = await engine.submit(job)
        return info.answer(""), 201

    @app.get("/api/v1/<jid>/")
    async def status(jid: str) -> Response:
        if request.method == "HEAD":
            body = (await engine.info(_jid(jid))).json("")
        else:
            _, body = await engine.status(_jid(jid))
        return Response(body, mimetype="application/json")

    @app.delete("/api/v1/<jid>/")
    async def delete(jid: str) -> tuple[str, int]:
        await engine.remove(_jid(jid))
        return "", 204

    @app.get("/api/v1/<jid>/logs/")
    async def logs(jid: str) -> Response:
        _only("tail", "follow")
        tail = _number("tail", engine.settings["JOB_LOGS_TAIL"])
        chunks = await engine.logs(_jid(jid), tail, follow=_flag("follow"))
        response = Response(_text(chunks), mimetype="text/plain")
        response.timeout = None  # follows as long as the job runs
        return response

    @app.get("/api/v2/jobs")
    async def jobs() -> Mapping[str, Any]:
        found = [dict(info.answer("")) for info in await engine.list()]
        for job in found:
            del job["logs"]
        return {"jobs": found}


def _health(app: Quart, engine: Engine) -> None:
    @app.get("/healthz")
    async def alive() -> Mapping[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> Mapping[str, str]:
        version = await engine.ping()
        await engine.facts()
        return {"status": "ok", "engine": version}


def _errors(app: Quart) -> None:
    @app.errorhandler(PmanError)
    async def answer(error: PmanError) -> tuple[Mapping[str, Any], int, Mapping[str, str]]:
        told: dict[str, Any] = {"message": str(error)}
        if error.hint:
            told["hint"] = error.hint
        if error.faults:
            told["errors"] = [{"path": fault.path, "message": fault.message} for fault in error.faults]
        if error.status >= 500:
            log.warning("%s %s: %s", request.method, _path(), error)
        return told, error.status, _HEADERS.get(error.status, {})

    @app.errorhandler(RequestEntityTooLarge)
    async def too_large(_: RequestEntityTooLarge) -> Any:
        return await answer(TooLarge(f"the body is larger than {MAX_BODY} bytes"))

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> tuple[Mapping[str, str], int, Mapping[str, str]]:
        headers = dict(error.get_headers())
        headers.pop("Content-Type", None)
        message = "nothing is here; the API is at /api/v1/" if error.code == 404 else str(error.description)
        return {"message": message}, error.code or 500, headers

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> tuple[Mapping[str, str], int]:
        log.error("%s %s", request.method, _path(), exc_info=error)
        return {"message": "pman failed at this request, which is a bug; its log has the details"}, 500


async def _dry_run(engine: Engine, job: Job) -> Mapping[str, Any]:
    documents = await engine.show(job)
    return {
        "jid": job.jid,
        "engine": engine.settings.engine,
        "documents": [
            {"name": document.name, "text": document.text, "content": document.content}
            for document in documents
        ],
    }


def _path() -> str:
    """As it came: decoded, it could hold a line of a log."""
    return quote(request.path)


def _jid(jid: str) -> str:
    """Nothing but a job's name ever reaches an address of the engine."""
    if not JID.fullmatch(jid):
        raise UnknownJob(jid)
    return jid


def _only(*names: str) -> None:
    """Raises BadRequest for a parameter that would be ignored: `dryrun` would submit."""
    for name in request.args:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise BadRequest(
                f"?{name}: not known here; {f'did you mean {near[0]}?' if near else 'leave it out'}"
            )


def _flag(name: str) -> bool:
    text = request.args.get(name, "false").lower()
    if text not in _YES:
        raise BadRequest(f"{name}={text!r}: use true or false")
    return _YES[text]


def _number(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"{name}={text!r}: use a whole number of lines, 0 or more")
    return int(text)


async def _text(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """A character may be cut in two by the chunks."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest
