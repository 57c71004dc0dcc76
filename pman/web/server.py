"""Serves the API: one process, one event loop, one client of the engine."""

from __future__ import annotations

import gc
import logging
import socket
import sys

import uvicorn
import uvloop

from pman import __version__
from pman.engine.engine import Engine
from pman.errors import ConfigError
from pman.settings import Settings
from pman.web.app import loopback_only
from pman.web.asgi import served
from pman.web.loopback import is_loopback

log = logging.getLogger(__name__)


def serve(settings: Settings, host: str) -> None:
    """Until SIGINT or SIGTERM. Raises ConfigError before it listens."""
    verbose = settings["APPLICATION_MODE"] != "production"
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if loopback_only(settings.engine) and not is_loopback(host):
        raise ConfigError(
            f"--host={host!r}: CONTAINER_ENV=local runs all that it is sent on this machine; use 127.0.0.1"
        )
    uvloop.run(_serve(settings, host))


async def _serve(settings: Settings, host: str) -> None:
    engine = await Engine.start(settings)
    try:
        listener = _listener(host, settings["PORT"])
        config = uvicorn.Config(
            served(engine),
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        # What start-up made stays for good: without it in the collector's way, the slowest polls
        # are a third faster.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        log.info("pman %s on %s, %s", __version__, settings.engine, engine.described())
        page = " (the page: /)" if settings["PMAN_PAGE"] else ""
        log.info("running on http://%s:%d/api/v1/%s", *_address(listener), page)
        await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        await engine.close()


def _listener(host: str, port: int) -> socket.socket:
    """Raises ConfigError, before anything is served."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        message = f"PORT={port}, --host={host!r}: cannot listen there: {error.strerror or error}"
        raise ConfigError(
            message, "another pman, or another service, may run there; --port or PORT"
        ) from error


def _address(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return f"[{host}]" if ":" in host else host, port
