"""Whom an engine that isolates nothing answers."""

from __future__ import annotations

import pytest

from pman.web.loopback import is_of_loopback


@pytest.mark.parametrize(
    "header",
    ["localhost", "LOCALHOST", "localhost:5010", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:5010", "[0::1]"],
)
def test_every_name_of_this_machine_to_itself_is_taken(header: str) -> None:
    assert is_of_loopback(header)


@pytest.mark.parametrize(
    "header",
    [
        "", ":5010", "evil.example", "evil.example:5010", "localhost.evil.example", "x@localhost",
        "10.0.0.1:5010", "[::2]", "[::1", "::1]", "[::1]x", "localhost:1:2", "localhost:x", "localhost/",
    ],
)  # fmt: skip
def test_any_other_is_refused(header: str) -> None:
    assert not is_of_loopback(header)
