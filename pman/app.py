"""The whole of pman's HTTP, put together."""

from __future__ import annotations

from collections.abc import Mapping

from quart import Quart, request

from pman import page
from pman.api.answers import answer_errors
from pman.api.openapi import add_description
from pman.api.v1 import add_v1
from pman.api.v2 import add_v2
from pman.dryruns import DryRuns
from pman.engine import Engine
from pman.errors import BadRequest
from pman.feed import Feed
from pman.loopback import is_loopback, loopback_only
from pman.request import MAX_BODY


def create_app(engine: Engine) -> Quart:
    """Raises nothing; the engine is ready, or on its way back."""
    app = Quart("pman", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    app.url_map.strict_slashes = False
    answer_errors(app)
    add_v1(app, engine)
    feed = Feed(engine)
    dry_runs = DryRuns(engine.settings)
    add_v2(app, engine, feed, dry_runs)
    add_description(app)
    _health(app, engine)
    if engine.settings["PMAN_PAGE"]:
        page.add(app, engine, feed, dry_runs)

    if loopback_only(engine.settings.engine):

        @app.before_request
        async def only_this_machine() -> None:
            if not is_loopback(request.host.rpartition(":")[0] or request.host):
                # A page in a browser of this machine, whose name was made to mean this machine.
                raise BadRequest(
                    f"Host: {request.host!r}: this engine serves this machine only, as localhost"
                )

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
