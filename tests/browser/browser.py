"""A real browser, or why there is none."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import engines
from tests.browser import still

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
def browser(directory: Path) -> Iterator[Browser]:
    """`directory`: for a script that starts it."""
    script = directory / "browser"
    command = shlex.join([sys.executable, still.__file__, executable()])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=script, args=list(QUIET))
        try:
            yield started
        finally:
            started.close()
