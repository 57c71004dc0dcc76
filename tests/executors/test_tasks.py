"""Work that callers share, that is repeated, and that ends with its owner."""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import pairwise

import pytest

from pman.errors import EngineUnreachable
from pman.executors.shared.tasks import Attempts, Background, SingleFlight, cancel, repeat, until_reachable
from tests.live import DEADLINE


class Call:
    """Counts its beginnings; each goes on until the test lets it end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        await self.may_end.wait()
        if self._error:
            raise self._error
        return mine


async def test_all_who_want_a_key_await_one_call_and_the_next_after_it_begins_anew() -> None:
    flight, call = SingleFlight[str, int](), Call()
    callers = [asyncio.create_task(flight.run("a", call)) for _ in range(20)]
    await asyncio.sleep(0)
    assert "a" in flight and "b" not in flight

    call.may_end.set()

    assert await asyncio.gather(*callers) == [1] * 20
    assert "a" not in flight
    assert await flight.run("a", call) == 2


async def test_who_comes_right_after_the_end_of_a_call_begins_anew_and_lets_others_go_on() -> None:
    """What had ended was given to them until its callbacks ran, which a loop of calls kept from running."""
    flight, call = SingleFlight[str, int](), Call()
    call.may_end.set()
    first = flight.begin("a", call)

    async def second() -> int:
        assert first.done() and "a" not in flight
        return await flight.run("a", call)

    assert await asyncio.create_task(second()) == 2
    assert await first == 1


async def test_keys_do_not_wait_for_each_other() -> None:
    flight, slow, fast = SingleFlight[str, int](), Call(), Call()
    waiting = asyncio.create_task(flight.run("slow", slow))
    fast.may_end.set()

    assert await flight.run("fast", fast) == 1

    assert not waiting.done()
    slow.may_end.set()
    await waiting


async def test_who_is_cancelled_cuts_neither_the_call_nor_the_others() -> None:
    flight, call = SingleFlight[str, int](), Call()
    first, second = (asyncio.create_task(flight.run("a", call)) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    call.may_end.set()

    assert first.cancelled()
    assert await second == 1


async def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    flight, call = SingleFlight[str, int](), Call(EngineUnreachable("away"))
    call.may_end.set()

    answers = await asyncio.gather(*(flight.run("a", call) for _ in range(3)), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["away"] * 3
    assert call.begun == 1
    assert "a" not in flight


async def test_an_error_that_nobody_waits_for_any_more_is_no_error_of_the_loop() -> None:
    flight, call, faults = SingleFlight[str, int](), Call(EngineUnreachable("away")), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    task = flight.begin("a", call)
    call.may_end.set()

    await asyncio.wait({task})
    await asyncio.sleep(0)
    del task

    asyncio.get_running_loop().set_exception_handler(None)
    assert faults == []


async def test_what_is_forgotten_begins_anew_and_knows_that_it_is_not_the_current_call() -> None:
    flight, may_end, current = SingleFlight[str, None](), asyncio.Event(), list[bool]()

    async def work() -> None:
        await may_end.wait()
        current.append(flight.is_current("a"))

    old = flight.begin("a", work)
    flight.forget("a")
    new = flight.begin("a", work)
    may_end.set()
    await asyncio.gather(old, new)

    assert old is not new
    assert current == [False, True]
    assert "a" not in flight


async def test_closing_ends_all_calls_and_all_background_work() -> None:
    flight, background = SingleFlight[str, int](), Background()
    tasks = [flight.begin("a", Call()), flight.begin("b", Call()), background.begin(Call()())]

    await flight.close()
    await background.close()

    assert all(task.cancelled() for task in tasks)


async def test_who_cancels_waits_for_the_end_and_hears_nothing_of_it() -> None:
    steps = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            steps.append("ended")
            raise ValueError("on the way out")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)

    await cancel(task, None)

    assert steps == ["ended"]


async def test_attempts_come_at_once_and_then_after_pauses_that_double_up_to_the_longest() -> None:
    times = []

    attempts = Attempts(0.02, 0.04)
    async for _ in attempts:
        times.append(time.monotonic())
        if len(times) == 4:
            attempts.reset()
        if len(times) == 5:
            break

    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert [pause >= least for pause, least in zip(pauses, (0.02, 0.04, 0.04, 0.02), strict=True)] == [
        True
    ] * 4


async def test_attempts_end_after_their_time_with_a_last_one() -> None:
    begun, times = time.monotonic(), list[float]()

    async for _ in Attempts(0.05, within=0.08):
        times.append(time.monotonic() - begun)

    assert times[0] < 0.08 <= times[-1]


async def test_an_attempt_that_takes_all_the_time_is_not_the_last_one() -> None:
    begun, times = time.monotonic(), list[float]()

    async for _ in Attempts(0.01, within=0.05):
        times.append(time.monotonic() - begun)
        await asyncio.sleep(0.1)

    assert len(times) == 2 and times[0] < 0.05 <= times[1]


async def test_there_are_at_least_so_many_attempts_however_little_time_there_is() -> None:
    attempts = [attempt async for attempt in Attempts(0.001, within=0, at_least=5)]

    assert len(attempts) == 5


async def test_work_is_repeated_until_the_engine_answers(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | str] = [EngineUnreachable("away"), EngineUnreachable("away"), "there"]

    async def work() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await until_reachable(work, 0.001, "the work waits") == "there"
    assert [record.getMessage() for record in caplog.records] == ["the work waits: away"] * 2


async def test_work_that_is_repeated_for_ever_outlives_every_error(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception | None] = [EngineUnreachable("away"), ValueError("a bug"), None]
    done = asyncio.Event()

    async def work() -> None:
        if error := errors.pop(0):
            raise error
        done.set()
        await asyncio.sleep(60)

    with caplog.at_level(logging.DEBUG, "pman.executors.shared.tasks"):
        task = asyncio.create_task(repeat(work, 0.001, "nothing is done"))
        await asyncio.wait_for(done.wait(), DEADLINE)
        await cancel(task)

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "nothing is done for now: away"),
        ("ERROR", "nothing is done, by a bug"),
    ]
