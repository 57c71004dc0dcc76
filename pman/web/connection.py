"""One connection of a client, and what all of them may take together: bytes, time, and each other's places.

uvicorn's protocol reads a request for as long as one comes, keeps whatever has come of it, and waits for ever
for the rest. This one counts while the bytes arrive, so that what is too much is never held, and is looked at
once a second for what has come too slowly: a timer for each request would cost every poll.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pman.settings import Settings
from pman.web.api.answers import USUAL_HEADERS, error_headers
from pman.web.audit import REQUEST_ID, call_of

log = logging.getLogger(__name__)

FIELDS = 100
"""Header fields of a request, at most, those after its body included."""

PIECE = 8192
"""Bytes that are parsed at once until a header is complete: its bounds may be exceeded by so much."""

LINGER_SECONDS = 2.0
"""For so long what comes after a refusal is read, unheeded: closed before, a client could lose the answer."""

LOOK_INTERVAL_SECONDS = 1.0
"""Between two looks for connections that are too slow."""

NEVER = math.inf

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Counted(Protocol):
    """A connection, encrypted or about to be; what its members mean, Connection says."""

    address: str
    waiting_since: float | None
    held: int
    untaken: int
    complete: bool

    def look(self, now: float) -> None: ...

    def end(self) -> None: ...

    def refuse(self, status: HTTPStatus, message: str) -> None: ...


@dataclass
class Connections:
    """All connections of a server, and how much of what has come of requests they hold together."""

    settings: Settings
    most: int
    """How many connections there may be."""

    open: set[Counted] = field(default_factory=set)
    held: int = 0
    """Bytes of requests that are not answered, but for headers that came at once; of answers not taken."""

    refused: int = 0
    """Requests and connections since this was last told in the log."""

    def address(self, host: str) -> str:
        """Name what a client's connections are counted by; '' for a proxy that the site trusts."""
        address = _address(host)
        trusted = address and any(
            address in ipaddress.ip_network(proxy) for proxy in self.settings["TRUSTED_PROXIES"]
        )
        return "" if trusted else _network(address)

    def admit(self, new: Counted) -> bool:
        """Make room for a connection, from its own address first, where another one waits for a request.

        The one that has waited longest goes: one that says nothing keeps nobody out.
        """
        same = [other for other in self.open if other is not new and other.address == new.address]
        if new.address and len(same) >= self.settings["HTTP_CONNECTIONS_PER_ADDRESS"]:
            return _end_one_of(same)
        if len(self.open) > self.most:
            return _end_one_of(self.open - {new})
        return True

    def hold(self, size: int) -> None:
        self.held += size
        if self.held > self.settings["HTTP_UNFINISHED_BYTES"]:
            self._relieve()

    def _relieve(self) -> None:
        """End the largest of what is unfinished, until the others have room; what is complete is at work."""
        unfinished = [one for one in self.open if one.untaken or (one.held and not one.complete)]
        for one in sorted(unfinished, key=lambda one: one.held + one.untaken, reverse=True):
            if self.held <= self.settings["HTTP_UNFINISHED_BYTES"]:
                return
            one.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too much of other requests is unfinished; try again")

    async def watch(self) -> None:
        """End what is too slow, for ever."""
        now = asyncio.get_running_loop().time
        told = now()
        while True:
            await asyncio.sleep(LOOK_INTERVAL_SECONDS)
            for connection in list(self.open):
                try:
                    connection.look(now())
                except Exception:  # of one connection must not end the bounds of all others
                    log.exception("a connection cannot be looked at, which is a bug")
            if self.refused and now() - told >= 60:
                log.warning("%d requests or connections were too large, too slow or too many", self.refused)
                told, self.refused = now(), 0


def _end_one_of(connections: Iterable[Counted]) -> bool:
    waiting = [one for one in connections if one.waiting_since is not None]
    if not waiting:
        return False
    min(waiting, key=lambda one: one.waiting_since or 0).end()
    return True


