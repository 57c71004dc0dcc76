"""Whom an engine that isolates nothing answers."""

from __future__ import annotations

import pytest

from pman.web.loopback import is_among


@pytest.mark.parametrize(
    "header",
    ["localhost", "LOCALHOST", "localhost:5010", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:5010", "[0::1]"],
)
def test_every_name_of_this_machine_to_itself_is_taken(header: str) -> None:
    assert is_among(frozenset(), header)


@pytest.mark.parametrize(
    "header",
    [
        "", ":5010", "evil.example", "evil.example:5010", "localhost.evil.example", "x@localhost",
        "10.0.0.1:5010", "[::2]", "[::1", "::1]", "[::1]x", "localhost:1:2", "localhost:x", "localhost/",
    ],
)  # fmt: skip
def test_any_other_is_refused(header: str) -> None:
    assert not is_among(frozenset({"a.name"}), header)


@pytest.mark.parametrize("header", ["pman.example.org", "PMAN.example.org:5010", "[2001:db8::7]:80"])
def test_a_name_that_the_site_allows_is_taken_on_any_port(header: str) -> None:
    assert is_among({"pman.example.org", "2001:db8::7"}, header)
