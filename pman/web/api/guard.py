"""Whether a page of another site may have sent what changes something.

A browser lets any page send a form to any address, and with it what the browser knows: that one is in
this network. So what changes something by the API takes what no form can send: a method or a media type
for which the browser first asks by OPTIONS, and pman answers that with no leave (no
Access-Control-Allow-*). Fetch Metadata and Origin say it once more, where the browser sends them.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from pman.errors import CrossSite


def same_origin(headers: Headers) -> None:
    """Raises CrossSite for what a page of another site has sent, by the browser's word."""
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in ("same-origin", "none"):
        raise CrossSite(f"Sec-Fetch-Site: {site!r}: only pman's own page may do this from a browser")
    origin = headers.get("Origin")
    if origin is not None and not _same(origin, headers.get("Host", "")):
        raise CrossSite(
            f"Origin: {origin!r}: only pman's own page may do this from a browser",
            "a proxy before pman has to hand on the Host that the browser asked for",
        )


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
