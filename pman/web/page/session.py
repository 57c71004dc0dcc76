"""The page's session: a browser that has brought one of the site's tokens, for as long as a shift.

What came from a page of another site is refused before that, token or not.
"""

from __future__ import annotations

from quart import Response, request

from pman.errors import CrossSite, Forbidden, Unauthorised
from pman.web.access import Access
from pman.web.api import guard
from pman.web.audit import call_of
from pman.web.login import COOKIE, FULL


class Session:
    """Return that of the request which is being answered."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def begun(self) -> bool:
        """Says whether this request's browser has brought a token."""
        return bool(self._token)

    @property
    def wanting(self) -> bool:
        """Says whether a form that changes something has to ask for the token."""
        return bool(self._access.tokens) and self._token != FULL

    async def admit(self, given: str) -> None:
        """A form that changes something; `given` is what it says the token is.

        Raises CrossSite, Unauthorised, TooManyWrong, Forbidden.
        """
        own_page()
        call = call_of(request.scope)
        call.who = self._token
        if not self.wanting:
            return
        if not given:
            raise Unauthorised("the site's token is needed", "AUTH_TOKEN of pman is the token")
        await self._access.bring(call, given.strip().encode())
        if call.who != FULL:
            raise Forbidden("this token may only read", f"{FULL} of pman may do this, {call.who} may not")

    async def bring(self, given: str) -> None:
        """A form that only logs in. Raises CrossSite, Unauthorised, TooManyWrong."""
        own_page()
        await self._access.bring(call_of(request.scope), given.strip().encode())

    def begin(self, response: Response) -> None:
        """For this browser, until it is closed, or a shift has passed."""
        if who := call_of(request.scope).who:
            self._access.sessions.end(request.cookies.get(COOKIE, ""))
            cookie = self._access.sessions.begin(who)
            response.set_cookie(
                COOKIE, cookie, httponly=True, samesite="Strict", secure=request.scheme == "https"
            )

    def end(self, response: Response) -> None:
        """Here as in the browser: a copy of its cookie is worth nothing from now on."""
        self._access.sessions.end(request.cookies.get(COOKIE, ""))
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict")

    @property
    def _token(self) -> str:
        return self._access.sessions.name_of(request.cookies.get(COOKIE, ""))


def own_page() -> None:
    """Raises CrossSite for a form that this server's page did not send.

    Unlike the API, which takes what no form can send, this takes forms: so a browser has to say where
    each comes from, as all of them do.
    """
    if "Sec-Fetch-Site" not in request.headers and "Origin" not in request.headers:
        raise CrossSite(
            "the browser does not say which page sent this form", "for a program there is the API"
        )
    guard.same_origin(request.headers)
