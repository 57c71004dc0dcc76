"""The feed over an engine whose jobs are what a test says; the real ones are in behaviour/test_api_v2.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from pman.engine.engine import Engine
from pman.engine.feed import REST_PER_LOOK, Event, Feed
from pman.errors import EngineUnreachable
from pman.job import JobDetails
from tests.a_job import a_job_details
from tests.live import DEADLINE


class Listed:
    """As far as the feed knows an engine."""

    def __init__(self, *jids: str) -> None:
        self.found = {jid: a_job_details(jid=jid) for jid in jids}
        self.away = False
        self.looks = 0

    async def jobs(self) -> Sequence[JobDetails]:
        self.looks += 1
        if self.away:
            raise EngineUnreachable("away")
        return list(self.found.values())


def feed(engine: Listed, **options: Any) -> Feed:
    return Feed(cast(Engine, engine), pause=0.001, **options)


@contextlib.asynccontextmanager
async def following(feed: Feed, since: str | None = None) -> AsyncIterator[AsyncIterator[Event]]:
    async with contextlib.aclosing(cast(Any, feed.subscribe(since))) as given:
        yield (event async for events in given for event in events)


async def told(events: AsyncIterator[Event], count: int) -> list[tuple[str, Any]]:
    """The next events, as their types and jobs."""
    return [_short(await asyncio.wait_for(anext(events), 30)) for _ in range(count)]


def _short(event: Event) -> tuple[str, Any]:
    rest = event.get("jids") or event.get("message")
    return event["type"], event["job"]["jid"] if "job" in event else rest


async def test_who_comes_is_told_all_jobs_and_then_what_happens() -> None:
    engine = Listed("one", "two")
    async with following(feed(engine)) as events:
        assert await told(events, 3) == [("added", "one"), ("added", "two"), ("synced", ["one", "two"])]

        engine.found["three"] = a_job_details(jid="three")
        assert await told(events, 1) == [("added", "three")]
        engine.found["one"] = a_job_details(jid="one", status="finishedWithError")
        assert await told(events, 1) == [("changed", "one")]
        del engine.found["two"]
        assert await told(events, 1) == [("removed", "two")]


async def test_who_comes_back_is_told_what_was_missed_even_when_nobody_followed_meanwhile() -> None:
    engine = Listed("one")
    source = feed(engine)
    async with following(source) as events:
        await anext(events)
        last = (await anext(events))["id"]
    engine.found = {"two": a_job_details(jid="two")}

    async with following(source, last) as events:
        assert await told(events, 2) == [("removed", "one"), ("added", "two")]


async def test_who_knows_nothing_that_is_kept_is_told_all_jobs_anew() -> None:
    engine = Listed("one")
    source = feed(engine, limit=2)
    async with following(source) as events:
        await anext(events)
        last = (await anext(events))["id"]
        for number in range(4):
            engine.found[str(number)] = a_job_details(jid=str(number))
        async with following(source, last) as late:
            await told(events, 2)
            assert (await told(late, 6))[-1] == ("synced", ["one", "0", "1", "2", "3"])
    for since in ("", "0-0", "x", f"{last}9", "nonsense-¹"):
        async with following(source, since) as events:
            assert (await told(events, 6))[-1][0] == "synced"


async def test_an_engine_that_is_away_is_told_once_and_all_jobs_when_it_is_back() -> None:
    engine = Listed("one")
    async with following(feed(engine)) as events:
        await told(events, 2)
        engine.away = True
        assert await told(events, 1) == [("unavailable", "away")]
        engine.found, engine.away = {"two": a_job_details(jid="two")}, False
        assert await told(events, 2) == [("added", "two"), ("synced", ["two"])]


async def test_who_comes_while_the_engine_is_away_hears_it() -> None:
    engine = Listed("one")
    engine.away = True
    async with following(feed(engine)) as events:
        assert await told(events, 1) == [("unavailable", "away")]


async def test_nobody_looks_where_nobody_follows_and_one_does_for_many() -> None:
    engine = Listed("one")
    source = feed(engine)
    async with following(source) as first, following(source) as second:
        await told(first, 2)
        await told(second, 2)
    looks = engine.looks
    await asyncio.sleep(0.05)

    assert engine.looks == looks


async def test_a_list_is_what_the_last_look_found_while_somebody_follows() -> None:
    engine = Listed("one")
    source = Feed(cast(Engine, engine), pause=60)
    async with following(source) as events:
        await told(events, 2)
        assert [details.info.jid for details in await source.jobs()] == ["one"]
        assert engine.looks == 1

    await source.jobs()
    assert engine.looks == 2


async def test_an_engine_that_is_away_has_no_list_though_somebody_follows() -> None:
    engine = Listed("one")
    source = feed(engine)
    async with following(source) as events:
        await told(events, 2)
        engine.away = True
        await told(events, 1)
        with pytest.raises(EngineUnreachable):
            await source.jobs()


async def test_looks_that_take_long_come_seldom() -> None:
    class Slow(Listed):
        """Each look takes its time, and notes for how long there was none before it."""

        def __init__(self) -> None:
            super().__init__("one")
            self.ended = 0.0
            self.rests: list[float] = []
            self.enough = asyncio.Event()

        async def jobs(self) -> Sequence[JobDetails]:
            self.rests.append(time.monotonic() - self.ended)
            if len(self.rests) == 3:
                self.enough.set()
            await asyncio.sleep(0.05)
            self.ended = time.monotonic()
            return await super().jobs()

    engine = Slow()
    async with following(feed(engine)) as events:
        await told(events, 2)
        await asyncio.wait_for(engine.enough.wait(), DEADLINE)

    assert min(engine.rests[1:]) >= REST_PER_LOOK * 0.04
