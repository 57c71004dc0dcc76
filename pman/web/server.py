"""Serves the API: one process, one event loop, one client of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import resource
import signal
import socket
import ssl
import stat
import sys
from functools import partial
from pathlib import Path

import uvicorn
import uvloop

from pman import __version__
from pman.engine.engine import Engine
from pman.errors import ConfigError
from pman.settings import Settings
from pman.web.asgi import served
from pman.web.connection import Connection, Connections
from pman.web.handshake import Accepting
from pman.web.listener import address, listening, tls_context
from pman.web.loopback import is_loopback, left_open, loopback_only

log = logging.getLogger(__name__)

_M_MMAP_THRESHOLD = -3
"""A parameter of mallopt(3)."""

LARGE_BYTES = 128 * 2**10
"""From so many bytes on, memory is given back at once."""

OTHER_FILES = 200
"""Files that are open beside the connections of clients, at most: of the engine, logs, and libraries."""


def serve(settings: Settings, host: str, uds: Path | None = None, mode: int = 0o660) -> None:
    """Until SIGINT or SIGTERM. Raises ConfigError before it listens. `uds`, `mode`: as in listener.py."""
    verbose = settings["APPLICATION_MODE"] != "production"
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if loopback_only(settings.engine) and not uds and not is_loopback(host):
        raise ConfigError(
            f"--host={host!r}: CONTAINER_ENV=local runs all that it is sent on this machine; use 127.0.0.1"
        )
    tls = tls_context(settings)
    if uds and tls:
        raise ConfigError(
            f"--uds={str(uds)!r}: TLS_CERT is set, and no client speaks TLS to a socket file",
            "unset TLS_CERT, TLS_KEY and TLS_CLIENT_CA; --uds-mode says who may use pman",
        )
    within = not mode & stat.S_IWOTH if uds else is_loopback(host)
    if not within and (found := left_open(settings)):
        message, lines = found
        log.warning("%s: %s", uds or host, message)
        for line in lines:
            log.warning("    %s", line)
    uvloop.run(_serve(settings, host, uds, mode, tls))


async def _serve(
    settings: Settings, host: str, uds: Path | None, mode: int, tls: ssl.SSLContext | None
) -> None:
    engine = await Engine.start(settings)
    try:
        with listening(host, settings["PORT"], uds, mode) as listener:
            await _run(engine, listener, tls)
    finally:
        await engine.close()


async def _run(engine: Engine, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    settings = engine.settings
    connections = Connections(settings, _most_connections(settings["HTTP_CONNECTIONS"]))
    config = uvicorn.Config(
        served(engine),
        http=partial(Connection, connections),  # type: ignore[arg-type]  # called as a class is
        ws="none",  # with a library for it, uvicorn would hand connections over, out of the bounds
        timeout_keep_alive=settings["HTTP_IDLE_SECONDS"],
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
        proxy_headers=bool(settings["TRUSTED_PROXIES"]),
        forwarded_allow_ips=settings["TRUSTED_PROXIES"],
    )
    # What start-up made stays for good: without it in the collector's way, the slowest polls
    # are a third faster.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    _return_memory()
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    log.info("pman %s on %s, %s", __version__, settings.engine, engine.described())
    page = " (the page: /)" if settings["PMAN_PAGE"] else ""
    where = address(listener, "https" if tls else "http")
    log.info("running on %s/api/v1/%s", where, page)
    # uvicorn raises the signal that ended it once more, which by default ends the process with all left open.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    running = _Server(config)
    watching = asyncio.create_task(connections.watch())
    if tls:
        state = running.server_state
        protocol = partial(Connection, connections, config=config, server_state=state, app_state={})
        running.accepting = Accepting(listener, connections, tls, protocol)
    await running.serve(sockets=[] if tls else [listener])
    watching.cancel()


class _Server(uvicorn.Server):
    """uvicorn's, which knows of no listener where TLS is on."""

    accepting: Accepting | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.accepting:
            await self.accepting.close()
        await super().shutdown(sockets)


def _return_memory() -> None:
    """Have glibc give large bodies and logs back to the system once they are freed.

    It would raise the size from which it does so with each of them, up to 32 MiB, and keep what is below.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def _most_connections(wanted: int) -> int:
    """Return how many the limit of open files leaves room for, beside those of the engine."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if soft == resource.RLIM_INFINITY else min(wanted, max(8, soft - OTHER_FILES))
    if most < wanted:
        log.warning(
            "HTTP_CONNECTIONS=%d: %d, since this process may have %d files (ulimit -n)", wanted, most, soft
        )
    return most
