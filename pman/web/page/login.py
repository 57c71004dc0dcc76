"""Where the page asks for the site's token, and forgets it."""

from __future__ import annotations

from typing import cast

from quart import Blueprint, Response, redirect, request

from pman.errors import PmanError
from pman.web.page.session import Session, own_page
from pman.web.page.view import View


def routes(page: Blueprint, view: View, session: Session) -> None:
    @page.post("/login")
    async def login() -> Response:
        form = await request.form
        to = _own_path(form.get("to", ""))
        try:
            await session.bring(form.get("token", ""))
        except PmanError as error:
            return asked(view, to, error)
        answer = cast(Response, redirect(to, 303))
        session.begin(answer)
        return answer

    @page.post("/forget")
    async def forget() -> Response:
        own_page()
        answer = cast(Response, redirect("/", 303))
        session.end(answer)
        return answer


def asked(view: View, to: str, error: PmanError) -> Response:
    """The form that asks for the token; `to`: where it leads then. With 401, or what is wrong."""
    if "HX-Request" in request.headers:  # a part of a page, which is shown anew as a whole
        return Response("", error.status, {"HX-Refresh": "true"})
    wrong = error if request.endpoint == "page.login" else None
    answer = view.answer("login.html", status=error.status, section="", to=to, error=wrong)
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def here() -> str:
    """The address that is asked for, to come back to; of a form, the page's first one."""
    query = request.query_string.decode("ascii", "replace")
    return f"{request.path}?{query}" if query else request.path if request.method == "GET" else "/"


def _own_path(to: str) -> str:
    """Only an address of this page, for the browser as for us: `//host` and `/\\host` are another site's."""
    return to if to.startswith("/") and to.isprintable() and not to.startswith(("//", "/\\")) else "/"
