"""Calls that are slow, lost or crossed, at the worst moment: a job runs once, and none is lost."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import engines
from tests.behaviour.test_pulls import engine, fresh, registry
from tests.engines.proxy import Hook, before
from tests.engines.registry import Registry
from tests.live import Live, live, until

__all__ = ["engine", "registry"]


@pytest.fixture(scope="module")
def plain(engine: engines.Engine, storebase: Path) -> Iterator[Live]:
    with live(engine, storebase) as running:
        yield running


@pytest.fixture(scope="module")
def hooked(
    engine: engines.Engine, storebase: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, Hook]]:
    """A pman behind a proxy, and what happens there."""
    nothing = Hook("GET", "", times=0)
    socket = tmp_path_factory.mktemp("proxy") / "p"
    with (
        before(engine.environment["DOCKER_HOST"], socket, nothing) as proxy,
        live(engine, storebase, DOCKER_HOST=proxy) as running,
    ):
        yield running, nothing


@pytest.fixture
def behind(hooked: tuple[Live, Hook]) -> Iterator[Live]:
    yield hooked[0]
    hooked[1].times = 0


@pytest.fixture
def hook(hooked: tuple[Live, Hook]) -> Hook:
    return hooked[1]


def both(*calls: Any) -> list[requests.Response]:
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(*call) for call in calls]]


def test_a_job_that_waits_for_its_image_runs_once_whoever_posts_it_and_how_often(
    plain: Live, behind: Live, hook: Hook, registry: Registry
) -> None:
    hook.become(Hook("POST", "containers/create", after=0.6))
    for _ in range(3):
        request = plain.script("echo ran >> $out/runs", image=fresh(registry))
        registry.open.clear()
        answers = both(*[(pman.post, request) for pman in (plain, behind, plain, behind)])
        assert [answer.status_code for answer in answers] == [201] * 4, [a.text for a in answers]
        registry.open.set()

        assert plain.finished(request["jid"])["status"] == "finishedSuccessfully"
        time.sleep(1)  # for what would come late
        assert behind.status(request["jid"])["status"] == "finishedSuccessfully"
        assert plain.output(request, "runs").read_text() == "ran\n"


def test_a_deleted_job_does_not_run_under_a_new_one_of_its_name(
    plain: Live, behind: Live, registry: Registry
) -> None:
    old = plain.script("echo old >> $out/runs", image=fresh(registry))
    plain.submit(old)
    assert behind.delete(old["jid"]).status_code == 204
    new = {**behind.script("echo new >> $out/runs", jid=old["jid"]), "image": fresh(registry)}
    behind.submit(new)
    registry.open.set()

    assert behind.finished(new["jid"])["status"] == "finishedSuccessfully"
    assert behind.output(new, "runs").read_text() == "new\n"


def test_a_job_deleted_while_its_container_is_created_is_gone_for_good(
    engine: engines.Engine, storebase: Path, behind: Live, hook: Hook, registry: Registry
) -> None:
    deleted = threading.Event()
    hook.become(Hook("POST", "containers/create", until=deleted, times=0))
    request = behind.script("echo ran >> $out/runs", image=fresh(registry))
    behind.submit(request)
    hook.times = 1
    registry.open.set()
    until(lambda: hook.seen)

    assert behind.delete(request["jid"]).status_code == 204
    deleted.set()

    until(lambda: behind.get(request["jid"]).status_code == 404)
    with live(engine, storebase) as later:
        time.sleep(2)
        assert later.get(request["jid"]).status_code == 404
    assert not behind.output(request, "runs").exists()


def test_a_pulled_job_is_taken_though_the_engine_drops_calls_meanwhile(
    behind: Live, hook: Hook, registry: Registry
) -> None:
    hook.become(Hook("POST", "containers/create", drop=True, times=0))
    request = behind.script("echo ran >> $out/runs", image=fresh(registry))
    behind.submit(request)
    hook.times = 3
    registry.open.set()

    assert behind.finished(request["jid"])["status"] == "finishedSuccessfully"
    assert behind.output(request, "runs").read_text() == "ran\n"
    assert hook.seen == 3


def test_a_pull_that_fails_while_the_engine_drops_calls_ends_the_job_all_the_same(
    behind: Live, hook: Hook, registry: Registry
) -> None:
    hook.become(Hook("GET", "volumes/pman-pending", drop=True, times=0))
    request = behind.script("echo ran >> $out/runs", image=fresh(registry))
    behind.submit(request)
    registry.manifest = b"{}"
    hook.times = 2  # aiohttp repeats a GET once
    registry.open.set()
    until(lambda: hook.seen == 2)

    answer = behind.finished(request["jid"])
    assert answer["status"] == "finishedWithError"
    assert "could not be pulled" in answer["logs"]


def test_a_job_whose_pull_has_failed_does_not_run_though_the_engine_drops_calls_meanwhile(
    engine: engines.Engine, behind: Live, hook: Hook, registry: Registry
) -> None:
    hook.become(Hook("DELETE", "volumes/pman-pending", drop=True, times=0))
    request = behind.script("echo ran >> $out/runs", image=fresh(registry))
    behind.submit(request)
    whole, registry.manifest = registry.manifest, b"{}"
    hook.times = 2  # aiohttp repeats a DELETE once
    registry.open.set()
    until(lambda: hook.seen == 2)
    registry.manifest = whole

    assert engine.native is not None
    volumes = engine.native.volumes
    until(lambda: f"pman-pending.{request['jid']}" not in {volume.name for volume in volumes.list()})

    assert behind.finished(request["jid"])["status"] == "finishedWithError"
    assert not engine.native.containers.list(all=True, filters={"name": request["jid"]})
    assert not behind.output(request, "runs").exists()


@pytest.mark.parametrize("seconds", [1, 7])
def test_a_slow_creator_and_another_pman_do_not_both_start_its_container(
    plain: Live, behind: Live, hook: Hook, seconds: float
) -> None:
    hook.become(Hook("POST", "containers/create", after=seconds))
    request = plain.script("echo ran >> $out/runs")

    def second() -> requests.Response:
        until(lambda: hook.seen)
        return plain.post(request)

    answers = both((behind.post, request), (second,))

    assert [answer.status_code for answer in answers] == [201, 201]
    plain.finished(request["jid"])
    assert plain.output(request, "runs").read_text() == "ran\n"


def test_a_log_that_could_not_be_read_is_asked_for_again(behind: Live, hook: Hook) -> None:
    hook.become(Hook("GET", "/logs", status=500, times=2))
    request = behind.script("echo said")
    behind.submit(request)
    until(lambda: behind.get(request["jid"]).status_code == 200)

    assert behind.finished(request["jid"])["logs"] == "said\n"


def test_a_strangers_label_disturbs_neither_the_list_nor_the_start(
    plain: Live, engine: engines.Engine
) -> None:
    assert engine.native is not None
    label = {"org.chrisproject.pman.jid": "../../images"}
    stranger = engine.native.containers.create(engine.image, ["true"], labels=label)
    try:
        assert requests.get(f"{plain.server.root}/api/v2/jobs", timeout=60).status_code == 200
        with live(engine, plain.storebase) as later:
            assert later.run(later.request())["status"] == "finishedSuccessfully"
            assert "Traceback" not in later.server.output()
    finally:
        stranger.remove()
