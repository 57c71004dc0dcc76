"""Several sources as one stream: nothing is lost, nothing waits for a client that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pman.errors import EngineUnreachable
from pman.executors.shared.multiplex import AHEAD, Sources, multiplexed, prefixed
from tests.live import DEADLINE


async def chunks(*given: bytes) -> AsyncGenerator[bytes]:
    for chunk in given:
        yield chunk


async def test_the_chunks_of_all_sources_come_and_of_each_in_order() -> None:
    numbers = [b"%d" % number for number in range(3 * AHEAD)]

    async def feed(sources: Sources) -> None:
        sources.add("a", chunks(*(b"a" + number for number in numbers)))
        await asyncio.sleep(0)
        assert "a" in sources and "b" not in sources
        sources.add("b", chunks(*(b"b" + number for number in numbers)))
        await sources.ended()

    found = [chunk async for chunk in multiplexed(feed)]

    assert [chunk[1:] for chunk in found if chunk.startswith(b"a")] == numbers
    assert [chunk[1:] for chunk in found if chunk.startswith(b"b")] == numbers


async def test_a_client_that_goes_while_the_queue_is_full_leaves_nothing_behind() -> None:
    before, closed = asyncio.all_tasks(), []

    async def endless(name: str) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"line\n"
        finally:
            closed.append(name)

    async def feed(sources: Sources) -> None:
        sources.add("a", endless("a"))
        sources.add("b", prefixed("b", endless("b")))
        await sources.ended()

    stream = multiplexed(feed)
    assert await anext(stream)
    for _ in range(3 * AHEAD):  # the sources are faster than the client
        await asyncio.sleep(0)

    await asyncio.wait_for(stream.aclose(), DEADLINE)

    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert sorted(closed) == ["a", "b"]


@pytest.mark.parametrize("within", [None, 5.0])
async def test_what_keeps_a_source_from_its_end_ends_the_stream_at_once(within: float | None) -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield b"one"
        raise EngineUnreachable("gone")

    async def silent() -> AsyncGenerator[bytes]:
        await asyncio.Event().wait()
        yield b"never"

    async def feed(sources: Sources) -> None:
        sources.add("a", silent())
        sources.add("b", failing())
        await sources.ended(within)

    stream = multiplexed(feed)

    assert await anext(stream) == b"one"
    with pytest.raises(EngineUnreachable, match="gone"):
        await asyncio.wait_for(anext(stream), 2)


async def test_what_does_not_end_in_time_is_left() -> None:
    async def silent() -> AsyncGenerator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async def feed(sources: Sources) -> None:
        sources.add("a", silent())
        await sources.ended(0.01)

    assert [chunk async for chunk in multiplexed(feed)] == [b"one"]


@given(st.lists(st.binary(max_size=5) | st.sampled_from([b"\n", b"a\nb"])))
def test_each_line_bears_the_name_whatever_the_chunks(parts: list[bytes]) -> None:
    async def collected() -> bytes:
        return b"".join([chunk async for chunk in prefixed("w", chunks(*parts))])

    text = b"".join(parts)
    lines = text.split(b"\n")[: None if not text.endswith(b"\n") and text else -1]

    assert asyncio.run(collected()) == b"".join(b"[w] " + line + b"\n" for line in lines)
