from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that a test starts end by Ctrl-C also where the tests themselves run in the background.

    A shell without job control starts what it puts there with SIGINT ignored, and so would all of its
    children; a signal that has a handler is their default again.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
