"""Who may change something by the page: whoever has brought the site's token, for as long as a shift.

The cookie is signed with the token itself: nothing is kept here, and another token ends all sessions.
What came from a page of another site is refused before that, token or not.
"""

from __future__ import annotations

from itsdangerous import TimestampSigner
from quart import Response, request

from pman.errors import CrossSite, Unauthorised
from pman.web.api import guard

COOKIE = "pman-session"
SESSION_SECONDS = 12 * 3600
"""Seconds for which the token is not asked for again."""


class Session:
    def __init__(self, token: str | None) -> None:
        """`token`: AUTH_TOKEN; none: whoever reaches the page may."""
        self._token = token
        self._signer = TimestampSigner(token, salt="pman.page") if token else None

    @property
    def begun(self) -> bool:
        """Says whether this request's browser has brought the token."""
        cookie = request.cookies.get(COOKIE, "")
        return self._signer is not None and self._signer.validate(cookie, max_age=SESSION_SECONDS)

    @property
    def wanting(self) -> bool:
        """Says whether a form that changes something has to ask for the token."""
        return self._token is not None and not self.begun

    def admit(self, given: str) -> None:
        """A form that changes something; `given` is what it says the token is.

        Raises CrossSite, Unauthorised.
        """
        own_page()
        if not self.wanting:
            return
        assert self._token is not None  # noqa: S101  (for the type checker)
        if not given:
            raise Unauthorised("the site's token is needed", "AUTH_TOKEN of pman is the token")
        if not guard.is_token(given, self._token):
            raise Unauthorised("this is not the site's token", "AUTH_TOKEN of pman is the token")

    def begin(self, response: Response) -> None:
        """For this browser, until it is closed."""
        if self._signer:
            value = self._signer.sign("signed-in").decode()
            response.set_cookie(
                COOKIE, value, httponly=True, samesite="Strict", secure=request.scheme == "https"
            )

    def end(self, response: Response) -> None:
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict")


def own_page() -> None:
    """Raises CrossSite for a form that this server's page did not send.

    Unlike the API, which takes what no form can send, this takes forms: so a browser has to say where
    each comes from, as all of them do.
    """
    if "Sec-Fetch-Site" not in request.headers and "Origin" not in request.headers:
        raise CrossSite(
            "the browser does not say which page sent this form", "for a program there is the API"
        )
    guard.same_origin(request.method, request.headers, json=True)
