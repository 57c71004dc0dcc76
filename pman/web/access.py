"""Whom pman answers: who brings the site's token; without one, every program, and browsers at its own names.

All requests come by here before their route is called, also those that have none: what is open is listed,
and everything else is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Quart, Response, g, request

from pman.errors import CrossSite, Forbidden, Unauthorised
from pman.settings import Settings
from pman.web.api import guard
from pman.web.audit import Call, call_of
from pman.web.login import COOKIE, FULL, Sessions, Tokens, token_of
from pman.web.loopback import is_among, plain
from pman.web.slowdown import SlowDown

_OPEN = {"alive", "ready", "page.static", "page.login", "page.cancel"}
"""Endpoints without a login, or with one of their own."""

_READING = {"render", "page.rendered", "page.forget"}
"""Endpoints that change nothing on the engine, whatever their method."""

_ACTIONS = {
    "submit": "submission",
    "delete": "deletion",
    "delete_job": "deletion",
    "page.cancel": "deletion",
}
_SAFE = ("GET", "HEAD", "OPTIONS")

_OF_BROWSERS = {
    b"origin", b"referer", b"accept-language", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest",
}  # fmt: skip
"""Headers of which a browser sends at least one, whatever a page has it do; programs send none by themselves.

Accept-Language is in all requests (Fetch, HTTP-network-or-cache fetch); Sec-Fetch-* only by HTTPS and to
this machine itself.
"""


class Access:
    """One for a process. Everything that lets a request in asks it."""

    def __init__(self, settings: Settings, *, only_own_hosts: bool) -> None:
        """`only_own_hosts`: programs, too, must use a name of the site's own."""
        self.tokens = Tokens(settings)
        self.sessions = Sessions()
        self.slowdown = SlowDown()
        self._v1_asks = settings["AUTH_V1"]
        self._hosts = frozenset(map(plain, settings["ALLOWED_HOSTS"]))
        self._only_own_hosts = only_own_hosts

    def stand_before(self, app: Quart) -> None:
        @app.before_request
        async def admit() -> None:
            call = call_of(request.scope)
            call.action = _ACTIONS.get(request.endpoint or "", "")
            call.names(**(request.view_args or {}))
            await self._admit(call)

        @app.after_request
        async def end_with_session(response: Response) -> Response:
            stream = response.timeout is None
            if stream and "cookie" in g and not self.sessions.answers(g.cookie):
                return Response("", 401, {"WWW-Authenticate": "Bearer"})  # it was ended meanwhile
            return response

    async def _admit(self, call: Call) -> None:
        """Raises Unauthorised, TooManyWrong, Forbidden, CrossSite."""
        if self._only_own_hosts:
            self._check_host()
        if self._asks():
            if request.endpoint not in _OPEN:
                await self._log_in(call)
        elif is_of_browser(dict(request.scope["headers"])):
            self._check_host()
        if request.method not in _SAFE:
            guard.same_origin(request.headers)

    def may_poll(self, scope: Any) -> bool:
        """Say whether a GET of a job by v1 is let in without a look at what only Quart reads."""
        headers = dict(scope["headers"])
        if self._only_own_hosts:
            return False
        if not (self.tokens and self._v1_asks):
            return not is_of_browser(headers)
        return bool(self.tokens.name_of(token_of(headers.get(b"authorization", b""))))

    def _asks(self) -> bool:
        """Say whether this request's route needs a token."""
        rule = request.url_rule.rule if request.url_rule else ""
        return bool(self.tokens) and (self._v1_asks or not rule.startswith("/api/v1/"))

    async def _log_in(self, call: Call) -> None:
        """Raises Unauthorised, TooManyWrong, Forbidden.

        A browser behind a proxy with a login of its own sends that along with all that it asks for: beside
        a session it is nothing, and of the page it is no wrong token, of which the proxy's address has few.
        """
        given = request.headers.get("Authorization")
        token = token_of((given or "").encode("latin1", "replace"))
        reading = request.method in _SAFE or request.endpoint in _READING
        call.who = self.tokens.name_of(token)
        if not call.who and reading:  # what a session may change, it does by the page's forms
            g.cookie = request.cookies.get(COOKIE, "")
            call.who = self.sessions.name_of(g.cookie)
        if not call.who and given is not None and not (request.endpoint or "").startswith("page."):
            await self.bring(call, token)
        if not call.who:
            raise Unauthorised(
                "this needs the site's token: Authorization: Bearer TOKEN, or http://pman:TOKEN@host/",
                "it is AUTH_TOKEN of pman; pfcon: COMPUTE_SERVICE_URL=http://pman:TOKEN@pman:5010/api/v1/; "
                "the command line: PMAN_TOKEN",
            )
        if not reading and call.who != FULL:
            raise Forbidden("this token may only read", f"{FULL} of pman may do this, {call.who} may not")

    async def bring(self, call: Call, token: bytes) -> None:
        """Note which token this is. Raises Unauthorised, late where many were wrong, or TooManyWrong."""
        call.who = self.tokens.name_of(token)
        if not call.who:
            await self.slowdown.wrong(call.address)
            raise Unauthorised("this is not the site's token", f"{FULL} of pman is the token")

    def _check_host(self) -> None:
        """Raises CrossSite for a name that may have been made to mean this address (DNS rebinding)."""
        if not is_among(self._hosts, request.host):
            raise CrossSite(
                f"Host: {request.host[:256]!r}: without a token, browsers use pman under its own names only",
                "localhost, and what ALLOWED_HOSTS of pman names; or give it a token: AUTH_TOKEN",
            )


def is_of_browser(headers: Mapping[bytes, bytes]) -> bool:
    """Say whether a browser sends this, by what none of its pages can leave out; names are in lower case."""
    return not _OF_BROWSERS.isdisjoint(headers) or headers.get(b"user-agent", b"").startswith(b"Mozilla/")
