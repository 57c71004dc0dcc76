"""Previews beside everything else, and what becomes of too many of them."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from pathlib import Path

import pytest

from pman import schema
from pman.engine.engine import Engine
from pman.engine.previews import LARGEST_REQUEST_BYTES, QUEUE_LENGTH, PreviewQueue
from pman.errors import Busy
from pman.translation.translation import Translation
from pman.web.app import create_app
from tests.a_job import a_job, settings_of
from tests.engine.test_engine import Held

OWN = {"Origin": "http://localhost"}


async def test_one_is_done_at_a_time_and_none_is_where_others_work() -> None:
    queue, free = PreviewQueue(settings_of()), threading.Event()
    at_once: list[str] = []

    def work() -> str:
        at_once.append(threading.current_thread().name)
        free.wait(60)
        return threading.current_thread().name

    begun = [asyncio.create_task(queue.run(work)) for _ in range(QUEUE_LENGTH)]
    await asyncio.sleep(0)

    with pytest.raises(Busy):
        await queue.run(work)
    assert await asyncio.to_thread(lambda: "other work") == "other work"
    assert len(at_once) <= 1
    free.set()
    assert len({await one for one in begun}) == 1
    assert await queue.run(lambda: "again") == "again"


async def test_who_hangs_up_makes_room() -> None:
    queue, free = PreviewQueue(settings_of()), threading.Event()
    begun = [asyncio.create_task(queue.run(free.wait, 60)) for _ in range(QUEUE_LENGTH)]
    await asyncio.sleep(0)
    begun[-1].cancel()
    await asyncio.gather(begun[-1], return_exceptions=True)

    later = asyncio.create_task(queue.run(lambda: "later"))
    free.set()

    assert await later == "later"


@pytest.mark.parametrize(("path", "key"), [("/api/v2/render", "json"), ("/render", "form")])
async def test_what_is_too_large_to_be_tried_is_413(path: str, key: str) -> None:
    client = create_app(Engine(Translation(settings_of()), Held())).test_client()
    given = {"request": "x" * (LARGEST_REQUEST_BYTES + 1)}

    response = await client.post(path, headers=OWN, **{key: given})

    assert response.status_code == 413
    assert "pman render" in await response.get_data(as_text=True)


BROKEN = {
    "swarm/service.yaml.j2": b'{% extends "builtin/swarm/service.yaml.j2" %}\n{% block env %}\n',
    "slurm/state.yaml": b"rules: [\n",
    "kubernetes/job.yaml.j2": b"a: \xff\n",
}


async def test_a_broken_file_of_another_engine_is_a_fault_of_that_one(tmp_path: Path) -> None:
    for name, content in BROKEN.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    settings = settings_of(PMAN_TEMPLATES=str(tmp_path))
    client = create_app(Engine(Translation(settings), Held())).test_client()

    for path, kind, key in (("engines", "Engines", "name"), ("templates", "Templates", "engine")):
        response = await client.get(f"/api/v2/{path}")
        answer = await response.get_json()

        assert response.status_code == 200, answer
        assert not schema.faults(schema.validator({"$ref": f"urn:pman:api#/$defs/{kind}"}), answer)
        wrong = {one[key]: one["faults"] for one in answer["engines"] if one["faults"]}
        assert set(wrong) == {"swarm", "slurm", "kubernetes"}
        for name in BROKEN:
            (fault,) = wrong[name.partition("/")[0]]
            assert fault["file"] == str(tmp_path / name)
            assert fault["line"]
            assert fault["message"]
    request = {**dataclasses.asdict(a_job()), "type": "ds"}
    for engine in ("swarm", "kubernetes", "docker"):
        response = await client.post("/api/v2/render", json={"request": request, "engine": engine})
        assert response.status_code == 200
        assert bool((await response.get_json())["faults"]) == (engine != "docker")


async def test_what_is_made_of_the_templates_is_made_once_until_a_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "docker" / "state.yaml"
    file.parent.mkdir()
    file.write_text("extends: builtin/docker/state.yaml\n")
    queue, made = PreviewQueue(settings_of(PMAN_TEMPLATES=str(tmp_path))), []

    def make() -> int:
        made.append(1)
        return len(made)

    assert await asyncio.gather(*(queue.cached(make) for _ in range(5))) == [1] * 5
    file.write_text("extends: builtin/docker/state.yaml\n# longer\n")
    assert await queue.cached(make) == 2
