"""Dry runs beside everything else, and what becomes of too many of them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pman.app import create_app
from pman.dryruns import LARGEST, WAITING, DryRuns
from pman.engine import Engine
from pman.errors import Busy
from pman.translation import Translation
from tests.a_job import settings_of
from tests.test_engine import Held

OWN = {"Origin": "http://localhost"}


async def test_one_is_done_at_a_time_and_none_is_where_others_work() -> None:
    runs, free = DryRuns(settings_of()), threading.Event()
    at_once: list[str] = []

    def work() -> str:
        at_once.append(threading.current_thread().name)
        free.wait(60)
        return threading.current_thread().name

    begun = [asyncio.create_task(runs.run(work)) for _ in range(WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(Busy):
        await runs.run(work)
    assert await asyncio.to_thread(lambda: "other work") == "other work"
    assert len(at_once) <= 1
    free.set()
    assert len({await one for one in begun}) == 1
    assert await runs.run(lambda: "again") == "again"


async def test_who_hangs_up_makes_room() -> None:
    runs, free = DryRuns(settings_of()), threading.Event()
    begun = [asyncio.create_task(runs.run(free.wait, 60)) for _ in range(WAITING)]
    await asyncio.sleep(0)
    begun[-1].cancel()
    await asyncio.gather(begun[-1], return_exceptions=True)

    later = asyncio.create_task(runs.run(lambda: "later"))
    free.set()

    assert await later == "later"


@pytest.mark.parametrize(("path", "key"), [("/api/v2/render", "json"), ("/render", "form")])
async def test_what_is_too_large_to_be_tried_is_413(path: str, key: str) -> None:
    client = create_app(Engine(Translation(settings_of()), Held())).test_client()
    given = {"request": "x" * (LARGEST + 1)}

    response = await client.post(path, headers=OWN, **{key: given})

    assert response.status_code == 413
    assert "pman render" in await response.get_data(as_text=True)
