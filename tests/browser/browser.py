"""A real browser, or why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import engines

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Nothing of its own, so that all it asks for is what the page asks for."""


def executable() -> str:
    """Skips where there is none; fails where the engine of these tests is required (see tests/engines)."""
    named = os.environ.get("PMAN_TEST_BROWSER")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    told = f"no browser: none of {', '.join(NAMES)} is on PATH; PMAN_TEST_BROWSER names another"
    if "docker" in engines.REQUIRED:
        pytest.fail(told)
    pytest.skip(told)


@contextmanager
def browser() -> Iterator[Browser]:
    path = executable()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            yield started
        finally:
            started.close()
