"""The whole of pman's HTTP, put together."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Quart, Response, request

from pman.engine.engine import Engine
from pman.engine.feed import Feed
from pman.engine.previews import PreviewQueue
from pman.errors import BadRequest
from pman.settings import engine_schema, properties
from pman.translation.request import MAX_BODY
from pman.web import page
from pman.web.api.answers import NO_GUESSES, answer_errors
from pman.web.api.openapi import add_description
from pman.web.api.v1 import add_v1
from pman.web.api.v2 import add_v2
from pman.web.loopback import is_of_loopback


def create_app(engine: Engine) -> Quart:
    """Raises nothing; the engine is ready, or on its way back."""
    app = Quart("pman", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    app.url_map.strict_slashes = False
    answer_errors(app)
    add_v1(app, engine)
    feed = Feed(engine)
    queue = PreviewQueue(engine.settings)
    add_v2(app, engine, feed, queue)
    add_description(app)
    _health(app, engine)
    if engine.settings["PMAN_PAGE"]:
        page.add(app, engine, feed, queue)

    @app.after_request
    async def no_guesses(response: Response) -> Response:
        response.headers.update(NO_GUESSES)
        return response

    if loopback_only(engine.settings.engine):

        @app.before_request
        async def only_this_machine() -> None:
            if not is_of_loopback(request.host):
                # A page in a browser of this machine, whose name was made to mean this machine.
                raise BadRequest(
                    f"Host: {request.host!r}: this engine serves this machine only, as localhost"
                )

    return app


def loopback_only(engine: str) -> bool:
    """Says whether schema/engines keeps an engine from listening beyond this machine: it isolates nothing."""
    return "loopback" in properties(engine_schema(engine, "server"))


def _health(app: Quart, engine: Engine) -> None:
    @app.get("/healthz")
    async def alive() -> Mapping[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> Mapping[str, str]:
        version = await engine.ping()
        await engine.facts()
        return {"status": "ok", "engine": version}
