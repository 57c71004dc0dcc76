"""Serves the API: one process, one event loop, one client of the engine."""

from __future__ import annotations

import gc
import ipaddress
import logging
import sys

import uvicorn
import uvloop

from pman.app import create_app
from pman.engine import Engine
from pman.errors import ConfigError
from pman.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, host: str) -> None:
    """Until SIGINT or SIGTERM. Raises ConfigError before it listens."""
    verbose = settings["APPLICATION_MODE"] != "production"
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if settings.engine == "local" and not _is_loopback(host):
        raise ConfigError(
            f"--host={host!r}: CONTAINER_ENV=local runs all that it is sent on this machine; use 127.0.0.1"
        )
    uvloop.run(_serve(settings, host))


async def _serve(settings: Settings, host: str) -> None:
    engine = await Engine.start(settings)
    try:
        config = uvicorn.Config(
            create_app(engine),
            host=host,
            port=settings["PORT"],
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=2048,
            timeout_graceful_shutdown=5,
        )
        # What start-up made stays for good: without it in the collector's way, the slowest polls
        # are a third faster.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await uvicorn.Server(config).serve()
    finally:
        await engine.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
