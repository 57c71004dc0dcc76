"""What is remembered of containers, before an engine whose events come when the test wants."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pman.errors import ConnectionCut, EngineUnreachable
from pman.executors.docker import cache as module
from pman.executors.docker.api import Api
from pman.executors.docker.cache import Cache
from pman.executors.shared.bounded import Bounded
from pman.job import JID_LABEL
from tests.live import DEADLINE


class Engine:
    """Docker's API, as much of it as the cache asks for."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.streams: list[asyncio.Queue[bytes | None]] = []
        self.queries: list[dict[str, str]] = []
        self.refusal = 0
        app = web.Application()
        app.router.add_get("/version", self._version)
        app.router.add_get("/v1.41/_ping", self._ping)
        app.router.add_get("/v1.41/events", self._events)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def up(self) -> None:
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def down(self) -> None:
        self.cut()
        await self._runner.cleanup()

    def tell(self, jid: str, action: str = "die") -> None:
        """An event of one of pman's containers."""
        self.say({"Action": action, "Actor": {"Attributes": {JID_LABEL: jid, "name": jid}}})

    def say(self, event: object) -> None:
        self.send(json.dumps(event).encode() + b"\n")

    def send(self, text: bytes) -> None:
        for stream in self.streams:
            stream.put_nowait(text)

    def cut(self) -> None:
        while self.streams:
            self.streams.pop().put_nowait(None)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.12"})

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Date": "Sun, 06 Nov 1994 08:49:37 GMT"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        if self.refusal:
            return web.json_response({"message": "you may not"}, status=self.refusal)
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.streams.append(queue)
        while text := await queue.get():
            await response.write(text)
        return response


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "engine.sock")
    await engine.up()
    yield engine
    await engine.down()


@pytest.fixture
async def api(engine: Engine) -> AsyncIterator[Api]:
    api = Api("Docker", f"http+unix:/{engine.socket}", None, 5)
    yield api
    await api.close()


@pytest.fixture
async def cache(engine: Engine, api: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cache]:
    """With the engine's events."""
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.05)
    cache = Cache(api)
    await connected(cache)
    yield cache
    await cache.close()


async def until(holds: Callable[[], Any], seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while True:
        if holds():
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def connected(cache: Cache) -> None:
    def keeps() -> bool:
        learn(cache, "the-first")
        return cache.revision("the-first") is not None

    await until(keeps)
    cache.forget("the-first")


def learn(cache: Cache, jid: str, answer: bytes = b"{}") -> None:
    with cache.asking(jid) as ask:
        ask.answer = answer


def known(cache: Cache, jid: str) -> bool:
    """All ways to ask agree."""
    answers = {cache.inspection(jid) is None, cache.revision(jid) is None, cache.age(jid) is None}
    assert len(answers) == 1
    return answers == {False}


def age(cache: Cache, jid: str, seconds: float) -> None:
    """As if it had been asked for so long ago."""
    revision, asked = cache._revisions[jid]
    cache._revisions[jid] = revision, asked - seconds


# --- what is known -----------------------------------------------------------------------------------


async def test_an_answer_is_remembered_with_its_revision_and_its_age(cache: Cache) -> None:
    learn(cache, "a", b"one")

    assert cache.inspection("a") == b"one"
    assert cache.revision("a") is not None
    assert 0 <= (cache.age("a") or -1) < 5
    assert not known(cache, "b")


async def test_a_revision_is_another_one_where_the_answer_is_another_one(cache: Cache) -> None:
    learn(cache, "a", b"one")
    first = cache.revision("a")
    learn(cache, "a", b"two")
    second = cache.revision("a")
    learn(cache, "a", b"one")

    assert first != second
    assert cache.revision("a") == first


async def test_an_event_makes_it_forget_this_job_and_no_other(engine: Engine, cache: Cache) -> None:
    learn(cache, "a")
    learn(cache, "b")

    engine.tell("a", "rename")

    await until(lambda: cache.revision("a") is None)
    assert cache.inspection("a") is None
    assert cache.inspection("b") == b"{}"


async def test_events_of_other_containers_and_halves_of_events_do_no_harm(
    engine: Engine, cache: Cache
) -> None:
    learn(cache, "a")
    learn(cache, "b")
    event = json.dumps({"Actor": {"Attributes": {JID_LABEL: "b"}}}).encode()

    engine.say({"Action": "die", "Actor": {"Attributes": {"name": "a"}}})
    engine.say({"Action": "die", "Actor": {"Attributes": {f"{JID_LABEL}.more": "a"}}})
    engine.send(b"\n" + event[:20])
    engine.send(event[20:] + b"\n")

    await until(lambda: cache.revision("b") is None)
    assert cache.inspection("a") == b"{}"


async def test_what_happens_while_the_engine_is_asked_is_not_lost(engine: Engine, cache: Cache) -> None:
    learn(cache, "b")

    with cache.asking("a") as first, cache.asking("a") as second:
        first.answer = b"running"
        second.answer = b"running"
        engine.tell("a")
        engine.tell("b")
        await until(lambda: cache.revision("b") is None)

    assert not known(cache, "a")
    learn(cache, "a", b"exited")
    assert cache.inspection("a") == b"exited"


async def test_of_two_that_ask_before_and_after_an_event_the_later_is_kept(
    engine: Engine, cache: Cache
) -> None:
    with cache.asking("a") as early:
        cache.forget("a")
        learn(cache, "a", b"exited")
        early.answer = b"running"

    assert cache.inspection("a") == b"exited"


async def test_an_answer_without_a_container_is_not_kept(cache: Cache) -> None:
    with cache.asking("a"):
        pass

    assert cache.revision("a") is None


async def test_after_a_while_the_engine_is_asked_again_and_the_revision_stays(cache: Cache) -> None:
    learn(cache, "a", b"one")
    before = cache.revision("a")

    age(cache, "a", module.MAX_AGE_SECONDS)
    assert not known(cache, "a")

    learn(cache, "a", b"one")
    assert cache.revision("a") == before


# --- connections -------------------------------------------------------------------------------------


async def test_events_are_asked_for_from_a_second_before_by_the_clock_of_the_engine(
    engine: Engine, cache: Cache
) -> None:
    assert engine.queries[0]["since"] == str(784111777 - 1)
    assert json.loads(engine.queries[0]["filters"]) == {"type": ["container"]}


async def test_without_events_nothing_is_remembered_and_after_a_reconnect_all_is_asked_again(
    engine: Engine, cache: Cache
) -> None:
    learn(cache, "a")

    engine.cut()
    await until(lambda: cache.revision("a") is None)
    learn(cache, "a")
    await connected(cache)

    assert cache.revision("a") is None
    learn(cache, "a")
    assert cache.inspection("a") == b"{}"


async def test_what_was_asked_before_a_reconnect_is_not_kept_after_it(engine: Engine, cache: Cache) -> None:
    with cache.asking("a") as ask:
        engine.cut()
        await until(lambda: cache._stream is None)
        await connected(cache)
        ask.answer = b"old"

    assert cache.revision("a") is None


async def test_an_engine_that_gives_no_events_is_told_once_and_asked_each_time(
    engine: Engine, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.01)
    engine.refusal = 403
    cache = Cache(api)

    learn(cache, "a")
    await until(lambda: len(engine.queries) > 2)
    learn(cache, "a")

    assert cache.revision("a") is None
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in told] == [
        "polls ask Docker for now, since its events do not come: 403: you may not"
    ]
    await cache.close()


