"""One browser and one pman for all tests of the page; what a browser complains of fails the test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

from tests import engines
from tests.a_job import site_templates
from tests.browser.browser import browser
from tests.live import Live, Server, live

TOKEN = "a-token-of-this-test"  # noqa: S105  (of no other pman)
SITE = {
    "docker/container.yaml.j2": '{% extends "builtin/docker/container.yaml.j2" %}\n'
    "{% block extra %}\n  ReadonlyRootfs: true\n{% endblock %}\n",
}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Not for the session: as long as it is there, nothing else in the process can have an event loop."""
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def docker(chromium: Browser, storebase: Path) -> Iterator[Live]:
    """A pman that anybody may use, with the shipped templates."""
    with live(engines.need("docker"), storebase) as running:
        yield running


@pytest.fixture(scope="module")
def site(chromium: Browser, storebase: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A pman with a token, and templates of its own."""
    own = site_templates(tmp_path_factory.mktemp("site"), SITE)
    settings = {"AUTH_TOKEN": TOKEN, "PMAN_TEMPLATES": str(own)}
    with live(engines.need("docker"), storebase, **settings) as running:
        yield running


ENDED_BY_LEAVING = ("htmx:sendAbort,", "htmx:afterRequest,")
"""What htmx tells of a request that was on its way when the page was left."""


class Visit:
    """A browser's window at one pman, and what went wrong in it."""

    def __init__(self, context: BrowserContext, server: Server) -> None:
        self.page: Page = context.new_page()
        self.server = server
        self.root = server.address
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(ENDED_BY_LEAVING):
            self.complaints.append(f"{message.text} {message.location.get('url')}")

    def forgive(self, pattern: str) -> None:
        """What the test itself has brought about."""
        self.complaints = [told for told in self.complaints if not re.match(pattern, told)]

    def go(self, path: str) -> Page:
        self.page.goto(self.root + path)
        return self.page

    def log_in(self, token: str) -> None:
        """At the first page, which asks for the site's token."""
        self.go("/").get_by_label("The site's token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Forget the token").wait_for()
        self.forgive("Failed to load resource.* 401 ")

    def check(self) -> None:
        assert not self.complaints, self.server.output()[-4000:]
        assert self.requests
        assert [url for url in self.requests if not url.startswith((f"{self.root}/", "blob:"))] == []


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a window of its own, with options of Playwright's for it."""
    with ExitStack() as stack:
        visits: list[Visit] = []

        def opened(running: Live, **options: Any) -> Visit:
            context = stack.enter_context(chromium.new_context(**options))
            context.set_default_timeout(60_000)
            visits.append(Visit(context, running.server))
            if token := running.settings.get("AUTH_TOKEN"):
                visits[-1].log_in(token)
            return visits[-1]

        yield opened
        for each in visits:
            each.check()
