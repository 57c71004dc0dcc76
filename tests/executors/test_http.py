"""HTTP to an engine: what its errors tell."""

from __future__ import annotations

import pytest

from pman.errors import ConfigError, EngineUnreachable
from pman.executors.shared.http import Http

ADDRESSES = [
    ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    ("http://name:secret@127.0.0.1:1/base", "http://127.0.0.1:1/base"),
    ("http://name:se@cret@127.0.0.1:1", "http://127.0.0.1:1"),
    ("http://name:se/cret@127.0.0.1:1", "http://127.0.0.1:1"),
    ("http://name:secret@127.0.0.1:port", "http://127.0.0.1:port"),
    ("http://secret@127.0.0.1:1", "http://127.0.0.1:1"),
    ("unix:///nowhere/a@secret.sock", "unix:///nowhere/a@secret.sock"),
]


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
async def test_an_error_shows_where_the_engine_should_be_and_no_password(address: str, shown: str) -> None:
    http = Http("An engine", address, 5, setting="A_SETTING")

    try:
        with pytest.raises(EngineUnreachable) as error:
            await http.call("GET", "/a")
    finally:
        await http.close()

    assert http.address == shown
    assert f"at {shown}: " in str(error.value)
    assert "cret" not in f"{error.value} {error.value.hint}" or address == shown


async def test_an_address_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError, match="use unix:///path") as error:
        Http("An engine", "ftp://name:secret@a", 5, setting="A_SETTING")

    assert "secret" not in str(error.value)
