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

from pman.web.connection import Connection, Connections

log = logging.getLogger(__name__)

ACCEPT_PAUSE_SECONDS = 0.1
"""After a connection that cannot be taken, since there is no file left for it."""


class Handshake:
    """A connection that is not encrypted yet; see Counted."""

    def __init__(self, client: socket.socket, address: str) -> None:
        self._client = client
        self.address = address
        self.waiting_since: float | None = asyncio.get_running_loop().time()
        self.held = self.untaken = 0
        self.complete = True
        self.agreeing: asyncio.Task[None] | None = None

    async def agree(
        self, connections: Connections, tls: ssl.SSLContext, protocol: Callable[[], Connection]
    ) -> None:
        """Agree on TLS; then the connection is the protocol's."""
        seconds = connections.settings["HTTP_HEADER_SECONDS"]
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol, self._client, ssl=tls, ssl_handshake_timeout=seconds
            )
        except OSError as error:  # of TLS, of time, or of the network
            log.debug("no TLS with %s: %s", self.address, error)
        finally:
            connections.open.discard(self)

    def look(self, _: float) -> None:
        """Nothing: a handshake has a limit of its own."""

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Say nothing: no client would read it."""
        self.end()

    def end(self) -> None:
        if self.agreeing:
            self.agreeing.cancel()
        else:
            self._client.close()


async def accept(
    listener: socket.socket, connections: Connections, tls: ssl.SSLContext, protocol: Callable[[], Connection]
) -> None:
    """Take connections, for ever."""
    listener.setblocking(False)
    while True:
        try:
            client, peer = await asyncio.get_running_loop().sock_accept(listener)
        except OSError as error:
            log.warning("a connection cannot be taken: %s", error)
            await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
            continue
        handshake = Handshake(client, connections.address(peer[0] if peer else ""))
        connections.open.add(handshake)
        if connections.admit(handshake):
            handshake.agreeing = asyncio.create_task(handshake.agree(connections, tls, protocol))
        else:
            connections.refused += 1
            connections.open.discard(handshake)
            handshake.end()
