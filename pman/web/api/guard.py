"""Who may change something: the site's token where there is one, and no page of another site.

A browser lets any page send a form to any address, and with it what the browser knows: that one is in
this network. So what changes something takes what no form can send: a method, a media type or a header
for which the browser first asks by OPTIONS, and pman answers that with no leave (no
Access-Control-Allow-*). Fetch Metadata and Origin say it once more, where the browser sends them.

API v1 takes no token, since pfcon sends none. It is not reached by a form either: its POST takes
application/json only, and DELETE is no method of a form.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from quart import request
from werkzeug.datastructures import Headers

from pman.errors import CrossSite, Unauthorised
from pman.settings import Settings

HEADER = "X-Requested-With"
"""Stands in a page's own requests, with any value; htmx sends HX-Request by itself."""

_CUSTOM = (HEADER, "HX-Request")
_FORMS = ("GET", "HEAD", "POST")
"""The methods that a page may send anywhere without asking first (Fetch: CORS-safelisted)."""


def check(settings: Settings) -> None:
    """Check the request that is being answered. Raises CrossSite, Unauthorised."""
    same_origin(request.method, request.headers, json=request.is_json)
    authorised(request.headers, settings["AUTH_TOKEN"])


def same_origin(method: str, headers: Headers, *, json: bool) -> None:
    """Raises CrossSite for what a page of another site may have sent; `json`: what the body is said to be."""
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in ("same-origin", "none"):
        raise CrossSite(f"Sec-Fetch-Site: {site!r}: only pman's own page may do this from a browser")
    origin = headers.get("Origin")
    if origin is not None and not _same(origin, headers.get("Host", "")):
        raise CrossSite(
            f"Origin: {origin!r}: only pman's own page may do this from a browser",
            "a proxy before pman has to hand on the Host that the browser asked for",
        )
    if method in _FORMS and not json and not any(name in headers for name in _CUSTOM):
        raise CrossSite(f"any page can send this; send application/json, or a header {HEADER}")


def authorised(headers: Headers, token: str | None) -> None:
    """Raises Unauthorised where the site has a token and the request has not."""
    if token is None:
        return
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not is_token(given, token):
        raise Unauthorised(
            "this needs the site's token: Authorization: Bearer TOKEN", "AUTH_TOKEN of pman is the token"
        )


def is_token(given: str, token: str) -> bool:
    # As bytes: compare_digest takes no text beyond ASCII, which a header or a form may hold.
    return hmac.compare_digest(given.strip().encode(), token.encode())


def _same(origin: str, host: str) -> bool:
    """Compares host and port alone: behind a proxy that ends TLS, pman does not know the scheme."""
    scheme = origin.partition("://")[0]
    return scheme in _PORTS and _address(origin, scheme) == _address(f"//{host}", scheme) != (None, None)


_PORTS = {"http": 80, "https": 443}


def _address(url: str, scheme: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port or _PORTS[scheme]
    except ValueError:  # a port that is none
        return None, None
