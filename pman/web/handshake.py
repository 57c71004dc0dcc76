"""Connections before they are encrypted: each counts from its first moment, as one that says nothing.

uvicorn would hear of a connection only once the client has agreed on TLS, so one that never does would be
out of all bounds. That is why its connections are accepted here where TLS is on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus

from pman.web.connection import Connection, Connections, Counted

log = logging.getLogger(__name__)

ACCEPT_PAUSE_SECONDS = 0.1
"""After a connection that cannot be taken, since there is no file left for it."""


class Handshake:
    """A connection that is not encrypted yet; see Counted."""

    def __init__(self, connections: Connections, client: socket.socket, host: str) -> None:
        self._all = connections
        self._client = client
        self.address = connections.address(host)
        self.waiting_since: float | None = asyncio.get_running_loop().time()
        self.held = self.untaken = 0
        self.complete = True
        self._agreeing: asyncio.Task[None] | None = None
        self._begun = False

    def begin(self, tls: ssl.SSLContext, protocol: Callable[[Counted], Connection]) -> None:
        """Agree on TLS; then the connection is the protocol's, and so is its place."""
        self._agreeing = asyncio.create_task(self._agree(tls, protocol))
        self._agreeing.add_done_callback(self._leave)

    async def _agree(self, tls: ssl.SSLContext, protocol: Callable[[Counted], Connection]) -> None:
        self._begun = True
        seconds = self._all.settings["HTTP_HEADER_SECONDS"]
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol(self), self._client, ssl=tls, ssl_handshake_timeout=seconds
            )
        except OSError as error:  # of TLS, of time, or of the network
            log.debug("no TLS with %s: %s", self.address, error)

    def _leave(self, _: object) -> None:
        """Leave the place; a task that is ended before it has begun runs no line of its own."""
        self._all.open.discard(self)
        if not self._begun:
            self._client.close()

    def look(self, _: float) -> None:
        """Do nothing: a handshake has a limit of its own."""

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Say nothing: no client would read it."""
        self.end()

    def end(self) -> None:
        if self._agreeing:
            self._agreeing.cancel()
        else:
            self._leave(None)


class Accepting:
    """Takes connections until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        connections: Connections,
        tls: ssl.SSLContext,
        protocol: Callable[[Counted], Connection],
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._connections = connections
        self._task = asyncio.create_task(self._accept(listener, tls, protocol))

    async def close(self) -> None:
        """Take no more connections, and end those that are not encrypted yet."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._listener.close()
        for one in [one for one in self._connections.open if isinstance(one, Handshake)]:
            one.end()

    async def _accept(
        self, listener: socket.socket, tls: ssl.SSLContext, protocol: Callable[[Counted], Connection]
    ) -> None:
        while True:
            try:
                client, peer = await asyncio.get_running_loop().sock_accept(listener)
            except OSError as error:
                log.warning("a connection cannot be taken: %s", error)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            handshake = Handshake(self._connections, client, peer[0] if peer else "")
            self._connections.open.add(handshake)
            if self._connections.admit(handshake):
                handshake.begin(tls, protocol)
            else:
                self._connections.refused += 1
                handshake.end()