class Connection(HttpToolsProtocol):
    """Bounds what uvicorn's own would take."""

    def __init__(self, connections: Connections, handshake: Counted | None = None, **options: Any) -> None:
        """`handshake`: what has this connection's place until it is encrypted."""
        super().__init__(**options)
        self._all = connections
        self._handshake = handshake
        self._settings = connections.settings
        self.address = ""
        self.waiting_since: float | None = None
        """Since when no request is complete but for its body; None while one is answered."""

        self.held = 0
        """Bytes of the request that have come."""

        self.untaken = 0
        """Bytes of the answer that the client does not take, as far as they count."""

        self.complete = True
        """False from the first byte of a request to its last one."""

        self._in_header = False
        self._overhead = 0
        """Bytes of this request that were neither a whole header nor a body."""

        self._body = 0
        self._fields = 0
        self._deaf = False
        """Set once what still comes is dropped unread."""

        self._deadline = NEVER
        """Until when what is awaited must have come."""

        self._complete_by = NEVER
        self._taken_by = NEVER
        """Until when the client must have taken of the answer what it was sent."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.address = self._all.address(self.client[0]) if self.client else ""
        self.waiting_since = self.loop.time()
        self._deadline = self.waiting_since + self._settings["HTTP_HEADER_SECONDS"]
        self._all.open.add(self)
        if self._handshake:
            self._all.open.discard(self._handshake)
            self._handshake = None
        elif not self._all.admit(self):
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again")
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.open.discard(self)
        self._release_answer()
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline == NEVER and self.waiting_since is not None:  # the first byte after an answer
            self._deadline = self.loop.time() + self._settings["HTTP_HEADER_SECONDS"]
        for piece in self._pieces(data):
            body = self._body
            super().data_received(piece)
            if not self.complete and not self._deaf and body == self._body:
                self._overhead += len(piece)
                self._hold(len(piece))
                if self._overhead > self._settings["HTTP_HEADER_BYTES"]:
                    self._refuse_header()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """Cuts what may hold more of a header than there may be."""
        at = 0
        while at < len(data) and not self._deaf and not self.transport.is_closing():
            size = PIECE if self._in_header or self.complete else len(data)
            yield data[at : at + size] if at or size < len(data) else data
            at += size

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_header, self.complete = True, False
        self._overhead = self._fields = self._body = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields <= FIELDS:
            super().on_header(name, value)
        elif not self._deaf:
            self._refuse_header()

    def on_headers_complete(self) -> None:
        self._in_header = False
        if self._deaf:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # uvicorn would keep each further request; and of the first one's end it would not tell the app.
            self.cycle.keep_alive = False
            self._deaf = True
            return
        now = self.loop.time()
        self.waiting_since = None
        self._complete_by = now + self._settings["HTTP_REQUEST_SECONDS"]
        self._deadline = min(now + self._settings["HTTP_STALL_SECONDS"], self._complete_by)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if self._deaf:
            return
        self._deadline = min(self.loop.time() + self._settings["HTTP_STALL_SECONDS"], self._complete_by)
        if not self.cycle.response_complete:
            super().on_body(body)
            self._hold(len(body))
            if self._body > self._settings["HTTP_BODY_BYTES"]:
                most = self._settings["HTTP_BODY_BYTES"]
                self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {most} bytes")

    def on_message_complete(self) -> None:
        self.complete = True
        if not self._deaf:
            self._deadline = NEVER
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._release()
        self.waiting_since = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken_by = self.loop.time() + self._settings["HTTP_STALL_SECONDS"]
        # At most half of what there is: a log that is larger must reach a client that takes it.
        most = self._settings["HTTP_UNFINISHED_BYTES"] // 2
        self.untaken = min(self.transport.get_write_buffer_size(), most)
        self._all.hold(self.untaken)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken_by = NEVER
        self._release_answer()

    def look(self, now: float) -> None:
        """End the connection where the client is too slow."""
        if self.transport.is_closing():  # with an answer that was not taken yet
            self._taken_by = min(self._taken_by, now + self._settings["HTTP_STALL_SECONDS"])
        if now >= self._taken_by:
            self.transport.abort()
        elif now >= self._deadline:
            if self._deaf or (self.waiting_since is not None and not self._in_header):
                self.end()  # nothing is asked
            else:
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, "the rest of the request did not come in time")

    def end(self) -> None:
        """Close a connection on which nothing is answered; at once where it should be closed already."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self.transport.close()

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer, unless an answer is under way, and read no more of this connection."""
        self._all.refused += 1
        self._deaf = True
        self._deadline = self.loop.time() + LINGER_SECONDS
        self._release()
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.cycle.body.clear()
        if self.untaken or self.transport.is_closing() or (under_way and self.cycle.response_started):
            self._release_answer()  # connection_lost comes later
            self.transport.abort()
            return
        body = json.dumps({"message": message}).encode() + b"\n"
        fields = {
            "Content-Type": "application/json",
            "Content-Length": len(body),
            "Connection": "close",
            REQUEST_ID: call_of(self.scope or {"headers": []}).request_id,
            **USUAL_HEADERS,
            **error_headers(status),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.transport.write(STATUS_LINE[status] + lines.encode() + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if not self._deaf:
            self.refuse(HTTPStatus.BAD_REQUEST, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: each client could fill the log. Its request is answered without the upgrade."""

    def _refuse_header(self) -> None:
        most = self._settings["HTTP_HEADER_BYTES"]
        if len(self.url) > most // 2:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"the address has more than {most // 2} bytes")
        else:
            message = f"the header has more than {most} bytes or {FIELDS} fields"
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)

    def _hold(self, size: int) -> None:
        self.held += size
        self._all.hold(size)

    def _release_answer(self) -> None:
        self._all.held -= self.untaken
        self.untaken = 0

    def _release(self) -> None:
        self._all.held -= self.held
        self.held = 0


def _address(host: str) -> Address | None:
    """Parse an address; return None for a socket file, which has none."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(address: Address | None) -> str:
    """An address, of IPv6 without the half that a host may choose."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "")
