"""HTTP to an engine: what its errors tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pman.errors import ConfigError, ConnectionCut, EngineUnreachable, TimedOut
from pman.executors.shared.http import Http, lines

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
    http = Http("An engine", address, 5, hint="See A_SETTING")

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
        Http("An engine", "ftp://name:secret@a", 5, hint="See A_SETTING")

    assert "secret" not in str(error.value)


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.close()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize(("answer", "error"), [(_cut, ConnectionCut), (_hang, TimedOut)])
async def test_a_call_that_no_answer_came_to_may_have_gone_through_and_the_error_says_so(
    tmp_path: Path,
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    error: type[Exception],
) -> None:
    server = await asyncio.start_unix_server(answer, tmp_path / "a.sock")
    http = Http("An engine", f"unix://{tmp_path}/a.sock", 1, hint="See A_SETTING")

    try:
        with pytest.raises(ConnectionCut) as raised:
            await http.call("POST", "/a")
    finally:
        await http.close()
        server.close()

    assert type(raised.value) is error


async def test_a_stream_is_read_by_line_whatever_the_chunks() -> None:
    async def chunks() -> Any:
        for chunk in (b'{"a"', b': 1}\n{"a": 2}\n\n{"a"', b": 3}\n", b'{"a": 4'):
            yield chunk

    assert [line async for line in lines(chunks())] == [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}']
