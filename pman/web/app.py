"""The whole of pman's HTTP, put together."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Quart, Response, request

from pman.engine.engine import Engine
from pman.engine.feed import Feed
from pman.engine.previews import PreviewQueue
from pman.web import page
from pman.web.access import Access
from pman.web.api.answers import USUAL_HEADERS, answer_errors
from pman.web.api.openapi import add_description
from pman.web.api.sse import FOLLOWERS
from pman.web.api.v1 import add_v1
from pman.web.api.v2 import add_v2
from pman.web.loopback import loopback_only


def access_to(engine: Engine) -> Access:
    return Access(engine.settings, only_own_hosts=loopback_only(engine.settings.engine))


def create_app(engine: Engine, access: Access | None = None) -> Quart:
    """Raises nothing; the engine is ready, or on its way back. `access`: its own by default."""
    access = access or access_to(engine)
    app = Quart("pman", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = engine.settings["HTTP_BODY_BYTES"]
    app.config["FOLLOWERS"] = min(FOLLOWERS, engine.settings["HTTP_CONNECTIONS"] // 2)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a redirect would name the host that the client made up
    answer_errors(app, engine.settings["HTTP_BODY_BYTES"])
    access.stand_before(app)
    add_v1(app, engine)
    feed = Feed(engine)
    queue = PreviewQueue(engine.settings)
    add_v2(app, engine, feed, queue)
    add_description(app)
    _health(app, engine)
    if engine.settings["PMAN_PAGE"]:
        page.add(app, engine, access, feed, queue)

    @app.teardown_request
    async def forget(_: BaseException | None) -> None:
        request.body.clear()  # or an error that was raised may hold megabytes until cycles are collected

    @app.after_request
    async def usual(response: Response) -> Response:
        for name, value in USUAL_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _health(app: Quart, engine: Engine) -> None:
    @app.get("/healthz")
    async def alive() -> Mapping[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> Mapping[str, str]:
        version = await engine.ping()
        await engine.facts()
        return {"status": "ok", "engine": version}