async def test_what_is_no_event_ends_the_trust_in_a_connection(engine: Engine, cache: Cache) -> None:
    learn(cache, "a")

    engine.send(b"<html>" + JID_LABEL.encode() + b"\n")

    await until(lambda: cache.revision("a") is None)
    await connected(cache)
    assert len(engine.queries) == 2


async def test_an_engine_that_does_not_answer_is_no_longer_believed(engine: Engine, cache: Cache) -> None:
    learn(cache, "a")

    with pytest.raises(EngineUnreachable, match="cut"), cache.asking("b"):
        raise ConnectionCut("cut")

    assert cache.revision("a") is None
    await connected(cache)
    assert len(engine.queries) == 2


async def test_an_engine_that_cannot_tell_of_one_container_is_believed_of_the_others(cache: Cache) -> None:
    learn(cache, "a")

    with pytest.raises(EngineUnreachable, match="500"), cache.asking("b"):
        raise EngineUnreachable("500")

    assert cache.inspection("a") == b"{}"


async def test_an_engine_that_does_not_tell_of_a_new_container_is_not_believed_until_it_does(
    engine: Engine, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(cache, "a")

    monkeypatch.setattr(module, "EVENT_DEADLINE_SECONDS", 60)
    with cache.creating("b"):
        pass
    assert cache.inspection("a") == b"{}"
    monkeypatch.setattr(module, "EVENT_DEADLINE_SECONDS", -1)
    with cache.creating("c"):
        pass
    assert cache.inspection("a") is None

    await until(lambda: len(engine.queries) == 2 and engine.streams)
    learn(cache, "a")
    assert cache.inspection("a") is None
    engine.tell("d")
    await connected(cache)


async def test_of_a_container_that_is_created_before_the_events_come_none_is_awaited(
    engine: Engine, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVENT_DEADLINE_SECONDS", 0.0)
    cache = Cache(api)

    with cache.creating("a"):
        pass
    await until(lambda: engine.streams and cache._stream)  # who creates also listens from then on
    learn(cache, "b")

    assert cache.inspection("b") == b"{}"
    assert len(engine.queries) == 1
    await cache.close()


async def test_a_creation_that_is_told_or_refused_leaves_no_doubt(
    engine: Engine, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVENT_DEADLINE_SECONDS", 0.0)
    learn(cache, "a")

    with cache.creating("b"):
        engine.tell("b", "create")
        await until(lambda: "b" not in cache._awaited)
    with pytest.raises(KeyError), cache.creating("c"):
        raise KeyError

    assert cache.inspection("a") == b"{}"


# --- bounds ------------------------------------------------------------------------------------------


async def test_the_last_used_inspections_are_kept_and_the_revisions_of_all(
    cache: Cache,
) -> None:
    cache._inspections = Bounded(25, getsizeof=len)
    for jid in "abc":
        learn(cache, jid, jid.encode() * 10)
        assert cache.inspection("a")

    assert [cache.inspection(jid) for jid in "abc"] == [b"a" * 10, None, b"c" * 10]
    assert cache.revision("b") is not None


async def test_the_number_of_revisions_is_bounded_and_old_ones_go(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REVISIONS", 3)
    for jid in "abcd":
        learn(cache, jid)
    assert [cache.revision(jid) is not None for jid in "abcd"] == [False, True, True, True]

    for jid in "bcd":
        age(cache, jid, 2 * module.MAX_AGE_SECONDS)
    learn(cache, "e")

    assert list(cache._revisions) == list(cache._inspections) == ["e"]
    assert cache._inspections.currsize == 2


async def test_an_old_answer_that_goes_leaves_the_one_that_is_on_its_way(cache: Cache) -> None:
    learn(cache, "a", b"old")
    age(cache, "a", 2 * module.MAX_AGE_SECONDS)

    with cache.asking("a") as ask:
        ask.answer = b"new"
        learn(cache, "b")

    assert cache.inspection("a") == b"new"
